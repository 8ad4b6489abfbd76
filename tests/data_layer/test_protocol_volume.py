"""Each convention of a published protocol shows on a small CT: the published arithmetic is redone here by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.data_layer.made_cts import rotation
from xct_components.data.protocols.protocol import LIFTXR, PERX2CT, X2CT, Protocol
from xct_components.data.protocols.volume import ProtocolVolume, prepare_for_protocol
from xct_components.geometry import VolumeGrid

# The published protocols with 32 voxels for 320 and 12 for 128, without X2CT's body mask: the same rules, in a blink.
X2CT_SMALL, PERX2CT_SMALL = (replace(p, cube_voxels=32, model_voxels=12, body_mask=False) for p in (X2CT, PERX2CT))
# A blob of 2.2 mm, read off every 0.7 to 2.7 mm and rounded to whole HU, keeps its centre of mass to this; the mistakes that
# are looked for (half a voxel, another end) are ten times larger. And: float64 affines after a few multiplications.
CENTRE_TOLERANCE_VOXELS, MM_TOLERANCE = 0.05, 1e-9
# Rounding to whole numbers, and the 12 voxels that SciPy pads by instead of infinitely many: 0.27 ** 12 of 2000 HU.
ROUNDING = 0.5 + 1e-3
# Six decimals and float32, on [0, 1] and in HU; a value halfway between two whole numbers may be rounded either way.
SCALED_TOLERANCE, HU_TOLERANCE, TIE = 6e-7, 2e-3, 1.01 / 2500


def grid_of(shape_zyx, spacing_zyx, codes: str = "SPL", turn: np.ndarray | None = None) -> VolumeGrid:
    """A lattice of (z, y, x) axes, or with axes reordered and reversed to ``codes``, around (5, -9, 14) mm."""
    directions = {"R": (1, 0, 0), "L": (-1, 0, 0), "A": (0, 1, 0), "P": (0, -1, 0), "S": (0, 0, 1), "I": (0, 0, -1)}
    place = {"S": 0, "I": 0, "P": 1, "A": 1, "L": 2, "R": 2}
    affine = np.eye(4)
    shape = [shape_zyx[place[code]] for code in codes]
    for axis, code in enumerate(codes):
        affine[:3, axis] = np.array(directions[code]) * spacing_zyx[place[code]]
    if turn is not None:
        affine[:3, :3] = turn @ affine[:3, :3]
    affine[:3, 3] = np.array([5.0, -9.0, 14.0]) - affine[:3, :3] @ (np.array(shape) - 1) / 2
    return VolumeGrid.from_affine(shape, affine)


def blob(grid: VolumeGrid, centre_mm) -> torch.Tensor:
    """Air with a blurred ball of tissue (sigma 2.2 mm) at a RAS position."""
    indices = torch.cartesian_prod(*(torch.arange(n) for n in grid.shape))
    away = (grid.world_from_voxels(indices) - torch.tensor(centre_mm)).norm(dim=1)
    hu = -1024.0 + 2000.0 * torch.exp(-((away / 2.2) ** 2) / 2)
    return hu.reshape(1, 1, *grid.shape).float()


def centre_of(values) -> np.ndarray:
    """Index of the centre of mass."""
    values = np.squeeze(np.asarray(values, dtype=np.float64))
    return np.array([(values * axis).sum() / values.sum() for axis in np.indices(values.shape)])


def noise(grid: VolumeGrid, lowest: int = -1024, highest: int = 3000) -> torch.Tensor:
    """Whole HU, different everywhere."""
    return torch.randint(lowest, highest, (1, 1, *grid.shape), generator=torch.Generator().manual_seed(3)).float()


MARKER = (3.0, -6.0, 13.0)


@pytest.mark.parametrize("codes", ["SPL", "IAR", "LSP", "PIR"])
def test_a_marker_lands_where_the_published_code_puts_it(codes):
    # 16 x 2.5 mm = 40, 50 x 0.7 = 35, 27 x 1.3 = 35.1: 40, 35 and 35 voxels; then the last 32, and the middle ones from 1.
    grid = grid_of((16, 50, 27), (2.5, 0.7, 1.3), codes)
    prepared = prepare_for_protocol(blob(grid, MARKER), grid, X2CT_SMALL)
    source = grid_of((16, 50, 27), (2.5, 0.7, 1.3)).voxels_from_world(torch.tensor(MARKER)).numpy()
    expected = source * [39 / 15, 34 / 49, 34 / 26] - [8, 1, 1]  # zoom keeps the first and the last voxel in place
    assert prepared.stored.shape == (32, 32, 32)
    assert centre_of(prepared.stored) == pytest.approx(expected, abs=CENTRE_TOLERANCE_VOXELS)


@pytest.mark.parametrize("protocol", [X2CT_SMALL, PERX2CT_SMALL, replace(LIFTXR, model_voxels=24, resize_order=1)])
@pytest.mark.parametrize("codes", ["SPL", "LIA"])
def test_the_grids_say_where_every_voxel_lies_in_the_patient(protocol, codes):
    for turn in (None, rotation(0, 0.2) @ rotation(2, -0.3)):
        grid = grid_of((16, 50, 27), (2.5, 0.7, 1.3), codes, turn)
        prepared = prepare_for_protocol(blob(grid, MARKER), grid, protocol)
        for values, at in ((prepared.stored, prepared.stored_grid), (prepared.volume, prepared.grid)):
            index = at.voxels_from_world(torch.tensor(MARKER)).numpy()
            assert centre_of(values) == pytest.approx(index, abs=CENTRE_TOLERANCE_VOXELS)


@pytest.mark.parametrize("count", [32, 33, 35, 40])
def test_slices_are_cropped_to_the_last_and_planes_to_the_middle(count):
    grid = grid_of((count,) * 3, (1.0, 1.0, 1.0))
    prepared = prepare_for_protocol(noise(grid), grid, X2CT_SMALL)
    middle = slice((count - 32) // 2, (count + 32) // 2)
    assert np.array_equal(prepared.stored, noise(grid)[0, 0, count - 32 :, middle, middle].numpy() + 1024)
    first = grid.world_from_voxels(torch.tensor([count - 32, middle.start, middle.start]))
    assert prepared.stored_grid.world_from_voxels(torch.zeros(3)).numpy() == pytest.approx(first.numpy(), abs=MM_TOLERANCE)


def test_which_slices_are_the_last_differs_between_the_protocols():
    grid = grid_of((40, 32, 32), (1.0, 1.0, 1.0))
    head, feet = (prepare_for_protocol(noise(grid), grid, protocol) for protocol in (X2CT_SMALL, PERX2CT_SMALL))
    assert np.array_equal(head.stored, noise(grid)[0, 0, 8:].numpy() + 1024)
    assert np.array_equal(feet.stored, noise(grid)[0, 0, :32].flip(0).numpy() + 1024)
    assert (head.stored_grid.axis_codes, feet.stored_grid.axis_codes) == ("SPL", "IPL")
    assert (head.grid.axis_codes, feet.grid.axis_codes) == ("IPL", "IPL")


@pytest.mark.parametrize("count", [31, 30, 25])
def test_short_axes_are_padded_with_stored_zero_the_odd_voxel_at_the_far_end(count):
    grid = grid_of((count,) * 3, (1.0, 1.0, 1.0))
    stored = prepare_for_protocol(noise(grid, lowest=-900), grid, X2CT_SMALL).stored
    before = (32 - count) // 2
    inner = (slice(before, before + count),) * 3
    assert np.array_equal(stored[inner], noise(grid, lowest=-900)[0, 0].numpy() + 1024)
    assert np.count_nonzero(stored) == count**3
    assert stored.dtype == np.float64  # as numpy.zeros makes it


def cubic_spline(line: np.ndarray, count: int) -> np.ndarray:
    """The interpolating cubic B-spline of a line held constant beyond its ends, at ``count`` points from end to end."""
    margin = 40
    held = np.pad(line.astype(np.float64), margin, mode="edge")
    size = len(held)
    matrix = (4 * np.eye(size) + np.eye(size, k=1) + np.eye(size, k=-1)) / 6
    weights = np.linalg.solve(matrix, held)
    at = np.linspace(0, len(line) - 1, count) + margin
    distance = np.abs(at[:, None] - np.arange(size))
    near, far = 2 / 3 - distance**2 + distance**3 / 2, np.clip(2 - distance, 0, None) ** 3 / 6
    return np.where(distance < 1, near, far) @ weights


def test_resampling_is_the_cubic_spline_with_held_ends_rounded_to_whole_numbers():
    grid = grid_of((17, 32, 32), (2.0, 1.0, 1.0))
    stored = prepare_for_protocol(noise(grid), grid, X2CT_SMALL).stored
    expected = np.apply_along_axis(cubic_spline, 0, noise(grid)[0, 0].numpy() + 1024, 34)[2:]
    assert stored.dtype == np.int16
    assert np.abs(stored - expected).max() <= ROUNDING


def linear(values: np.ndarray, axis: int, at: np.ndarray) -> np.ndarray:
    return np.apply_along_axis(lambda line: np.interp(at, np.arange(len(line)), line), axis, values)


def agree(volume: torch.Tensor, expected: np.ndarray) -> None:
    off = np.abs(volume[0, 0].numpy() - expected)
    assert off.max() <= TIE
    assert off.mean() <= SCALED_TOLERANCE


CORNERS = np.linspace(0, 31, 12)
EDGES = (np.arange(12) + 0.5) * 32 / 12 - 0.5


def test_x2ct_resizes_all_axes_then_rounds_clips_and_scales():
    grid = grid_of((32,) * 3, (1.0, 1.0, 1.0))
    head_first = noise(grid)[0, 0].numpy()[::-1] + 1024
    expected = np.rint(linear(linear(linear(head_first, 0, CORNERS), 1, CORNERS), 2, CORNERS))
    agree(prepare_for_protocol(noise(grid), grid, X2CT_SMALL).volume, np.clip(expected, 0, 2500) / 2500)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_perx2ct_clips_between_the_slice_axis_and_the_plane(axis):
    grid = grid_of((32,) * 3, (1.0, 1.0, 1.0))
    protocol = replace(PERX2CT_SMALL, resized_before_clip=(axis,))
    volume = prepare_for_protocol(noise(grid), grid, protocol).volume
    expected = np.rint(linear(noise(grid)[0, 0].numpy()[::-1] + 1024, axis, CORNERS))
    expected = np.clip(expected, 0, 2500) / 2500
    for plane in {0, 1, 2} - {axis}:
        expected = linear(expected, plane, EDGES)
    agree(volume, expected)


def test_padded_volumes_are_not_rounded_before_scaling():
    whole, padded = grid_of((32,) * 3, (1.0,) * 3), grid_of((31, 32, 32), (1.0,) * 3)
    fractions = [prepare_for_protocol(noise(grid), grid, X2CT_SMALL).volume * 2500 % 1 for grid in (whole, padded)]
    assert float((fractions[0] - fractions[0].round()).abs().max()) < HU_TOLERANCE
    assert float((fractions[1] - fractions[1].round()).abs().max()) > 0.4


def test_the_window_is_minus_1024_to_1476_hu_and_comes_back_as_hu():
    grid = grid_of((12,) * 3, (1.0,) * 3)
    protocol = replace(X2CT_SMALL, cube_voxels=12)
    ct_hu = noise(grid, lowest=-1500)
    prepared = prepare_for_protocol(ct_hu, grid, protocol)
    assert (float(prepared.volume.min()), float(prepared.volume.max())) == (0.0, 1.0)
    restored = protocol.hu_of(prepared.volume)
    assert restored[0, 0].numpy() == pytest.approx(ct_hu[0, 0].flip(0).clamp(-1024, 1476).numpy(), abs=HU_TOLERANCE)


def test_liftxr_resizes_the_whole_field_and_clips_at_1024_hu():
    grid = grid_of((16, 24, 12), (3.0, 2.0, 2.0))
    prepared = prepare_for_protocol(noise(grid), grid, replace(LIFTXR, resize_order=1, model_voxels=12))
    values = noise(grid)[0, 0].numpy()
    for axis, count in enumerate(grid.shape):
        values = linear(values, axis, np.linspace(0, count - 1, 12))
    assert prepared.volume[0, 0].numpy() == pytest.approx((np.clip(values, -1024, 1024) + 1024) / 2048, abs=SCALED_TOLERANCE)
    corners = torch.tensor([[0, 0, 0], [11, 11, 11]]), torch.tensor([[0, 0, 0], [15, 23, 11]])
    ours, theirs = prepared.grid.world_from_voxels(corners[0]), grid.world_from_voxels(corners[1])
    assert ours.numpy() == pytest.approx(theirs.numpy(), abs=MM_TOLERANCE)


def test_what_lies_outside_the_body_becomes_stored_zero():
    grid = grid_of((32,) * 3, (1.0,) * 3, "PIR")
    body = torch.zeros(1, 1, *grid.shape, dtype=torch.bool)
    body[..., :20, :, :] = True  # the anterior 20 mm
    nearly_water = torch.full_like(body, -0.4, dtype=torch.float32)
    prepared = prepare_for_protocol(nearly_water, grid, replace(X2CT_SMALL, body_mask=True), body=body)
    assert (prepared.stored[:, :20] == 1024).all()  # -0.4 HU is rounded, not cut
    assert (prepared.stored[:, 20:] == 0).all()


def test_a_slice_thickness_other_than_the_distance_stretches_the_array_and_not_the_patient():
    grid = grid_of((16, 32, 32), (2.0, 1.0, 1.0))
    prepared = prepare_for_protocol(blob(grid, MARKER), grid, PERX2CT_SMALL, slice_thickness_mm=2.5)
    # 16 slices of "2.5 mm" become 40 voxels over the 30 mm between the first and the last centre.
    assert prepared.stored_grid.spacing_mm == pytest.approx((30 / 39, 1.0, 1.0))
    index = prepared.stored_grid.voxels_from_world(torch.tensor(MARKER)).numpy()
    assert centre_of(prepared.stored) == pytest.approx(index, abs=CENTRE_TOLERANCE_VOXELS)


def test_the_published_sizes_are_320_and_128_voxels():
    grid = grid_of((2, 33, 35), (10.0, 10.0, 10.0))
    prepared = prepare_for_protocol(blob(grid, MARKER), grid, replace(X2CT, body_mask=False))
    assert prepared.stored.shape == (320, 320, 320)
    assert tuple(prepared.volume.shape) == (1, 1, 128, 128, 128)
    assert prepared.stored_grid.spacing_mm == pytest.approx((10 / 19, 320 / 329, 340 / 349))
    assert prepared.grid.spacing_mm == pytest.approx([s * 319 / 127 for s in prepared.stored_grid.spacing_mm])


def prepared_once(protocol: Protocol, **others) -> ProtocolVolume:
    grid = grid_of((16, 16, 16), (2.0, 2.0, 2.0))
    return prepare_for_protocol(noise(grid), grid, protocol, **others)


def prepared_from(ct_hu: torch.Tensor, shape_zyx) -> ProtocolVolume:
    return prepare_for_protocol(ct_hu, grid_of(shape_zyx, (1.0, 1.0, 1.0)), PERX2CT)


REFUSED = {
    "resize_order is not published for liftxr": lambda: prepared_once(LIFTXR),
    "body must be given for x2ct": lambda: prepared_once(X2CT),
    "body must be None for perx2ct": lambda: prepared_once(PERX2CT, body=torch.ones(1, 1, 16, 16, 16, dtype=torch.bool)),
    "slice_thickness_mm must be positive": lambda: prepared_once(PERX2CT, slice_thickness_mm=0.0),
    "for liftxr; leave it out": lambda: prepared_once(replace(LIFTXR, resize_order=1), slice_thickness_mm=2.0),
    "grid must have the shape": lambda: prepared_from(torch.zeros(1, 1, 2, 2, 2), (3, 2, 2)),
    "two voxels along each axis": lambda: prepared_from(torch.zeros(1, 1, 1, 9, 9), (1, 9, 9)),
    "must fit 16 bits": lambda: prepared_from(torch.full((1, 1, 3, 3, 3), 4e4), (3, 3, 3)),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_cannot_be_reproduced_is_refused_with_the_way_out(reason):
    with pytest.raises(ValueError, match=reason):
        REFUSED[reason]()

"""Ray space against the projector, against geometry done by hand, and against itself cropped and batched."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from xct_components.geometry import Beam, ConeBeam, Detector, VolumeGrid, chest_beam_covering, chest_parallel_beam
from xct_components.physics.projector import project
from xct_components.physics.ray_space import from_ray_space, to_ray_space

#: One bin a slice is what the "ray" footprint sums up; only the order of float32 sums differs.
ROUNDING = 1e-4
#: The area footprint spreads a voxel over a pixel's area, ray space reads a point: on a blob four voxels wide they differ by
#: the second moment of the box filter, about (1/12) / 4^2 = 0.5 % at the peak.
FOOTPRINTS = 0.02
#: Reading off the lattice and back is two trilinear filters: for a Gaussian of s = 3.5 voxels the peak loses at most
#: 2 * 3 axes * (1/8) / s^2 = 6 %.
TWICE_TRILINEAR = 0.06
#: float32 positions in a volume of 20 voxels, read back as fractions of a voxel.
POSITION_VOXELS = 1e-3

GRID = VolumeGrid.chest((16, 18, 20), (11.0, 9.0, 8.0))
ROWS, COLS = 18, 20


def turned(degrees: float) -> Tensor:
    """A turn about the vertical axis and a nod, by the same angle."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    about_z = torch.tensor([[c, -s, 0, 0], [s, c, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], dtype=torch.float64)
    about_x = torch.tensor([[1, 0, 0, 0], [0, c, -s, 0], [0, s, c, 0], [0, 0, 0, 1]], dtype=torch.float64)
    return about_z @ about_x


BEAMS: dict[str, Beam] = {
    "PA": chest_beam_covering(GRID, "PA", ROWS, COLS),
    "AP": chest_beam_covering(GRID, "AP", ROWS, COLS),
    "LL": chest_beam_covering(GRID, "LL", ROWS, 16),
    "parallel": chest_parallel_beam("PA", Detector(ROWS, COLS, (9.0, 8.0))),
    "tilted": chest_beam_covering(GRID, "PA", ROWS, COLS).moved(turned(7.0)),
}
DEPTH_AXIS = {"PA": 0, "AP": 0, "LL": 2, "parallel": 0, "tilted": 0}
every_beam = pytest.mark.parametrize("name", list(BEAMS))


def blob(grid: VolumeGrid = GRID, width_mm: float = 36.0, offset_mm: tuple[float, float, float] = (9.0, -5.0, 12.0)) -> Tensor:
    """(1, 1, D, H, W) a Gaussian well inside the volume, off its middle."""
    axes = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in grid.shape), indexing="ij")
    place_mm = grid.world_from_voxels(torch.stack(axes, dim=-1)) - torch.tensor(offset_mm)
    return torch.exp(-place_mm.square().sum(-1) / (2 * width_mm**2)).float()[None, None] * 0.02


def rays_of(name: str, volume: Tensor, bins: int | None = None) -> Tensor:
    beam = BEAMS[name]
    bins = bins or GRID.shape[DEPTH_AXIS[name]]
    return to_ray_space(volume, [GRID], [[beam]], bins=bins, rows=beam.detector.rows, cols=beam.detector.cols)


@every_beam
def test_the_bins_of_a_ray_add_up_to_the_projectors_line_integral(name: str) -> None:
    film = rays_of(name, blob()).sum(3)
    torch.testing.assert_close(film, project(blob(), GRID, [BEAMS[name]], footprint="ray"), rtol=ROUNDING, atol=1e-6)


@every_beam
@pytest.mark.parametrize("share", [0.5, 2])
def test_coarser_and_finer_bins_add_up_to_the_same_film(name: str, share: float) -> None:
    film = rays_of(name, blob(), int(share * GRID.shape[DEPTH_AXIS[name]])).sum(3)
    expected = project(blob(), GRID, [BEAMS[name]], footprint="area")
    assert float((film - expected).abs().amax()) < FOOTPRINTS * float(expected.amax())


@pytest.mark.parametrize("bins", [8, 16])
def test_every_bin_of_a_uniform_slab_holds_its_share_of_the_chord(bins: int) -> None:
    """A ray that leaves the axis by an angle a crosses depth d on a length d / cos(a)."""
    rays = rays_of("PA", torch.full((1, 1, *GRID.shape), 0.02), bins)[0, 0, 0]
    beam = BEAMS["PA"]
    assert isinstance(beam, ConeBeam)
    for row, col in ((9, 10), (4, 6), (13, 14)):
        pixel = beam.pixel_centers_mm(torch.tensor([row, col]))
        ray = pixel - torch.tensor(beam.source_mm, dtype=torch.float64)
        cosine = float(ray[1].abs() / ray.norm())
        expected = 0.02 * GRID.extent_mm[0] / bins / cosine
        assert rays[1:-1, row, col].tolist() == pytest.approx([expected] * (bins - 2), rel=ROUNDING)


@pytest.mark.parametrize("voxel", [(3, 5, 14), (12, 9, 4)])
@pytest.mark.parametrize("name", ["PA", "LL", "tilted"])
def test_a_lit_point_lands_in_its_bin_row_and_column(name: str, voxel: tuple[int, int, int]) -> None:
    """The pinhole camera by hand, in float64: where the line from the source through the point meets the detector."""
    beam = BEAMS[name]
    assert isinstance(beam, ConeBeam)
    point = GRID.world_from_voxels(torch.tensor(voxel))
    source, center = (torch.tensor(v, dtype=torch.float64) for v in (beam.source_mm, beam.detector_center_mm))
    down, right = (torch.tensor(v, dtype=torch.float64) for v in (beam.row_direction, beam.col_direction))
    # source + a (point - source) = center + b down + c right: three equations
    a_b_c = torch.linalg.solve(torch.stack([point - source, -down, -right], dim=1), center - source)
    row = float(a_b_c[1]) / beam.detector.pitch_mm[0] + (beam.detector.rows - 1) / 2
    col = float(a_b_c[2]) / beam.detector.pitch_mm[1] + (beam.detector.cols - 1) / 2
    # A smooth ball around the point, so that its centre of mass is the point to within the sampling.
    ball = blob(width_mm=14.0, offset_mm=tuple(point.tolist()))
    mass = rays_of(name, ball)[0, 0, 0]
    place = [
        float((mass.sum([d for d in range(3) if d != axis]) * torch.arange(n)).sum() / mass.sum())
        for axis, n in enumerate(mass.shape)
    ]
    # 0.2 bins or pixels: magnification varies by 2 % over the ball, and it is cut where it leaves the volume.
    assert place == pytest.approx([voxel[DEPTH_AXIS[name]], row, col], abs=0.2)


def test_a_parallel_beam_of_the_voxels_pitch_only_relabels_axes() -> None:
    volume = torch.rand(1, 1, *GRID.shape, generator=torch.Generator().manual_seed(0))
    rays = rays_of("parallel", volume)[:, 0]
    torch.testing.assert_close(rays, volume * GRID.spacing_mm[0], rtol=0.0, atol=POSITION_VOXELS * GRID.spacing_mm[0] * 6)


@every_beam
def test_a_smooth_volume_survives_the_way_there_and_back(name: str) -> None:
    path_mm = rays_of(name, torch.ones(1, 1, *GRID.shape)).clamp_min(1e-3)
    back = from_ray_space(rays_of(name, blob()) / path_mm, [GRID], [[BEAMS[name]]], [GRID])[:, 0]
    seen = from_ray_space(torch.ones_like(path_mm), [GRID], [[BEAMS[name]]], [GRID])[:, 0] > 1.0 - ROUNDING
    assert float(seen.float().mean()) > 0.6  # the first and last slices and columns hang over the edge
    assert float((back - blob())[seen].abs().amax()) < TWICE_TRILINEAR * float(blob().amax())


@every_beam
def test_a_column_is_the_cut_of_the_whole(name: str) -> None:
    beam = BEAMS[name]
    rays = torch.rand(1, 1, 2, 12, beam.detector.rows, beam.detector.cols, generator=torch.Generator().manual_seed(1))
    whole = from_ray_space(rays, [GRID], [[beam]], [GRID])
    column = GRID.crop((0, 4, 8), (16, 8, 4))
    part = from_ray_space(rays, [GRID], [[beam]], [column])
    torch.testing.assert_close(part, whole[..., 4:12, 8:12], rtol=0.0, atol=6 * POSITION_VOXELS)


def test_every_sample_keeps_its_own_beams_and_field() -> None:
    moved = GRID.moved(turned(-4.0))
    fields, beams = [GRID, moved], [[BEAMS["PA"], BEAMS["AP"]], [BEAMS["tilted"], BEAMS["parallel"]]]
    volumes = torch.cat([blob(), blob(offset_mm=(-20.0, 8.0, 0.0))])
    size = {"bins": 16, "rows": ROWS, "cols": COLS}
    together = to_ray_space(volumes, fields, beams, **size)
    back = from_ray_space(together, fields, beams, fields)
    for b in range(2):
        alone = to_ray_space(volumes[b : b + 1], fields[b : b + 1], beams[b : b + 1], **size)
        assert torch.equal(alone[0], together[b])
        assert torch.equal(from_ray_space(alone, fields[b : b + 1], beams[b : b + 1], fields[b : b + 1])[0], back[b])
        one_view = to_ray_space(volumes[b : b + 1], fields[b : b + 1], [beams[b][1:]], **size)
        assert torch.equal(one_view[0, 0], together[b, 1])


def test_one_volume_serves_all_samples() -> None:
    beams = [[BEAMS["PA"]], [BEAMS["tilted"]]]
    size = {"bins": 16, "rows": ROWS, "cols": COLS}
    shared = to_ray_space(blob(), [GRID, GRID], beams, **size)
    assert torch.equal(shared, to_ray_space(torch.cat([blob(), blob()]), [GRID, GRID], beams, **size))


def test_a_voxel_that_no_pixel_sees_gets_nothing() -> None:
    left_half = BEAMS["parallel"].crop(slice(0, ROWS), slice(0, COLS // 2))
    rays = torch.ones(1, 1, 1, 16, ROWS, COLS // 2)
    volume = from_ray_space(rays, [GRID], [[left_half]], [GRID])[0, 0, 0]
    assert float(volume[..., COLS // 2 + 1 :].abs().amax()) == 0.0
    assert float(volume[1:-1, 1:-1, 1 : COLS // 2 - 1].amin()) == pytest.approx(1.0, abs=ROUNDING)

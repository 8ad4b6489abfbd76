"""The films of a protocol: a lit voxel shadows the pixel that the DRR tool's own formula gives."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.data_layer.test_protocol_volume import PERX2CT_SMALL, X2CT_SMALL, grid_of, noise
from xct_components.data.protocols.films import drr_mu_per_mm, protocol_beams, published_film
from xct_components.data.protocols.protocol import LIFTXR, Protocol
from xct_components.data.protocols.volume import ProtocolVolume, prepare_for_protocol
from xct_components.geometry import VolumeGrid
from xct_components.physics.projector import project

# float64 geometry.
MM_TOLERANCE = 1e-6
# Centre of mass of the shadow of one voxel, a little more than a pixel wide: the projector's box filter.
PIXEL_TOLERANCE = 0.05


def prepared_of(protocol: Protocol, shape_zyx=(32, 32, 32), spacing_zyx=(1.0, 1.0, 1.0), codes: str = "SPL") -> ProtocolVolume:
    grid = grid_of(shape_zyx, spacing_zyx, codes)
    return prepare_for_protocol(noise(grid), grid, protocol)


def tool_pixel(point_lps, isocenter_lps, nrm, protocol: Protocol) -> tuple[float, float]:
    """(row, column) of a point on the DRR tool's film: the top towards +z, the first column towards nrm x z."""
    point = torch.tensor(point_lps, dtype=torch.float64) - torch.tensor(isocenter_lps, dtype=torch.float64)
    normal = torch.tensor(nrm, dtype=torch.float64)
    first_column = torch.linalg.cross(normal, torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64))
    depth_mm = (541.0 if protocol is X2CT_SMALL else 700.0) - float(point @ normal)
    pixels_per_mm = 949.0 / depth_mm * 320 / 500.0
    return 159.5 - float(point[2]) * pixels_per_mm, 159.5 - float(point @ first_column) * pixels_per_mm


def shadow(prepared: ProtocolVolume, protocol: Protocol, index) -> list[tuple[float, float]]:
    """(row, column) of the centre of the shadow of one voxel on the frontal and the lateral film."""
    mu = torch.zeros(1, 1, *prepared.film_grid.shape, dtype=torch.float64)
    mu[(0, 0, *index)] = 1.0
    films = project(mu, prepared.film_grid, protocol_beams(prepared, protocol))[0, :, 0]
    rows, cols = torch.meshgrid(torch.arange(320.0), torch.arange(320.0), indexing="ij")
    return [(float((film * rows).sum() / film.sum()), float((film * cols).sum() / film.sum())) for film in films]


@pytest.mark.parametrize("codes", ["SPL", "PIR"])
@pytest.mark.parametrize("index", [(3, 5, 26), (28, 30, 2), (16, 2, 13)])
def test_x2ct_films_are_those_of_the_tool_the_frontal_one_mirrored(codes, index):
    prepared = prepared_of(X2CT_SMALL, codes=codes)
    # The tool reads a volume at the origin with voxels of 1 mm; the middle's z, "15.5", reaches it as "15.".
    z, y, x = (float(i) for i in index)
    frontal = tool_pixel([x, y, z], [15.5, 15.5, 15.0], [0.0, 1.0, 0.0], X2CT_SMALL)
    lateral = tool_pixel([x, y, z], [15.5, 15.5, 15.0], [1.0, 0.0, 0.0], X2CT_SMALL)
    ours = shadow(prepared, X2CT_SMALL, index)
    assert ours[0] == pytest.approx((frontal[0], 319 - frontal[1]), abs=PIXEL_TOLERANCE)
    assert ours[1] == pytest.approx(lateral, abs=PIXEL_TOLERANCE)


@pytest.mark.parametrize("index", [(3, 5, 26), (28, 30, 2)])
def test_perx2ct_films_are_those_of_the_tool_turned_upside_down_when_read(index):
    prepared = prepared_of(PERX2CT_SMALL)
    z, y, x = (float(i) for i in index)
    frontal = tool_pixel([x, y, z], [15.5, 15.5, 15.0], [0.0, 1.0, 0.0], PERX2CT_SMALL)
    lateral = tool_pixel([x, y, z], [15.5, 15.5, 15.0], [1.0, 0.0, 0.0], PERX2CT_SMALL)
    ours = shadow(prepared, PERX2CT_SMALL, index)
    assert ours[0] == pytest.approx((319 - frontal[0], 319 - frontal[1]), abs=PIXEL_TOLERANCE)
    assert ours[1] == pytest.approx((319 - lateral[0], lateral[1]), abs=PIXEL_TOLERANCE)


@pytest.mark.parametrize(("protocol", "axis_mm"), [(X2CT_SMALL, 541.0), (PERX2CT_SMALL, 700.0)])
def test_the_tube_stands_behind_the_patient_and_at_his_left(protocol, axis_mm):
    prepared = prepared_of(protocol)
    frontal, lateral = protocol_beams(prepared, protocol)
    assert (frontal.source_to_detector_mm, lateral.source_to_detector_mm) == pytest.approx((949.0, 949.0))
    middle = torch.tensor(prepared.film_isocenter_mm)
    away_frontal, away_lateral = torch.tensor(frontal.source_mm) - middle, torch.tensor(lateral.source_mm) - middle
    assert away_frontal.numpy() == pytest.approx([0.0, -axis_mm, 0.0], abs=MM_TOLERANCE)
    assert away_lateral.numpy() == pytest.approx([-axis_mm, 0.0, 0.0], abs=MM_TOLERANCE)
    assert frontal.col_direction == pytest.approx(
        (-1.0, 0.0, 0.0), abs=MM_TOLERANCE
    )  # the patient's left on the viewer's right
    assert lateral.col_direction == pytest.approx((0.0, -1.0, 0.0), abs=MM_TOLERANCE)  # the front on the viewer's left
    assert frontal.row_direction == lateral.row_direction == pytest.approx((0.0, 0.0, -1.0), abs=MM_TOLERANCE)
    assert frontal.detector.size_mm == (500.0, 500.0)


def test_the_tool_was_told_other_spacings_in_the_wrong_order():
    # 14 x 2.5 = 35 voxels, 47 x 0.7 = 32.9 -> 33 voxels, 29 x 1.3 = 37.7 -> 38 voxels.
    prepared = prepared_of(X2CT_SMALL, (14, 47, 29), (2.5, 0.7, 1.3))
    told_z, told_y, told_x = 2.5 * 14 / 35, 0.7 * 47 / 33, 1.3 * 29 / 38
    assert prepared.film_grid.spacing_mm == pytest.approx((told_x, told_y, told_z))
    assert prepared.stored_grid.spacing_mm == pytest.approx((2.5 * 13 / 34, 0.7 * 46 / 32, 1.3 * 28 / 37))
    assert prepared.film_grid.center_mm == pytest.approx(prepared.stored_grid.center_mm)


@pytest.mark.parametrize(("protocol", "towards"), [(X2CT_SMALL, -1.0), (PERX2CT_SMALL, 1.0)])
def test_the_cut_text_moves_the_isocentre_by_half_a_millimetre_towards_the_first_slice(protocol, towards):
    prepared = prepared_of(protocol)
    moved = torch.tensor(prepared.film_isocenter_mm) - torch.tensor(prepared.film_grid.center_mm)
    assert moved.numpy() == pytest.approx([0.0, 0.0, 0.5 * towards], abs=MM_TOLERANCE)


def test_a_tilted_gantry_is_straight_to_the_tool_and_not_to_us():
    affine = grid_of((32, 32, 32), (1.0, 1.0, 1.0)).affine
    affine[1, 0] += 0.3  # each slice lies 0.3 mm further to the front
    tilted = VolumeGrid.from_affine((32, 32, 32), affine)
    prepared = prepare_for_protocol(noise(tilted), tilted, X2CT_SMALL)
    # The slices are sqrt(1 + 0.3 ** 2) = 1.044 mm apart: 32 of them become 33 between the same two ends.
    assert float(prepared.stored_grid.affine[1, 0]) == pytest.approx(0.3 * 31 / 32)
    axes = prepared.film_grid.affine[:3, :3]
    assert (axes.T @ axes).fill_diagonal_(0).abs().max() < MM_TOLERANCE
    assert len(protocol_beams(prepared, X2CT_SMALL)) == 2


def test_the_tool_takes_stored_values_for_24_hu_more_and_thin_lung_for_nothing():
    mu = drr_mu_per_mm(torch.tensor([[[0.0, 200.0, 201.0, 1000.0, 1024.0, 2000.0]]]))
    # 0.022 / mm in water at "0 HU", which is stored 1000; nothing up to "-800 HU".
    assert mu.flatten().tolist() == pytest.approx([0.0, 0.0, 0.022 * 0.201, 0.022, 0.022 * 1.024, 0.044])


def test_a_film_is_its_share_of_its_own_maximum_cut_to_8_bits():
    films = published_film(torch.tensor([[[0.0, 1.0, 2.0]], [[0.0, 3.0, 30.0]]]))
    assert films.tolist() == [[[0, 127, 255]], [[0, 25, 255]]]


def test_an_empty_film_is_refused():
    with pytest.raises(ValueError, match="positive somewhere"):
        published_film(torch.zeros(2, 4, 4))


def test_films_that_are_not_published_are_refused_with_the_way_out():
    prepared = prepared_of(replace(LIFTXR, resize_order=1, model_voxels=12))
    with pytest.raises(ValueError, match=r"films must state .* for liftxr"):
        protocol_beams(prepared, LIFTXR)


def test_films_of_one_s_own_choice_take_their_place():
    protocol = replace(LIFTXR, resize_order=1, films=replace(LIFTXR.films, pixels=256, size_mm=256.0, source_to_axis_mm=2800.0))
    frontal, _ = protocol_beams(prepared_of(replace(protocol, model_voxels=12)), protocol)
    assert (frontal.source_to_detector_mm, frontal.detector.pitch_mm) == (pytest.approx(3000.0), (1.0, 1.0))

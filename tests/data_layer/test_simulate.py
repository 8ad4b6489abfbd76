"""What a simulated film shows, and where."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from xct_components.data.simulate.chest_exposure import ChestExposure, chest_exposure_for
from xct_components.data.simulate.simulated_film import simulate_film
from xct_components.geometry import ChestView, Detector, VolumeGrid, chest_parallel_beam
from xct_components.physics.film_formation import FilmFormation

# A marker of 3 voxels of 4 mm is located by its centre of mass; a tenth of a voxel is left to its uneven thickness along rays.
MARKER_TOLERANCE_MM = 0.4
# float32 sums of 60 voxels.
FLOAT32_TOLERANCE = 1e-5

# A CT as scanners store it: slice, row, column = superior, posterior, left.
SPACING_MM, SHAPE = 4.0, (70, 60, 80)
AFFINE = np.array(
    [[0.0, 0.0, -SPACING_MM, 170.0], [0.0, -SPACING_MM, 0.0, 100.0], [SPACING_MM, 0.0, 0.0, -120.0], [0, 0, 0, 1]]
)
GRID = VolumeGrid.from_affine(SHAPE, AFFINE)
# Patient's left, anterior, superior of the middle.
MARKER_MM = np.array([-70.0, 44.0, 60.0])


def body_with_marker() -> tuple[torch.Tensor, torch.Tensor]:
    """HU with and without a dense cube of 3 x 3 x 3 voxels around MARKER_MM, in a homogeneous body."""
    body = torch.full((1, 1, *SHAPE), -1000.0)
    body[..., 4:-4, 5:-5, 6:-6] = 20.0
    d, h, w = (round(float(i)) for i in GRID.voxels_from_world(torch.tensor(MARKER_MM)))
    marked = body.clone()
    marked[..., d - 1 : d + 2, h - 1 : h + 2, w - 1 : w + 2] = 3000.0
    return body, marked


def marker_on_film(view: ChestView) -> tuple[np.ndarray, ChestExposure]:
    """(row, column) of the marker's shadow, and the exposure."""
    body, marked = body_with_marker()
    exposure = chest_exposure_for(body, GRID, view, rows=128, cols=128, field_mm=340.0)
    shadow = simulate_film(marked, GRID, exposure.beam).line_integrals - simulate_film(body, GRID, exposure.beam).line_integrals
    weights = (shadow / shadow.sum()).double().numpy()
    indices = np.indices(weights.shape)
    return np.array([(weights * axis).sum() for axis in indices]), exposure


@pytest.mark.parametrize("view", ["PA", "AP"])
def test_the_patients_left_is_on_the_viewers_right_and_the_head_is_up(view):
    (row, column), _ = marker_on_film(view)
    assert column > 64 + 10
    assert row < 64 - 10


def test_a_left_lateral_film_looks_to_the_viewers_left():
    (row, column), _ = marker_on_film("LL")
    assert column < 64 - 5
    assert row < 64 - 10


@pytest.mark.parametrize("view", ["PA", "AP", "LL", "RL"])
def test_a_marker_lies_on_the_line_from_the_source_to_its_shadow(view):
    row_col, exposure = marker_on_film(view)
    source, shadow = np.array(exposure.beam.source_mm), exposure.beam.pixel_centers_mm(torch.tensor(row_col)).numpy()
    along = (shadow - source) / np.linalg.norm(shadow - source)
    voxel = GRID.voxels_from_world(torch.tensor(MARKER_MM)).round()
    center = GRID.world_from_voxels(voxel).numpy()
    assert np.linalg.norm(np.cross(center - source, along)) < MARKER_TOLERANCE_MM


def test_a_slab_of_water_gives_its_attenuation_times_its_thickness():
    ct_hu = torch.full((1, 1, *SHAPE), -1000.0)
    ct_hu[..., 10:40, :] = 0.0
    beam = chest_parallel_beam("PA", Detector(20, 20, 4.0), isocenter_mm=GRID.center_mm)
    film = simulate_film(ct_hu, GRID, beam).line_integrals
    # NIST: 0.2059 cm2/g at 60 keV; 30 rows of 4 mm.
    assert float((film - 0.02059 * 120.0).abs().max()) < 2e-3


def test_film_formation_with_every_step_off_is_the_line_integral():
    _, marked = body_with_marker()
    beam = chest_exposure_for(marked, GRID, "PA", rows=64, cols=64).beam
    plain, formed = (simulate_film(marked, GRID, beam, formation).line_integrals for formation in (None, FilmFormation()))
    assert torch.allclose(plain, formed, rtol=FLOAT32_TOLERANCE, atol=FLOAT32_TOLERANCE)


def test_a_seed_gives_one_noisy_film():
    _, marked = body_with_marker()
    beam = chest_exposure_for(marked, GRID, "PA", rows=32, cols=32).beam
    noisy = FilmFormation(photons_per_mm2=1e5)
    first, again, other = (
        simulate_film(marked, GRID, beam, noisy, torch.Generator().manual_seed(seed)).line_integrals for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)

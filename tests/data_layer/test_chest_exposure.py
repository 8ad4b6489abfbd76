"""The default film shows the middle of the body, at the size that was asked for."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from xct_components.data.simulate.chest_exposure import ChestExposure, body_box_mm, chest_exposure_for
from xct_components.geometry import VolumeGrid

# The body is sought on voxels of 4 mm: each side of its box is known to half of one, and to half a voxel of the CT.
BOX_TOLERANCE_MM = 3.0
# A pixel size is a product of lengths known to 1e-12.
LENGTH_TOLERANCE_MM = 1e-9

GRID = VolumeGrid.chest((130, 150, 170), spacing_mm=(2.0, 2.5, 2.0), center_mm=(5.0, -20.0, 100.0))
# Lowest and highest RAS mm of an off-centre body.
BODY_LOW, BODY_HIGH = np.array([-110.0, -90.0, -60.0]), np.array([90.0, 80.0, 250.0])


def box_of(grid: VolumeGrid, low_mm: np.ndarray, high_mm: np.ndarray) -> torch.Tensor:
    """(D, H, W) mask of the voxels whose centres lie between two RAS corners."""
    indices = torch.stack(torch.meshgrid(*map(torch.arange, grid.shape), indexing="ij"), dim=-1)
    world_mm = grid.world_from_voxels(indices)
    return ((world_mm >= torch.tensor(low_mm)) & (world_mm <= torch.tensor(high_mm))).all(dim=-1)


@cache
def patient() -> torch.Tensor:
    """A box of tissue with a lung in it, above a thin wide table, (1, 1, D, H, W) HU."""
    grid, ct_hu = GRID, torch.full(GRID.shape, -1000.0)
    ct_hu[box_of(grid, np.array([-160.0, -112.0, -85.0]), np.array([165.0, -108.0, 285.0]))] = 200.0
    ct_hu[box_of(grid, BODY_LOW, BODY_HIGH)] = 30.0
    ct_hu[box_of(grid, BODY_LOW + 30.0, BODY_HIGH - 30.0)] = -850.0
    return ct_hu[None, None]


def test_the_body_is_found_and_its_table_is_not():
    low_mm, high_mm = body_box_mm(patient(), GRID)
    assert np.abs(low_mm.numpy() - BODY_LOW).max() < BOX_TOLERANCE_MM
    assert np.abs(high_mm.numpy() - BODY_HIGH).max() < BOX_TOLERANCE_MM


def test_the_body_is_found_wherever_the_axes_of_the_file_run():
    affine = GRID.affine[:, [2, 0, 1, 3]]
    affine[:3, 3] += affine[:3, 1] * (GRID.shape[0] - 1)
    affine[:3, 1] *= -1
    turned = VolumeGrid.from_affine((GRID.shape[2], GRID.shape[0], GRID.shape[1]), affine)
    low_mm, high_mm = body_box_mm(patient().permute(0, 1, 4, 2, 3).flip(3), turned)
    assert np.abs(low_mm.numpy() - BODY_LOW).max() < BOX_TOLERANCE_MM
    assert np.abs(high_mm.numpy() - BODY_HIGH).max() < BOX_TOLERANCE_MM


@pytest.mark.parametrize("view", ["PA", "AP", "LL", "RL"])
def test_the_central_ray_runs_through_the_middle_of_the_body(view):
    exposure = chest_exposure_for(patient(), GRID, view, rows=64, cols=48, field_mm=300.0)
    source, center = np.array(exposure.beam.source_mm), np.array(exposure.beam.detector_center_mm)
    middle = (BODY_LOW + BODY_HIGH) / 2
    along = (center - source) / np.linalg.norm(center - source)
    missed_mm = np.linalg.norm(np.cross(middle - source, along))
    assert missed_mm < BOX_TOLERANCE_MM
    assert np.linalg.norm(center - source) == pytest.approx(1800.0)
    assert float((middle - source) @ along) == pytest.approx(1600.0, abs=BOX_TOLERANCE_MM)


def test_the_longer_side_of_the_film_is_the_field_and_pixels_are_square():
    exposure = chest_exposure_for(patient(), GRID, "PA", rows=64, cols=48, field_mm=300.0)
    assert exposure.field_mm == pytest.approx((300.0, 225.0), abs=LENGTH_TOLERANCE_MM)
    assert exposure.beam.detector.size_mm == pytest.approx((337.5, 253.125), abs=LENGTH_TOLERANCE_MM)  # 1800 / 1600 larger
    assert exposure.pixel_in_patient_mm == pytest.approx((4.6875, 4.6875), abs=LENGTH_TOLERANCE_MM)


def test_the_default_field_is_that_of_the_cascade():
    exposure = chest_exposure_for(patient(), GRID, "PA")
    assert exposure.field_mm == pytest.approx((320.0, 320.0), abs=LENGTH_TOLERANCE_MM)
    assert exposure.beam.detector.size_mm == pytest.approx((360.0, 360.0), abs=LENGTH_TOLERANCE_MM)


def test_coverage_is_what_the_ct_fills_of_the_field():
    exposure = chest_exposure_for(patient(), GRID, "PA", rows=64, cols=64, field_mm=400.0)
    centered = replace(exposure, isocenter_mm=GRID.center_mm)
    assert centered.coverage_mm(GRID) == pytest.approx((375.0, 340.0))  # 150 x 2.5 high, 170 x 2 wide
    assert ChestExposure.coverage_mm(centered, GRID.crop((0, 0, 0), (130, 75, 170)))[0] == pytest.approx(187.5)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"field_mm": 0.0}, "field_mm must be positive"),
        ({"field_mm": float("nan")}, "field_mm must be positive"),
        ({"rows": 0}, "rows"),
        ({"source_to_patient_mm": 0.0}, "source_to_patient_mm must lie between"),
        ({"source_to_patient_mm": 1900.0}, "source_to_patient_mm must lie between"),
    ],
)
def test_impossible_exposures_are_refused(options, reason):
    with pytest.raises(ValueError, match=reason):
        chest_exposure_for(patient(), GRID, "PA", **options)

"""Voxels lie where the affine says, and only there."""

from __future__ import annotations

import json
import math
from dataclasses import FrozenInstanceError
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.geometry.strategies import affines, numbers, rigid_motions, shapes, volume_grids
from xct_components.geometry import VolumeGrid

# Positions reach 8000 mm; float64 keeps 2e-12 of that, and an inverse affine of condition ~1e2 loses two digits.
POSITION_TOLERANCE_MM = 1e-8
# Two axes this close to a tie (in direction cosines) have no defined letter; rounding decides.
AMBIGUOUS_COSINE = 1e-6

fractional_voxels = st.lists(st.tuples(*[numbers(-10, 700)] * 3), min_size=1, max_size=4)


def applied(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """A 4x4 affine applied to (n, 3) points in homogeneous coordinates."""
    return (np.column_stack([points, np.ones(len(points))]) @ matrix.T)[:, :3]


@given(volume_grids())
def test_the_repr_of_a_grid_is_code_that_makes_it(grid):
    assert eval(repr(grid)) == grid


@given(volume_grids())
def test_a_grid_survives_a_json_file(grid):
    assert VolumeGrid.from_json(json.loads(json.dumps(grid.to_json()))) == grid


@given(volume_grids())
def test_equal_grids_are_one_key_of_a_dictionary(grid):
    assert {grid: "first", eval(repr(grid)): "second"} == {grid: "second"}


def test_a_grid_cannot_be_changed():
    grid = VolumeGrid.chest((4, 5, 6), 2.0)
    with pytest.raises(FrozenInstanceError):
        grid.shape = (1, 1, 1)  # type: ignore[misc]
    grid.affine.zero_()
    assert grid.spacing_mm == (2.0, 2.0, 2.0)


@given(volume_grids(), fractional_voxels)
def test_voxel_positions_are_the_affine_in_homogeneous_coordinates(grid, voxels):
    expected = applied(np.array(grid.world_from_voxel), np.array(voxels))
    positions_mm = grid.world_from_voxels(torch.tensor(voxels, dtype=torch.float64))
    np.testing.assert_allclose(positions_mm, expected, atol=POSITION_TOLERANCE_MM)


@given(volume_grids(), fractional_voxels)
def test_world_and_voxel_positions_round_trip(grid, voxels):
    there = grid.world_from_voxels(torch.tensor(voxels, dtype=torch.float64))
    np.testing.assert_allclose(grid.voxels_from_world(there), voxels, atol=POSITION_TOLERANCE_MM)


@given(volume_grids())
def test_spacing_is_the_distance_between_neighbouring_voxels(grid):
    origin, *neighbours = grid.world_from_voxels(torch.cat([torch.zeros(1, 3), torch.eye(3)])).numpy()
    distances = [math.dist(origin, neighbour) for neighbour in neighbours]
    np.testing.assert_allclose(grid.spacing_mm, distances, atol=POSITION_TOLERANCE_MM)
    np.testing.assert_allclose(grid.extent_mm, np.multiply(grid.shape, distances), atol=600 * POSITION_TOLERANCE_MM)


@given(volume_grids())
def test_voxel_volume_is_the_triple_product_of_the_voxel_edges(grid):
    d, h, w = np.array(grid.world_from_voxel)[:3, :3].T
    assert grid.voxel_volume_mm3 == pytest.approx(abs(np.dot(np.cross(d, h), w)))


@given(volume_grids())
def test_the_centre_of_a_grid_is_the_mean_of_its_corners(grid):
    corners = torch.cartesian_prod(*[torch.tensor([-0.5, n - 0.5]) for n in grid.shape])
    np.testing.assert_allclose(grid.center_mm, grid.world_from_voxels(corners).mean(dim=0), atol=POSITION_TOLERANCE_MM)


@given(shapes(), affines())
def test_axis_codes_agree_with_nibabel(shape, affine):
    left, _, right = np.linalg.svd(affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0))
    cosines = np.abs(left @ right)
    assume(np.diff(np.sort(cosines.ravel())).min() > AMBIGUOUS_COSINE or np.allclose(np.sort(cosines, axis=0)[:2], 0))
    assert tuple(VolumeGrid.from_affine(shape, affine).axis_codes) == nibabel.aff2axcodes(affine)


STEPS = {"R": (1, 0, 0), "L": (-1, 0, 0), "A": (0, 1, 0), "P": (0, -1, 0), "S": (0, 0, 1), "I": (0, 0, -1)}


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PIL", "SAL", "AIR", "IRP"])
def test_axis_codes_of_straight_grids_are_read_off_the_affine(codes):
    affine = np.eye(4)
    affine[:3, :3] = np.column_stack([STEPS[code] for code in codes])
    assert VolumeGrid.from_affine((7, 8, 9), affine).axis_codes == codes


def test_a_gantry_tilt_does_not_change_the_axis_codes():
    tilted = VolumeGrid.from_affine((4, 4, 4), [[1, 0, 0, 0], [0, 1, 0.57, 0], [0, 0, 2, 0], [0, 0, 0, 1]])
    assert tilted.axis_codes == "RAS"


@given(volume_grids(), st.data())
def test_a_crop_keeps_every_voxel_where_it_was(grid, data):
    start = [data.draw(st.integers(0, n - 1)) for n in grid.shape]
    shape = [data.draw(st.integers(1, n - s)) for n, s in zip(grid.shape, start, strict=True)]
    tile, index = grid.crop(start, shape), torch.tensor([[0.0, 0.0, 0.0], [1.5, 2.0, -3.0]])
    assert tile.shape == tuple(shape)
    np.testing.assert_allclose(
        tile.world_from_voxels(index), grid.world_from_voxels(index + torch.tensor(start)), atol=POSITION_TOLERANCE_MM
    )


@given(volume_grids(), shapes())
def test_resampling_keeps_the_outer_faces_of_the_volume(grid, shape):
    other = grid.resampled(shape)
    assert other.shape == shape
    for edge in ([0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]):
        before = grid.world_from_voxels(torch.tensor(edge) * torch.tensor(grid.shape) - 0.5)
        after = other.world_from_voxels(torch.tensor(edge) * torch.tensor(shape) - 0.5)
        np.testing.assert_allclose(after, before, atol=POSITION_TOLERANCE_MM)


@given(volume_grids(), affines(), fractional_voxels)
def test_moving_a_grid_moves_every_voxel(grid, motion, voxels):
    index = torch.tensor(voxels, dtype=torch.float64)
    expected = applied(motion, grid.world_from_voxels(index).numpy())
    np.testing.assert_allclose(grid.moved(motion).world_from_voxels(index), expected, atol=100 * POSITION_TOLERANCE_MM)


@given(volume_grids(), rigid_motions())
def test_a_rigid_motion_keeps_spacing_and_volume(grid, motion):
    moved = grid.moved(torch.from_numpy(motion))
    assert moved.spacing_mm == pytest.approx(grid.spacing_mm)
    assert moved.voxel_volume_mm3 == pytest.approx(grid.voxel_volume_mm3)


@given(shapes(), st.tuples(*[numbers(0.3, 8.0)] * 3), st.tuples(*[numbers(-500, 500)] * 3))
def test_the_canonical_grid_runs_back_down_and_left_from_its_centre(shape, spacing_mm, center_mm):
    grid = VolumeGrid.chest(shape, spacing_mm, center_mm)
    assert grid.axis_codes == "PIL"
    assert grid.spacing_mm == pytest.approx(spacing_mm)
    np.testing.assert_allclose(grid.center_mm, center_mm, atol=POSITION_TOLERANCE_MM)
    x_right, y_front, z_top = grid.world_from_voxels(torch.zeros(3)).tolist()
    half = [(n - 1) / 2 * step for n, step in zip(shape, spacing_mm, strict=True)]
    np.testing.assert_allclose(
        [y_front - center_mm[1], z_top - center_mm[2], x_right - center_mm[0]], half, atol=POSITION_TOLERANCE_MM
    )


def test_the_grid_of_a_nifti_image_has_the_spacing_of_its_header():
    image = nibabel.Nifti1Image(np.zeros((6, 5, 4), np.int16), np.diag([-0.8, 0.7, 2.5, 1.0]))
    grid = VolumeGrid.from_affine(image.shape, image.affine)
    assert grid.spacing_mm == pytest.approx(image.header.get_zooms())
    assert grid.axis_codes == "LAS"


def grid_of(shape: Any = (4, 4, 4), affine: Any = None, **columns: Any) -> VolumeGrid:
    matrix: Any = np.eye(4) if affine is None else affine
    for axis, values in columns.items():
        matrix[:3, "dhw".index(axis)] = values
    return VolumeGrid(shape, matrix)


CHEST = VolumeGrid.chest((4, 5, 6), 2.0)
BAD_INPUT = {
    "no affine": (lambda: VolumeGrid.from_affine((4, 4, 4), None), "affine", "None"),
    "a 3x3 affine": (lambda: grid_of(affine=np.eye(3)), "world_from_voxel", "[1. 0. 0.]"),
    "a ragged affine": (lambda: grid_of(affine=[[1, 0], [0]]), "world_from_voxel", "[[1, 0], [0]]"),
    "text for an affine": (lambda: grid_of(affine="RAS"), "world_from_voxel", "RAS"),
    "a NaN in the affine": (lambda: grid_of(affine=np.diag([1, 1, np.nan, 1])), "world_from_voxel", "nan"),
    "an infinite step": (lambda: grid_of(w=(0, 0, np.inf)), "world_from_voxel", "inf"),
    "a projective affine": (lambda: grid_of(affine=np.diag([1, 1, 1, 2.0])), "world_from_voxel", "2.0"),
    "zero spacing": (lambda: grid_of(h=(0, 0, 0)), "spacing_mm", "(1.0, 0.0, 1.0)"),
    "parallel axes": (lambda: grid_of(h=(2, 0, 0)), "world_from_voxel", "0.0e+00"),
    "an empty shape": (lambda: grid_of(shape=(4, 0, 4)), "shape", "0"),
    "a negative shape": (lambda: grid_of(shape=(4, -2, 4)), "shape", "-2"),
    "half a voxel": (lambda: grid_of(shape=(4, 4, 2.5)), "shape", "2.5"),
    "a NaN shape": (lambda: grid_of(shape=(4, 4, math.nan)), "shape", "nan"),
    "a flat shape": (lambda: grid_of(shape=(4, 4)), "shape", "(4, 4)"),
    "a chest of flat shape": (lambda: VolumeGrid.chest((4, 4), 1.0), "shape", "(4, 4)"),
    "a chest of no spacing": (lambda: VolumeGrid.chest((4, 4, 4), 0.0), "spacing_mm", "0.0"),
    "a chest of negative spacing": (lambda: VolumeGrid.chest((4, 4, 4), (1.0, -2.0, 1.0)), "spacing_mm", "-2.0"),
    "a chest of NaN spacing": (lambda: VolumeGrid.chest((4, 4, 4), math.nan), "spacing_mm", "nan"),
    "a chest of two spacings": (lambda: VolumeGrid.chest((4, 4, 4), (1.0, 2.0)), "spacing_mm", "(1.0, 2.0)"),
    "a chest centred nowhere": (lambda: VolumeGrid.chest((4, 4, 4), 1.0, (0.0, math.nan, 0.0)), "center_mm", "nan"),
    "a crop beyond the volume": (lambda: CHEST.crop((0, 0, 3), (4, 5, 4)), "start_dhw", "(0, 0, 3)"),
    "a crop before the volume": (lambda: CHEST.crop((-1, 0, 0), (1, 1, 1)), "start_dhw", "(-1, 0, 0)"),
    "a crop of two axes": (lambda: CHEST.crop((0, 0), (1, 1, 1)), "start_dhw", "(0, 0)"),
    "an empty crop": (lambda: CHEST.crop((0, 0, 0), (1, 0, 1)), "shape", "0"),
    "resampling to nothing": (lambda: CHEST.resampled((0, 4, 4)), "shape", "0"),
    "resampling two axes": (lambda: CHEST.resampled((4, 4)), "shape", "(4, 4)"),
    "a missing motion": (lambda: CHEST.moved(None), "world_from_world", "None"),
    "a 3x3 motion": (lambda: CHEST.moved(np.eye(3)), "world_from_world", "[1. 0. 0.]"),
    "a flattening motion": (lambda: CHEST.moved(np.diag([1.0, 0.0, 1.0, 1.0])), "spacing_mm", "(0.0, 2.0, 2.0)"),
    "a document without an affine": (lambda: VolumeGrid.from_json({"shape": [1, 1, 1]}), "fields", "no world_from_voxel"),
}


@pytest.mark.parametrize("name", BAD_INPUT)
def test_a_wrong_grid_names_the_argument_and_the_value(name):
    build, argument, value = BAD_INPUT[name]
    with pytest.raises(ValueError, match=rf"^{argument} ") as caught:
        build()
    assert value in str(caught.value)

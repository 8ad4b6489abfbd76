"""A resampled voxel is the mean of the CT over its box: nothing aliases, nothing is lost, nothing moves."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xct_components.data.prepare.canonical_ct import canonical_ct
from xct_components.data.prepare.resampling import box_weights, halved, resampled
from xct_components.geometry import VolumeGrid

# 4000 midpoints per box: the rule's error on a kinked line of slope 1 is below 1 / 4000.
QUADRATURE_ERROR = 5e-4
# Whole HU: half a HU, and float32 sums of a few thousand HU.
ROUNDING_HU = 0.51


def made_ct(hu: np.ndarray, spacing_mm: tuple[float, float, float]):
    """A canonical CT of (H, D, W) HU."""
    affine = np.zeros((4, 4))
    for axis, world in enumerate((2, 1, 0)):
        affine[world, axis] = -spacing_mm[axis]
    affine[3, 3] = 1.0
    return canonical_ct(torch.from_numpy(hu.astype(np.float32))[None, None], VolumeGrid.from_affine(hu.shape, affine))


@given(count=st.integers(2, 9), per_box=st.floats(0.15, 4.0), first=st.floats(-4.0, 4.0), seed=st.integers(0, 1000))
def test_the_weights_give_the_mean_of_the_interpolated_line(count, per_box, first, seed):
    samples = np.random.default_rng(seed).uniform(-1.0, 1.0, count)
    boxes = 5
    midpoints = first + per_box * (np.arange(boxes * 4000) + 0.5) / 4000
    line = np.interp(midpoints, np.arange(-1, count + 1), [0.0, *samples, 0.0], left=0.0, right=0.0)
    assert np.allclose(
        box_weights(count, per_box, first, boxes) @ samples, line.reshape(boxes, -1).mean(1), atol=QUADRATURE_ERROR
    )


def test_every_sample_weighs_the_same():
    weights = box_weights(7, 0.37, -3.0, 40)
    assert np.allclose(weights.sum(axis=0), 1 / 0.37)


def test_the_integral_over_the_volume_is_kept():
    hu = np.random.default_rng(0).integers(-1000, 1500, (20, 30, 25))
    ct = made_ct(hu, (5.0, 1.7, 2.1))
    volume = resampled(ct, (9.5, 14.5, 12.0), VolumeGrid.chest((64, 64, 64), 2.0))
    before = (hu + 1000.0).sum() * 5.0 * 1.7 * 2.1
    after = (volume + 1000.0).sum() * 8.0
    assert after == pytest.approx(before, rel=1e-4)  # rounding to whole HU averages out over 20000 voxels


def test_detail_below_the_voxel_is_averaged_not_aliased():
    hu = np.where(np.indices((60, 60, 60)).sum(0) % 2, 500, -500)
    volume = resampled(made_ct(hu, (1.0, 1.0, 1.0)), (29.5, 29.5, 29.5), VolumeGrid.chest((10, 10, 10), 4.0))
    assert int(np.abs(volume).max()) <= 1


def test_a_constant_stays_constant_and_the_rest_is_air():
    ct = made_ct(np.full((40, 50, 60), 37), (2.0, 1.0, 1.5))
    volume = resampled(ct, (19.5, 24.5, 29.5), VolumeGrid.chest((32, 32, 32), 5.0))
    inside = volume[32 // 2 - 4 : 32 // 2 + 4, 32 // 2 - 7 : 32 // 2 + 7, 32 // 2 - 8 : 32 // 2 + 8]
    assert (inside == 37).all()
    assert volume[0].max() == volume[:, 0].max() == volume[:, :, 0].max() == -1000


@pytest.mark.parametrize("target_axis", [0, 1, 2])
def test_a_slope_runs_the_right_way_at_the_right_place(target_axis):
    source_axis = (1, 0, 2)[target_axis]
    hu = np.broadcast_to(np.expand_dims(np.arange(50) * 10, [i for i in range(3) if i != source_axis]), (50, 50, 50))
    volume = resampled(made_ct(hu, (2.0, 2.0, 2.0)), (24.5, 24.5, 24.5), VolumeGrid.chest((16, 16, 16), 3.0))
    line = volume[tuple(slice(None) if i == target_axis else 8 for i in range(3))]
    expected = 245.0 + (np.arange(16) - 7.5) * 15.0  # 10 HU per 2 mm, voxels of 3 mm
    assert np.abs(line - expected).max() <= ROUNDING_HU


def test_a_halved_volume_holds_the_mean_of_eight():
    volume = np.random.default_rng(1).integers(-1024, 3000, (8, 10, 12)).astype(np.int16)
    expected = torch.nn.functional.avg_pool3d(torch.from_numpy(volume)[None, None].double(), 2)[0, 0].round()
    assert np.array_equal(halved(volume), expected.numpy())


def test_directly_and_by_halving_agree():
    hu = np.random.default_rng(2).integers(-1000, 1500, (40, 40, 40))
    ct = made_ct(hu, (1.3, 1.1, 1.0))
    fine = resampled(ct, (20.0, 19.5, 19.0), VolumeGrid.chest((32, 32, 32), 1.5))
    coarse = resampled(ct, (20.0, 19.5, 19.0), VolumeGrid.chest((16, 16, 16), 3.0))
    assert np.abs(halved(fine).astype(int) - coarse).max() <= 1  # two roundings

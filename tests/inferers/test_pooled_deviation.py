"""Pooling of deviations, held against scipy's Gaussian filter and against what samples of known spread tell."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from xct_components.geometry import VolumeGrid
from xct_components.inferers.pooled_deviation import pooled_deviation, stated_deviations


@pytest.mark.parametrize("shape", [(8, 8, 8), (32, 20, 47), (1, 3, 2)])
@pytest.mark.parametrize("spacing_mm", [(1.25, 1.25, 1.25), (5.0, 5.0, 5.0), (2.5, 0.6, 80.0)])
def test_an_even_deviation_stays_as_it_is(shape, spacing_mm):
    std = torch.full((2, 1, *shape), 130.0)
    torch.testing.assert_close(pooled_deviation(std.square(), spacing_mm), std, rtol=1e-5, atol=0.0)


def test_at_5_mm_it_is_the_gaussian_mean_of_the_variance():
    variance = 1e4 * torch.rand(1, 1, 12, 9, 14, generator=torch.Generator().manual_seed(0))
    expected = np.sqrt(gaussian_filter(variance[0, 0].numpy(), 1.0, mode="nearest"))
    # MONAI integrates the Gaussian over each cell, scipy takes its middle: a few percent of a step
    np.testing.assert_allclose(pooled_deviation(variance, (5.0, 5.0, 5.0))[0, 0], expected, rtol=0.05)


def test_it_does_not_depend_on_how_fine_the_voxels_are():
    coarse = 1e4 * torch.rand(1, 1, 12, 9, 14, generator=torch.Generator().manual_seed(0))
    fine = coarse.repeat_interleave(4, 2).repeat_interleave(4, 3).repeat_interleave(4, 4)
    at_cells = pooled_deviation(fine, (1.25, 1.25, 1.25)).square()
    middles = at_cells.unflatten(2, (12, 4)).unflatten(4, (9, 4)).unflatten(6, (14, 4)).mean((3, 5, 7)).sqrt()
    # interpolation between cells rounds the steps; inside, the mean over a cell is that cell's within a few percent
    inside = (..., slice(1, -1), slice(1, -1), slice(1, -1))
    torch.testing.assert_close(middles[inside], pooled_deviation(coarse, (5.0, 5.0, 5.0))[inside], rtol=0.05, atol=0.0)


def test_large_voxels_keep_their_own():
    variance = 1e4 * torch.rand(1, 1, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(pooled_deviation(variance, (80.0, 80.0, 80.0)), variance.sqrt())


def test_few_samples_of_a_known_spread_tell_it_better_pooled():
    """Four draws per voxel of a spread that rises slowly from 50 to 150 HU."""
    truth = torch.linspace(50.0, 150.0, 40)[:, None, None].expand(40, 40, 40)
    draws = truth * torch.randn(4, 40, 40, 40, generator=torch.Generator().manual_seed(0))
    raw = draws.std(0)
    pooled = pooled_deviation(raw.square()[None, None], (2.5, 2.5, 2.5))[0, 0]
    error, error_pooled = ((one / truth - 1.0).square().mean().sqrt() for one in (raw, pooled))
    assert float(error) > 0.35  # 1 / sqrt(2 (4 - 1)) is 0.41
    assert float(error_pooled) < 0.05


def test_each_sample_is_pooled_on_its_own_field():
    variance = 1e4 * torch.rand(2, 1, 6, 6, 6, generator=torch.Generator().manual_seed(0))
    fields = [VolumeGrid.chest((6, 6, 6), 2.0), VolumeGrid.chest((6, 6, 6), 4.0)]
    together = stated_deviations(variance, fields, 2.0)
    for i, field in enumerate(fields):
        assert torch.equal(together[i : i + 1], 2.0 * pooled_deviation(variance[i : i + 1], field.spacing_mm))

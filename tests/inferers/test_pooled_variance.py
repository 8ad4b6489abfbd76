"""Pooling of variances, held against scipy's Gaussian filter and against what samples of known spread tell."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from xct_components.inferers.pooled_variance import pooled_variance

WIDTH_MM = 5.0


@pytest.mark.parametrize("shape", [(8, 8, 8), (32, 20, 47), (1, 3, 2)])
@pytest.mark.parametrize("spacing_mm", [(1.25, 1.25, 1.25), (5.0, 5.0, 5.0), (2.5, 0.6, 80.0)])
def test_an_even_variance_stays_as_it_is(shape, spacing_mm):
    variance = torch.full((2, 1, *shape), 130.0)
    torch.testing.assert_close(pooled_variance(variance, spacing_mm, WIDTH_MM), variance, rtol=1e-5, atol=0.0)


def test_at_5_mm_it_is_the_gaussian_mean_of_the_variance():
    variance = 1e4 * torch.rand(1, 1, 12, 9, 14, generator=torch.Generator().manual_seed(0))
    expected = gaussian_filter(variance[0, 0].numpy(), 1.0, mode="nearest")
    # MONAI integrates the Gaussian over each cell, scipy takes its middle: a few percent of a step
    np.testing.assert_allclose(pooled_variance(variance, (5.0, 5.0, 5.0), WIDTH_MM)[0, 0], expected, rtol=0.1)


def test_it_does_not_depend_on_how_fine_the_voxels_are():
    coarse = 1e4 * torch.rand(1, 1, 12, 9, 14, generator=torch.Generator().manual_seed(0))
    fine = coarse.repeat_interleave(4, 2).repeat_interleave(4, 3).repeat_interleave(4, 4)
    at_cells = pooled_variance(fine, (1.25, 1.25, 1.25), WIDTH_MM)
    middles = at_cells.unflatten(2, (12, 4)).unflatten(4, (9, 4)).unflatten(6, (14, 4)).mean((3, 5, 7))
    # interpolation between cells rounds the steps; inside, the mean over a cell is that cell's within a few percent
    inside = (..., slice(1, -1), slice(1, -1), slice(1, -1))
    expected = pooled_variance(coarse, (5.0, 5.0, 5.0), WIDTH_MM)
    torch.testing.assert_close(middles[inside], expected[inside], rtol=0.1, atol=0.0)


def test_large_voxels_keep_their_own():
    variance = 1e4 * torch.rand(1, 1, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(pooled_variance(variance, (80.0, 80.0, 80.0), WIDTH_MM), variance)


def test_few_samples_of_a_known_spread_tell_it_better_pooled():
    """Four draws per voxel of a spread that rises slowly from 50 to 150 HU."""
    truth = torch.linspace(50.0, 150.0, 40)[:, None, None].expand(40, 40, 40)
    draws = truth * torch.randn(4, 40, 40, 40, generator=torch.Generator().manual_seed(0))
    raw = draws.std(0)
    pooled = pooled_variance(raw.square()[None, None], (2.5, 2.5, 2.5), WIDTH_MM)[0, 0].sqrt()
    error, error_pooled = ((one / truth - 1.0).square().mean().sqrt() for one in (raw, pooled))
    assert float(error) > 0.35  # 1 / sqrt(2 (4 - 1)) is 0.41
    assert float(error_pooled) < 0.05

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import convolve1d

from xct_components.networks.hybrid_vit_unet import HybridViTUNet
from xct_components.networks.patch_blend import blended

# Sums of some hundred float32 products.
ROUNDING = 2e-6


def noise(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("patch", [2, 4])
def test_it_is_the_triangular_mean_that_scipy_computes(patch):
    volume = noise(2, 3, 10, 12, 9)
    kernel = np.array([patch - abs(n) for n in range(1 - patch, patch)], dtype=float)
    expected, counted = volume.double().numpy(), np.ones(volume.shape)
    for axis in (2, 3, 4):
        expected, counted = (convolve1d(x, kernel, axis=axis, mode="constant") for x in (expected, counted))
    np.testing.assert_allclose(blended(volume, patch).numpy(), expected / counted, atol=ROUNDING)


def test_patches_of_one_voxel_stay_as_they_are():
    volume = noise(1, 1, 4, 5, 6)
    assert torch.equal(blended(volume, 1), volume)


def test_constants_stay_up_to_the_borders_and_ramps_within():
    assert torch.allclose(blended(torch.full((1, 1, 8, 8, 8), 3.0), 4), torch.tensor(3.0), atol=ROUNDING)
    ramp = torch.arange(16.0).expand(1, 1, 8, 8, 16)
    assert torch.allclose(blended(ramp, 4)[..., 3:-3], ramp[..., 3:-3], atol=16 * ROUNDING)


def test_the_step_between_two_patches_is_spread_over_both():
    """A step of 1 becomes, at most, the largest weight of the triangle: 1 / patch."""
    volume = torch.zeros(1, 1, 8, 8, 8)
    volume[..., 4:] = 1.0
    assert float(blended(volume, 4).diff(dim=-1).max()) == pytest.approx(0.25, abs=ROUNDING)


def test_it_computes_in_full_precision_under_autocast():
    volume = noise(1, 1, 8, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(blended(volume, 4), blended(volume, 4).float())
        inside = blended(volume, 4)
    assert torch.equal(inside, blended(volume, 4))


def test_a_network_that_blends_returns_the_blended_result_of_one_that_does_not():
    def network(*, blend):
        torch.manual_seed(0)
        made = HybridViTUNet([{"channels": 8}], patch=4, token_channels=8, embedding=8, blend_patches=blend)
        for parameter in made.head.parameters():  # zero at first
            torch.nn.init.normal_(parameter)
        return made.eval()

    voxels = (noise(1, 1, 8, 8, 8), torch.tensor([0.5]), noise(1, 3, 8, 8, 8), noise(1, 3, 2, 2, 2))
    inputs = (*voxels, [noise(1, 8, 2, 2, 2)], noise(1, 8), noise(1, 4, 8))
    with torch.no_grad():
        plain, faded = (network(blend=blend)(*inputs) for blend in (False, True))
    assert plain.abs().max() > 0.1
    assert torch.allclose(faded, blended(plain, 4), atol=ROUNDING)

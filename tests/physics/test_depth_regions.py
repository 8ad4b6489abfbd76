"""Three regions of depth, whatever the number of bins."""

from __future__ import annotations

import pytest
import torch

from xct_components.physics.depth_regions import REGIONS, region_partition

#: float32 rounding of three shares that add up to 1.
ROUNDING = 1e-6
#: What the sigmoid's tails lose beyond the ends of the depth, and the midpoint rule at 64 bins.
TAILS = 1e-3

every_depth = pytest.mark.parametrize("bins", [64, 128, 256, 512])


@every_depth
def test_the_regions_share_every_bin_and_hold_a_quarter_a_half_and_a_quarter_of_the_depth(bins: int) -> None:
    regions = region_partition(bins)
    assert regions.shape == (len(REGIONS), bins)
    assert float(regions.min()) >= 0.0
    assert torch.allclose(regions.sum(0), torch.ones(bins), atol=ROUNDING)
    assert torch.allclose(regions.mean(1), torch.tensor([0.25, 0.5, 0.25]), atol=TAILS)


@every_depth
def test_the_front_and_the_back_are_mirror_images(bins: int) -> None:
    assert torch.allclose(region_partition(bins).flip(0, 1), region_partition(bins), atol=ROUNDING)


@every_depth
def test_borders_lie_at_a_quarter_and_at_three_quarters(bins: int) -> None:
    anterior, middle, posterior = region_partition(bins)
    assert (anterior > middle).sum() == bins // 4
    assert (posterior > middle).sum() == bins // 4


def test_twice_the_bins_describe_the_same_regions() -> None:
    for bins in (64, 128, 256):
        fine = region_partition(2 * bins).unflatten(1, (bins, 2)).mean(2)
        assert torch.allclose(fine, region_partition(bins), atol=TAILS)


def test_softness_is_the_width_of_the_border() -> None:
    """A logistic curve rises from 27 % to 73 % within two softnesses."""
    depth = (torch.arange(1000) + 0.5) / 1000
    anterior = region_partition(1000, softness=0.05)[0]
    inside = depth[(anterior < 1 / (1 + torch.exp(torch.tensor(-1.0)))) & (anterior > 1 / (1 + torch.exp(torch.tensor(1.0))))]
    assert float(inside.amax() - inside.amin()) == pytest.approx(0.1, abs=0.0025)  # two bins


@pytest.mark.parametrize(("bins", "softness", "name"), [(0, 0.03, "bins"), (8, 0.0, "softness"), (8, float("nan"), "softness")])
def test_what_makes_no_regions_is_refused(bins: int, softness: float, name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be"):
        region_partition(bins, softness)

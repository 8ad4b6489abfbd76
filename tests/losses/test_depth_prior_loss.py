"""Distributions along rays: against scipy's entropy and Wasserstein distance, ray by ray."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import entropy, wasserstein_distance
from torch import Tensor

from tests.losses.made_batches import log_share, made_terms, regions_of, tissue_mass
from xct_components.losses.depth_prior import LEAST_REGION_MASS, LEAST_SHARE, DepthPriorLoss
from xct_components.physics.depth_regions import region_partition

#: float32 cumulative sums over 16 bins against float64.
SAME_SUM = 1e-4


def slow_loss(log_mass: Tensor, target: Tensor, region_mass: Tensor, cdf_weight: float, region_weight: float) -> float:
    """One sample of one view, one ray after another in float64."""
    share, mass, atlas = (x[0, 0].double().numpy() for x in (log_mass.exp(), target, region_mass))
    tissues, bins = mass.shape[:2]
    partition = region_partition(bins).double().numpy()
    ray_mass, costs = mass.sum((0, 1)), []
    for row, col in np.argwhere(ray_mass > LEAST_SHARE * ray_mass.max()):
        p, q = share[..., row, col], mass[..., row, col] / ray_mass[row, col]
        cost = entropy(q.ravel(), p.ravel())
        for g in range(tissues):
            if q[g].sum() == 0.0:
                continue
            places = np.arange(bins) / bins
            moved = wasserstein_distance(places, places, p[g], q[g])
            seen = partition @ (p[g] / p[g].sum()) + LEAST_REGION_MASS
            usual = atlas[g, :, row, col]
            far = entropy(seen, usual + LEAST_REGION_MASS) if usual.sum() else 0.0
            cost += q[g].sum() * (cdf_weight * moved + region_weight * far)
        costs.append(cost)
    return float(np.mean(costs))


@pytest.mark.parametrize(("cdf_weight", "region_weight"), [(0.0, 0.0), (0.5, 0.1), (2.0, 0.0), (0.0, 3.0)])
def test_it_equals_entropy_and_wasserstein_distance_ray_by_ray(cdf_weight: float, region_weight: float) -> None:
    terms, _ = made_terms()
    log_mass, target = terms["log_mass"][:1, :1], terms["target_mass"][:1, :1]
    atlas = regions_of(target.flip(3))  # another anatomy than the target's
    found = DepthPriorLoss(cdf_weight, region_weight)(log_mass, target, atlas)
    assert found.item() == pytest.approx(slow_loss(log_mass, target, atlas, cdf_weight, region_weight), rel=SAME_SUM)


def one_bin(k: int, bins: int = 64) -> Tensor:
    """All of one tissue in one bin of one ray, but for a trace everywhere."""
    mass = torch.full((1, 1, 1, bins, 1, 1), 1e-4)
    mass[0, 0, 0, k] = 1.0
    return mass


def test_cross_entropy_sees_no_depth_but_the_earth_mover_knows_how_far_off_a_prediction_is() -> None:
    truth = one_bin(20)
    near, far = log_share(one_bin(22)), log_share(one_bin(50))
    atlas = regions_of(truth)
    blind, ordered = DepthPriorLoss(0.0, 0.0), DepthPriorLoss(1.0, 0.0)
    assert blind(near, truth, atlas).item() == pytest.approx(blind(far, truth, atlas).item(), rel=SAME_SUM)
    moved = (ordered(far, truth, atlas) - ordered(near, truth, atlas)).item()
    assert moved == pytest.approx((50 - 22) / 64, rel=0.02)  # the trace of mass elsewhere need not move


def test_the_regulariser_pulls_to_the_measured_region_and_not_to_a_quarter_a_half_and_a_quarter() -> None:
    target, depth = one_bin(20), torch.linspace(0, 1, 64).view(1, 1, 1, 64, 1, 1)
    even, at_back = torch.ones_like(depth), torch.sigmoid((depth - 0.9) / 0.03)
    with_atlas, without = DepthPriorLoss(0.0, 1.0), DepthPriorLoss(0.0, 0.0)

    def regulariser(prediction: Tensor) -> float:
        losses = [loss(log_share(prediction), target, regions_of(at_back)) for loss in (with_atlas, without)]
        return (losses[0] - losses[1]).item()

    assert regulariser(at_back) == pytest.approx(0.0, abs=SAME_SUM)
    assert regulariser(target) > regulariser(even) > 1.0


def test_rays_beside_the_patient_do_not_count() -> None:
    terms, _ = made_terms()
    target = terms["target_mass"]
    total = target.sum((2, 3), keepdim=True)
    light = total <= LEAST_SHARE * total.amax((1, 4, 5), keepdim=True)
    assert 0.05 < light.float().mean() < 0.95  # there are such rays, and others
    turned = torch.where(light, terms["log_mass"].flip(3), terms["log_mass"])
    loss = DepthPriorLoss()
    assert torch.equal(loss(turned, target, terms["region_mass"]), loss(terms["log_mass"], target, terms["region_mass"]))


def test_doubling_a_patients_density_changes_nothing() -> None:
    terms, _ = made_terms()
    mass = tissue_mass(torch.rand(2, 1, 16, 16, 16, generator=torch.Generator().manual_seed(6)) * 0.02)
    loss = DepthPriorLoss()
    once, twice = (loss(terms["log_mass"], factor * mass, terms["region_mass"]) for factor in (1.0, 2.0))
    assert once.item() == pytest.approx(twice.item(), rel=SAME_SUM)


@pytest.mark.parametrize("name", ["cdf_weight", "region_weight"])
def test_negative_weights_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be >= 0"):
        DepthPriorLoss(**{name: -0.1})

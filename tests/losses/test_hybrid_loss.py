"""The weighted sum: which terms it takes, how much of each, and what it leaves alone."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from tests.losses.made_batches import made_terms
from xct_components.losses.depth_prior import DepthPriorLoss
from xct_components.losses.gradient import GradientLoss
from xct_components.losses.hybrid import HybridLoss
from xct_components.losses.perceptual import PerceptualFeatureLoss
from xct_components.losses.projection import ProjectionLoss
from xct_components.losses.stage_terms import StageTerms
from xct_components.losses.velocity import VelocityLoss

#: float32 sums in another order.
SAME_SUM = 1e-5
WEIGHTS: dict[str, Any] = {"velocity": 1.0, "projection": 0.3, "depth_prior": 0.05, "perceptual": 0.1, "gradient": 0.2}
#: The fields that each term reads.
FIELDS = {
    "velocity": {"clean_prediction", "clean", "time"},
    "projection": {"mu_per_mm", "line_integrals", "grids", "beams"},
    "depth_prior": {"log_mass", "target_mass", "region_mass"},
    "perceptual": {"volume_hu", "truth_hu", "time"},
    "gradient": {"volume_hu", "truth_hu", "time"},
}


def terms(**changes: Any) -> StageTerms:
    return StageTerms(**{**made_terms()[0], **changes})


def test_it_is_the_weighted_sum_of_its_terms_and_edges_count_by_the_fourth_power_of_the_signal() -> None:
    batch = terms()
    alphas = [math.cos(math.pi / 2 * time) ** 4 for time in batch.time.tolist()]
    pairs = [(batch.volume_hu[i : i + 1], batch.truth_hu[i : i + 1]) for i in (0, 1)]
    features, edges = PerceptualFeatureLoss(), GradientLoss()
    expected = {
        "velocity": VelocityLoss()(batch.clean_prediction, batch.clean, batch.time).item(),
        "projection": ProjectionLoss()(batch.mu_per_mm, batch.line_integrals, batch.grids, batch.beams).item(),
        "depth_prior": DepthPriorLoss()(batch.log_mass, batch.target_mass, batch.region_mass).item(),
        "perceptual": sum(a * features(*pair).item() for a, pair in zip(alphas, pairs, strict=True)) / 2,
        "gradient": sum(a * edges(*pair).item() for a, pair in zip(alphas, pairs, strict=True)) / 2,
    }
    report = {name: value.item() for name, value in HybridLoss(**WEIGHTS)(batch).items()}
    total = sum(WEIGHTS[name] * value for name, value in expected.items())
    assert report == pytest.approx({**expected, "loss": total}, rel=SAME_SUM)


@pytest.mark.parametrize("name", WEIGHTS)
def test_a_weight_of_zero_switches_a_term_off_entirely(name: str) -> None:
    """What only this term reads may then be NaN: it is not computed, not just multiplied by 0."""
    weights = {**WEIGHTS, name: 0.0}
    needed = set().union(*(FIELDS[other] for other, weight in weights.items() if weight))
    batch = terms()
    spoilt: dict[str, Any] = {
        field: torch.full_like(getattr(batch, field), math.nan)
        for field in FIELDS[name] - needed
        if isinstance(getattr(batch, field), torch.Tensor)
    }
    report = HybridLoss(**weights)(batch._replace(**spoilt))
    assert set(report) == {"loss", *weights} - {name}
    assert torch.isfinite(report["loss"])


@pytest.mark.parametrize("name", WEIGHTS)
def test_a_term_alone_gives_gradients_to_its_own_prediction_only(name: str) -> None:
    predicted = {"velocity": "clean_prediction", "projection": "mu_per_mm", "depth_prior": "log_mass"}.get(name, "volume_hu")
    batch = terms()
    leaves = {
        field: getattr(batch, field).clone().requires_grad_()
        for field in ("clean_prediction", "mu_per_mm", "log_mass", "volume_hu")
    }
    alone: dict[str, Any] = {**dict.fromkeys(WEIGHTS, 0.0), name: 2.0}
    HybridLoss(**alone)(batch._replace(**leaves))["loss"].backward()
    assert {field for field, leaf in leaves.items() if leaf.grad is not None} == {predicted}
    assert leaves[predicted].grad.abs().max() > 0.0


def test_at_pure_noise_edges_and_features_ask_for_nothing_and_the_film_still_does() -> None:
    report = HybridLoss(**WEIGHTS)(terms(time=torch.ones(2)))
    assert report["perceptual"].item() == report["gradient"].item() == 0.0
    assert min(report[name].item() for name in ("velocity", "projection", "depth_prior")) > 0.0


def test_without_velocities_the_plain_squared_error_is_taken() -> None:
    batch = terms()
    report = HybridLoss(v_parameterization=False)(batch)
    assert report["loss"].item() == pytest.approx((batch.clean_prediction - batch.clean).square().mean().item(), rel=SAME_SUM)


def test_a_network_without_lifting_needs_no_depth_tensors_unless_the_depth_prior_is_on() -> None:
    without = terms(log_mass=None, target_mass=None, region_mass=None)
    assert torch.isfinite(HybridLoss(projection=0.2)(without)["loss"])
    with pytest.raises(ValueError, match=r"log_mass, target_mass and region_mass must be given.*set depth_prior to 0"):
        HybridLoss(depth_prior=0.1)(without)


@pytest.mark.parametrize(
    ("weights", "message"), [({"gradient": -1.0}, "gradient must be >= 0"), ({"velocity": 0.0}, "at least one")]
)
def test_weights_that_mean_nothing_are_refused(weights: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HybridLoss(**weights)


def test_it_adds_nothing_to_a_checkpoint() -> None:
    assert HybridLoss(**WEIGHTS).state_dict() == {}

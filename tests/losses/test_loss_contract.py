"""What every loss promises, whatever it measures."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from tests.losses.made_batches import LOSSES, LossCase, loss_case

#: float32 leaves this much of a loss that is 0 in exact arithmetic: log and exp of shares, one projection made twice.
ROUNDING = 1e-5
#: The same sums in another order, float32.
SAME_SUM = 1e-5
#: bfloat16 keeps 8 bits; squared errors and log shares double and average that.
HALF_PRECISION = 0.05
#: Share of the step at which the linearised loss would reach 0: small enough for curved and kinked losses.
SMALL_STEP = 0.02

every_loss = pytest.mark.parametrize("name", LOSSES)


def gradients(case: LossCase, predictions: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss, and its gradient in every prediction."""
    leaves = {name: value.clone().requires_grad_() for name, value in predictions.items()}
    loss = case.value(**leaves)
    return loss.detach(), dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))


def mixture(key: str, value: Tensor, truth: Tensor, share: float) -> Tensor:
    """Between the two; shares are mixed as shares, since their logarithms reach -inf."""
    return value.exp().lerp(truth.exp(), share).log() if key == "log_mass" else value.lerp(truth, share)


@every_loss
def test_it_is_a_scalar_that_is_zero_at_the_truth_and_positive_elsewhere(name: str) -> None:
    case = loss_case(name)
    at_truth, elsewhere = case.value(**case.truth), case.value()
    assert at_truth.shape == elsewhere.shape == ()
    assert at_truth.item() == pytest.approx(0.0, abs=ROUNDING)
    assert elsewhere.item() > 100 * ROUNDING


@every_loss
@pytest.mark.parametrize("share", [0.1, 0.5])
def test_coming_closer_to_the_truth_costs_less(name: str, share: float) -> None:
    case = loss_case(name)
    mixed = {key: mixture(key, value, case.truth[key], share) for key, value in case.predictions.items()}
    assert case.value(**mixed) < case.value()


@every_loss
@pytest.mark.parametrize("air", [False, True], ids=["chests", "air"])
def test_gradients_are_finite_at_the_prediction_and_at_the_truth(name: str, air: bool) -> None:
    case = loss_case(name, air=air)
    for predictions in (case.predictions, case.truth):
        loss, slopes = gradients(case, predictions)
        assert torch.isfinite(loss)
        assert all(bool(torch.isfinite(slope).all()) for slope in slopes.values())


@every_loss
def test_the_loss_of_a_batch_is_the_mean_of_its_samples(name: str) -> None:
    case = loss_case(name)
    alone = [case.sample(i).value().item() for i in (0, 1)]
    assert alone[0] != pytest.approx(alone[1], rel=0.01)  # otherwise the mean shows nothing
    assert case.value().item() == pytest.approx(sum(alone) / 2, rel=SAME_SUM)


@every_loss
def test_a_small_step_against_the_gradient_costs_less(name: str) -> None:
    case = loss_case(name)
    before, slopes = gradients(case, case.predictions)
    steepness = sum(float(slope.square().sum()) for slope in slopes.values())
    step = SMALL_STEP * before.item() / steepness
    after = case.value(**{key: value - step * slopes[key] for key, value in case.predictions.items()})
    assert after.item() < before.item() * (1 - SMALL_STEP / 4)


@every_loss
def test_inputs_stay_as_they_were(name: str) -> None:
    case = loss_case(name)
    before = copy.deepcopy(case.inputs)
    gradients(case, case.predictions)
    for key, value in case.inputs.items():
        assert torch.equal(value, before[key]) if isinstance(value, Tensor) else value == before[key]


@every_loss
def test_predictions_of_half_precision_give_a_loss_of_full_precision(name: str) -> None:
    case = loss_case(name)
    loss = case.value(**{key: value.bfloat16() for key, value in case.predictions.items()})
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(case.value().item(), rel=HALF_PRECISION)


@every_loss
def test_autocast_leaves_the_loss_in_full_precision(name: str) -> None:
    case = loss_case(name)
    with torch.autocast("cpu", torch.bfloat16):
        loss = case.value()
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(case.value().item(), rel=HALF_PRECISION)

"""The clean-signal form of the loss is the loss on velocities."""

from __future__ import annotations

import math

import pytest
import torch

from xct_components.losses.velocity import VelocityLoss

#: float32 sums of 3000 squares against float64.
SAME_SUM = 1e-5


@pytest.mark.parametrize(
    ("time", "weight"), [(0.0, 5.0), (0.1, 5.0), (0.4, 1 / math.tan(math.pi * 0.2) ** 2), (0.8, 1.0), (1.0, 1.0)]
)
def test_each_noise_level_has_the_truncated_min_snr_weight(time: float, weight: float) -> None:
    clean = torch.randn(1, 1, 4, 5, 6, generator=torch.Generator().manual_seed(0))
    loss = VelocityLoss()(clean + 0.5, clean, torch.tensor([time]))
    assert loss.item() == pytest.approx(0.25 * weight, rel=SAME_SUM)


@pytest.mark.parametrize("time", [0.1, 0.3, 0.45, 0.6, 0.9])
def test_it_equals_the_weighted_error_of_the_velocity(time: float) -> None:
    """The long way: noise the signal, form both velocities, weigh their difference by clamp(SNR, 1, 5) / (SNR + 1)."""
    generator = torch.Generator().manual_seed(1)
    clean, noise, error = torch.randn(3, 1, 1, 12, 13, 20, generator=generator, dtype=torch.float64)
    predicted = clean + 0.3 * error
    alpha, sigma = math.cos(math.pi * time / 2), math.sin(math.pi * time / 2)
    noisy = alpha * clean + sigma * noise
    predicted_velocity = (alpha * noisy - predicted) / sigma
    snr = alpha**2 / sigma**2
    expected = (
        min(max(snr, 1.0), 5.0) / (snr + 1.0) * float((predicted_velocity - (alpha * noise - sigma * clean)).square().mean())
    )
    found = VelocityLoss()(predicted.float(), clean.float(), torch.tensor([time]))
    assert found.item() == pytest.approx(expected, rel=SAME_SUM)


def test_without_velocities_all_noise_levels_weigh_the_same() -> None:
    generator = torch.Generator().manual_seed(2)
    clean, predicted = torch.randn(2, 3, 1, 4, 4, 4, generator=generator)
    loss = VelocityLoss(v_parameterization=False)
    expected = (predicted.numpy().astype("float64") - clean.numpy()) ** 2
    assert loss(predicted, clean, torch.tensor([0.0, 0.4, 1.0])).item() == pytest.approx(expected.mean(), rel=SAME_SUM)


def test_a_ceiling_below_the_smallest_weight_is_refused() -> None:
    with pytest.raises(ValueError, match="ceiling must be at least 1"):
        VelocityLoss(ceiling=0.5)

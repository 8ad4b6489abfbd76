"""The average of the weights beside the closed form of its profile."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from xct_components.training.weight_average import POWER, power_average


def test_step_i_of_n_weighs_in_with_the_power_law() -> None:
    """Karras et al. 2024, eq. 123 written out: (i/n)^(g+1) - ((i-1)/n)^(g+1)."""
    model = nn.Linear(1, 1, bias=False).double()
    average, values = power_average(model, 3.0), torch.rand(20, generator=torch.Generator().manual_seed(0)).double().tolist()
    for value in values:
        nn.init.constant_(model.weight, value)
        average.update_parameters(model)
    n = len(values)
    expected = sum(v * ((i / n) ** 4 - ((i - 1) / n) ** 4) for i, v in enumerate(values, start=1))
    assert float(average.module.get_parameter("weight").detach()) == pytest.approx(expected, rel=1e-12)


def test_its_width_is_a_tenth_of_the_training() -> None:
    """The profile t^g has relative deviation sqrt((g + 1) / ((g + 2)^2 (g + 3))) (eq. 126)."""
    assert math.sqrt((POWER + 1) / ((POWER + 2) ** 2 * (POWER + 3))) == pytest.approx(0.10, abs=5e-4)
    n = 4000
    weights = torch.tensor(
        [(i / n) ** (POWER + 1) - ((i - 1) / n) ** (POWER + 1) for i in range(1, n + 1)], dtype=torch.float64
    )
    at = torch.arange(1, n + 1, dtype=torch.float64) / n
    mean = (weights * at).sum()
    assert float((weights * (at - mean).square()).sum().sqrt()) == pytest.approx(0.10, abs=1e-3)


def test_buffers_are_those_of_the_model_and_the_model_is_left_alone() -> None:
    model = nn.BatchNorm1d(2)
    average = power_average(model)
    model.running_mean.fill_(5.0)  # type: ignore[union-attr]
    average.update_parameters(model)
    model.running_mean.fill_(7.0)  # type: ignore[union-attr]
    nn.init.constant_(model.weight, 3.0)
    average.update_parameters(model)
    assert average.module.get_buffer("running_mean").tolist() == [7.0, 7.0]
    assert model.weight.tolist() == [3.0, 3.0]

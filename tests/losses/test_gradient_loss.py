"""Edges: what changes them costs, what leaves them alone does not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.losses.made_batches import bodies
from xct_components.losses.gradient import GradientLoss

#: float32 sums of 4000 numbers against float64.
SAME_SUM = 1e-5


def test_it_equals_differences_taken_by_numpy() -> None:
    truth, other = bodies(torch.Generator().manual_seed(7)).split(1)
    a, b = (x[0, 0].double().numpy() for x in (other, truth))
    expected = np.mean([np.abs(np.diff(a, axis=axis) - np.diff(b, axis=axis)).mean() for axis in range(3)]) / 1000.0
    assert GradientLoss()(other, truth).item() == pytest.approx(expected, rel=SAME_SUM)


def test_a_step_from_air_to_water_that_is_missed_costs_one_per_edge() -> None:
    truth = torch.full((1, 1, 4, 4, 4), -1000.0)
    truth[:, :, 2:] = 0.0
    flat = torch.full_like(truth, -1000.0)
    edges_hit = 1 / 3  # one of the three planes between slices, along one of three axes
    assert GradientLoss()(flat, truth).item() == pytest.approx(edges_hit / 3, rel=SAME_SUM)


def test_an_offset_is_free_and_blur_is_not() -> None:
    truth = bodies(torch.Generator().manual_seed(8))
    loss = GradientLoss()
    assert loss(truth + 128.0, truth).item() == pytest.approx(0.0, abs=SAME_SUM)
    assert loss(F.avg_pool3d(truth, 3, stride=1, padding=1, count_include_pad=False), truth) > 0.02


def test_a_unit_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="unit must be positive"):
        GradientLoss(unit=0.0)

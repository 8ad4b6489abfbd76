"""The learning rate: a ramp, half a cosine, and the ends where they should be."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from xct_components.training.learning_rate import warm_cosine


def rates(steps: int, **how: float) -> list[float]:
    """The rate used in every step, and the one after the last."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    schedule, used = warm_cosine(optimizer, steps, **how), []
    for _ in range(steps + 1):
        used.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return used


def test_it_rises_in_equal_steps_to_the_optimizers_rate() -> None:
    assert rates(100)[:5] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])


def test_it_falls_along_half_a_cosine_to_its_last_share() -> None:
    used = rates(100, warm_share=0.2, last=0.1)
    assert used[20] == pytest.approx(0.5)
    assert used[60] == pytest.approx(0.5 * (0.1 + 0.9 / 2))
    assert used[40] == pytest.approx(0.5 * (0.1 + 0.9 * (1 + math.cos(math.pi / 4)) / 2))
    assert used[100] == pytest.approx(0.05)
    assert all(later < earlier for earlier, later in pairwise(used[20:]))


def test_the_shortest_training_has_one_step_at_full_rate() -> None:
    assert rates(1)[0] == pytest.approx(0.5)


def test_a_training_without_steps_is_refused() -> None:
    with pytest.raises(ValueError, match="steps must be at least 1, got 0; it is epochs times batches an epoch"):
        rates(0)

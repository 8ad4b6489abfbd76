"""What lies inside a body, seen along the rays."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from xct_components.physics.attenuation import FILM_ENERGY_KEV, water_mu_per_mm
from xct_components.physics.enclosure import enclosure, highest_along

WATER = water_mu_per_mm(FILM_ENERGY_KEV)


def by_definition(line: list[float]) -> list[float]:
    """Of one line in parts of water: valleys filled to the lower rim over 0.3; solid from 0.75 to 0.95."""
    valleys = [min(max(line[: k + 1]), max(line[k:])) - value for k, value in enumerate(line)]
    return [min(1.0, max(valley / 0.3, (value - 0.75) / 0.2, 0.0)) for valley, value in zip(valleys, line, strict=True)]


def test_a_skin_that_only_rises_is_outside_the_lung_behind_it_and_what_is_solid_are_inside() -> None:
    line = [0.0, 0.1, 0.4, 0.7, 1.0, 0.8, 0.5, 0.2, 0.2, 0.5, 0.6, 0.45, 0.3, 0.0]
    found = enclosure(torch.tensor(line).view(1, 1, -1, 1, 1) * WATER, 0).flatten().tolist()
    assert found == pytest.approx([0, 0, 0, 0, 1, 0.25, 1 / 3, 1, 1, 1 / 3, 0, 0, 0, 0], abs=1e-5)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("gradient", [False, True])
def test_every_line_is_as_the_definition_says(axis: int, gradient: bool) -> None:
    mu = (torch.rand((2, 1, 7, 6, 5), generator=torch.Generator().manual_seed(0)) * WATER).requires_grad_(gradient)
    found = enclosure(mu, axis)
    lines, expected = (
        (volume.detach().movedim(axis + 2, -1).reshape(-1, mu.shape[axis + 2])) for volume in (mu / WATER, found)
    )
    for line, of_line in zip(lines.tolist(), expected.tolist(), strict=True):
        assert of_line == pytest.approx(by_definition(line), abs=1e-5)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("gradient", [False, True])
def test_a_slab_that_is_told_what_lies_around_it_is_as_in_the_whole(axis: int, gradient: bool) -> None:
    mu = torch.rand((1, 2, 9, 9, 9), generator=torch.Generator().manual_seed(1)) * WATER

    def part(start: int, stop: int) -> Tensor:
        return mu.narrow(axis + 2, start, stop - start)

    slab = part(3, 6).clone().requires_grad_(gradient)
    found = enclosure(slab, axis, highest_along(part(0, 3), axis), highest_along(part(6, 9), axis))
    assert torch.equal(found.detach(), enclosure(mu, axis).narrow(axis + 2, 3, 3))


def test_gradients_are_those_of_the_definition() -> None:
    mu = torch.rand((1, 1, 6, 2, 2), generator=torch.Generator().manual_seed(2), dtype=torch.float64).mul_(WATER)
    assert torch.autograd.gradcheck(lambda x: enclosure(x * WATER, 0), (mu / WATER).requires_grad_())

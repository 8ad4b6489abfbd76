"""The film decides what lies on a ray, and nothing about where on it."""

from __future__ import annotations

import pytest
import torch

from tests.losses.made_batches import FRONTAL, GRID, PARALLEL, bodies
from xct_components.losses.projection import ProjectionLoss
from xct_components.physics.attenuation import hu_to_mu_per_mm
from xct_components.physics.consistency import relative_film_error
from xct_components.physics.projector import backproject, project

#: float32 rounding of sums over a film.
SAME_SUM = 1e-4


@pytest.fixture(scope="module")
def mu_per_mm() -> torch.Tensor:
    return hu_to_mu_per_mm(bodies(torch.Generator().manual_seed(3)))


@pytest.mark.parametrize("factor", [0.0, 0.9, 1.3])
def test_a_volume_too_thin_by_a_factor_costs_the_square_of_what_it_lacks(mu_per_mm: torch.Tensor, factor: float) -> None:
    film = project(mu_per_mm, GRID, FRONTAL)
    loss = ProjectionLoss()(factor * mu_per_mm, film, GRID, FRONTAL)
    assert loss.item() == pytest.approx((1 - factor) ** 2, rel=SAME_SUM)


def test_it_equals_the_quadratic_form_of_the_adjoint(mu_per_mm: torch.Tensor) -> None:
    """||A x - y||^2 = <x, A'(A x - 2 y)> + ||y||^2, per film, summed in float64."""
    films = project(mu_per_mm, GRID, FRONTAL)
    other = mu_per_mm.flip(0).double()
    expected = []
    for sample in range(2):
        for view, beam in enumerate(FRONTAL):
            x, y = other[sample : sample + 1], films[sample : sample + 1, view : view + 1].double()
            power = y.square().sum()
            back = backproject(project(x, GRID, [beam]) - 2 * y, GRID, [beam])
            expected.append(float(((x * back).sum() + power) / power))
    loss = ProjectionLoss()(other.float(), films, GRID, FRONTAL)
    assert loss.item() == pytest.approx(sum(expected) / 4, rel=SAME_SUM)


def test_it_is_the_square_of_the_reported_film_error(mu_per_mm: torch.Tensor) -> None:
    film = project(mu_per_mm, GRID, FRONTAL)
    error = relative_film_error(mu_per_mm.flip(0), film, GRID, FRONTAL)
    loss = ProjectionLoss()(mu_per_mm.flip(0), film, GRID, FRONTAL)
    assert loss.item() == pytest.approx(error.square().mean().item(), rel=SAME_SUM)


def test_moving_tissue_along_parallel_rays_costs_nothing_and_across_them_a_lot(mu_per_mm: torch.Tensor) -> None:
    film = project(mu_per_mm, GRID, PARALLEL[:1])
    along = ProjectionLoss()(mu_per_mm.roll(3, dims=2), film, GRID, PARALLEL[:1])
    across = ProjectionLoss()(mu_per_mm.roll(3, dims=4), film, GRID, PARALLEL[:1])
    assert along.item() == pytest.approx(0.0, abs=SAME_SUM**2)
    assert across.item() > 0.05


def test_adding_noise_to_an_unbiased_prediction_keeps_its_gradient_unbiased(mu_per_mm: torch.Tensor) -> None:
    """Linear: the gradient at the mean of two predictions is the mean of their gradients, so any noise level may use it."""
    film = project(mu_per_mm, GRID, FRONTAL)
    noise = 0.002 * torch.randn(mu_per_mm.shape, generator=torch.Generator().manual_seed(4))

    def slope(x: torch.Tensor) -> torch.Tensor:
        leaf = x.clone().requires_grad_()
        return torch.autograd.grad(ProjectionLoss()(leaf, film, GRID, FRONTAL), leaf)[0]

    start = 0.8 * mu_per_mm
    between = (slope(start + noise) + slope(start - noise)) / 2
    assert torch.allclose(between, slope(start), atol=SAME_SUM * float(between.abs().max()))

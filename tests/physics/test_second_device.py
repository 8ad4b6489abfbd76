"""Physics on a second device: nothing stays behind on the processor, and the numbers are the processor's to the bit."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from tests.networks.small_stages import GRID, SIDE, chest_hu
from tests.second_device import DEVICE, second_device
from xct_components.geometry import Beam, chest_beam_covering
from xct_components.physics.attenuation import hu_to_mu_per_mm
from xct_components.physics.consistency import HardConsistency, SoftConsistency, relative_film_error
from xct_components.physics.film_formation import FilmFormation, form_film
from xct_components.physics.gain_and_offset import believed_gain_offset, fit_gain_offset
from xct_components.physics.projector import backproject, project, sample_along_rays

TILT = torch.tensor([[0.96, -0.28, 0, 10], [0.28, 0.96, 0, -5], [0, 0, 1, 8], [0, 0, 0, 1]], dtype=torch.float64)
PA, LL = (chest_beam_covering(GRID, view, SIDE, SIDE) for view in ("PA", "LL"))
POSES: dict[str, list[Beam]] = {
    "frontal": [PA],
    "frontal and lateral": [PA, LL],
    "oblique": [PA.moved(TILT)],
    # without its outer pixels the film ends within the patient
    "cut": [PA.crop(slice(3, -3), slice(3, -3))],
}
FORMED = FilmFormation(120, True, 0.4, 30.0, 1e6, 0.15)


def projected(mu: Tensor, film: Tensor, beams: Sequence[Beam]) -> Tensor:
    return project(mu, GRID, beams)


def projected_by_rays(mu: Tensor, film: Tensor, beams: Sequence[Beam]) -> Tensor:
    return project(mu, GRID, beams, footprint="ray")


def backprojected(mu: Tensor, film: Tensor, beams: Sequence[Beam]) -> Tensor:
    return backproject(film, GRID, beams)


def lifted(mu: Tensor, film: Tensor, beams: Sequence[Beam]) -> Tensor:
    return sample_along_rays(film, GRID, beams)


def gradient(mu: Tensor, film: Tensor, beams: Sequence[Beam]) -> Tensor:
    mu = mu.detach().requires_grad_()
    (slope,) = torch.autograd.grad((project(mu, GRID, beams) - film).square().sum(), mu, create_graph=True)
    (second,) = torch.autograd.grad(slope.square().sum(), mu)
    return torch.stack([slope.detach(), second])


def gradient_through_consistency(mu: Tensor, film: Tensor, beams: Sequence[Beam]) -> Tensor:
    mu = mu.detach().requires_grad_()
    HardConsistency()(mu, film, GRID, beams).square().sum().backward()
    assert mu.grad is not None
    return mu.grad


def hard(mu: Tensor, film: Tensor, beams: Sequence[Beam]) -> Tensor:
    return HardConsistency()(mu, film, GRID, beams)


def hard_in_place(mu: Tensor, film: Tensor, beams: Sequence[Beam]) -> Tensor:
    with torch.no_grad():
        return HardConsistency()(mu, film, GRID, beams, out=mu.clone())


def soft(mu: Tensor, film: Tensor, beams: Sequence[Beam]) -> Tensor:
    return SoftConsistency()(mu, film, GRID, beams)


def scale(mu: Tensor, film: Tensor, beams: Sequence[Beam]) -> Tensor:
    own = project(mu, GRID, beams)
    error = relative_film_error(mu, film, GRID, beams)[:, :, None, None, None]
    return torch.cat([*fit_gain_offset(film, own), *believed_gain_offset(film, own), error])


def formed(mu: Tensor, film: Tensor, beams: Sequence[Beam]) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return form_film(20.0 * film, film, beams[0].detector.pitch_mm, FORMED, generator)


@pytest.mark.parametrize("pose", POSES)
@pytest.mark.parametrize(
    "operation",
    [
        projected,
        projected_by_rays,
        backprojected,
        lifted,
        gradient,
        gradient_through_consistency,
        hard,
        hard_in_place,
        soft,
        scale,
        formed,
    ],
)
def test_an_operation_on_the_device_is_that_of_the_processor(
    operation: Callable[[Tensor, Tensor, Sequence[Beam]], Tensor], pose: str
) -> None:
    beams = POSES[pose]
    mu = hu_to_mu_per_mm(chest_hu())
    film = project(hu_to_mu_per_mm(chest_hu(wide=0.9)), GRID, beams)
    with second_device():
        here = operation(mu, film, beams)
        there = operation(mu.to("cuda"), film.to("cuda"), beams)
        assert there.device == DEVICE
        assert torch.equal(here, there.cpu())

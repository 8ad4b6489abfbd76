"""Bending films: known deformations are found again, and each cost does what it says beside a one-dimensional search."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from xct_components.networks.film_alignment import Stiffness, align_films, identity_places

SIDE = 32
#: Steps of Adam end beside the minimum, not on it.
NEAR_MINIMUM = 0.01
STILL = Stiffness(moves=(False, False), grows_alike=False)


def film(shift: tuple[float, float] = (0.0, 0.0), size: float = 1.0, thickness: float = 1.0) -> Tensor:
    """(rows, cols) line integrals of a smooth trunk with two lungs and a heart; shift along (x, y) in sides of the film."""
    x, y = (identity_places(SIDE, SIDE) / size - 2.0 * torch.tensor(shift)).unbind(-1)
    trunk = 6.0 * torch.exp(-((x / 0.75) ** 4) - (y / 0.9) ** 4)
    lungs = sum(3.0 * torch.exp(-(((x - side * 0.35) / 0.22) ** 2) - ((y + 0.1) / 0.45) ** 2) for side in (-1, 1))
    heart = 1.5 * torch.exp(-(((x - 0.15) / 0.2) ** 2) - ((y - 0.2) / 0.25) ** 2)
    return thickness * (trunk - lungs + heart)


def test_a_film_is_bent_to_itself_by_nothing() -> None:
    found = align_films(film()[None], film())
    assert not found.displacement.any()
    assert not found.log_thickness.any()
    assert found.misfit.tolist() == [0.0]


def test_a_shifted_patient_is_found_where_he_went() -> None:
    shift = (0.05, -0.04)
    found = align_films(film()[None], film(shift))
    inner = found.displacement[0, 8:-8, 8:-8].mean((0, 1))  # a pixel comes from where it was: against the shift
    # a shift costs nothing, but only contrast finds it: half a pixel of 32 is 0.03
    torch.testing.assert_close(inner, -2.0 * torch.tensor(shift), atol=0.03, rtol=0.0)
    before = (torch.log1p(film()) - torch.log1p(film(shift))).square().mean()
    assert float(found.misfit) < 0.1 * float(before)


def test_who_is_larger_on_the_film_is_thicker_too() -> None:
    """A patient grown alike by s shows s times the line integral s times as far out; only then does thickness cost nothing."""
    size = 1.12
    alike = align_films(film()[None], film(size=size, thickness=size))
    flat = align_films(film()[None], film(size=size, thickness=size), Stiffness(grows_alike=False))
    true = torch.tensor(size).log()
    assert float(alike.log_thickness.mean()) == pytest.approx(float(true), rel=0.25)
    assert abs(float(alike.log_thickness.mean() - true)) < abs(float(flat.log_thickness.mean() - true))


def test_thickness_alone_ends_at_the_minimum_of_its_cost() -> None:
    wanted = film(thickness=1.3)
    found = align_films(film()[None], wanted, STILL).log_thickness
    tried = torch.linspace(0.0, 0.4, 4001)
    differs = torch.log1p(film() * tried.exp()[:, None, None]) - torch.log1p(wanted)
    slopes = sum((SIDE * differs.diff(dim=dim)).square().mean((1, 2)) for dim in (1, 2))
    cost = differs.square().mean((1, 2)) + 5e-4 * slopes + STILL.thickness * tried.square()
    assert float(found.mean()) == pytest.approx(float(tried[cost.argmin()]), abs=NEAR_MINIMUM)


@pytest.mark.parametrize(("moves", "still"), [((False, True), 0), ((True, False), 1)])
def test_pixels_move_only_where_they_may(moves: tuple[bool, bool], still: int) -> None:
    found = align_films(film()[None], film((0.05, 0.05)), Stiffness(moves=moves)).displacement
    assert not found[..., still].any()
    assert found[..., 1 - still].any()


def test_stiffer_films_bend_less() -> None:
    soft, stiff = (align_films(film()[None], film(size=1.15), Stiffness(strain=strain)) for strain in (0.003, 3.0))
    strains = [float(found.displacement.diff(dim=2).abs().mean()) for found in (soft, stiff)]
    assert strains[1] < 0.5 * strains[0]
    assert float(soft.misfit) < float(stiff.misfit)


def test_films_bend_alike_alone_and_together() -> None:
    others = torch.stack([film(size=0.9), film((0.1, 0.0)), film(thickness=0.8)])
    together = align_films(others, film())
    for k in range(3):
        alone = align_films(others[k : k + 1], film())
        # Adam divides by tiny gradients: rounding of other batch sizes is seen in places that hardly matter
        torch.testing.assert_close(alone.misfit[0], together.misfit[k], rtol=1e-3, atol=1e-7)
        torch.testing.assert_close(alone.displacement[0], together.displacement[k], rtol=0.0, atol=5e-3)


def test_the_misfit_is_that_of_the_bent_film() -> None:
    found, wanted = align_films(film()[None], film((0.05, 0.0), size=1.1)), film((0.05, 0.0), size=1.1)
    places = identity_places(SIDE, SIDE) + found.displacement
    bent = F.grid_sample(film()[None, None], places, padding_mode="border", align_corners=False)[0, 0]
    differs = torch.log1p(bent * found.log_thickness[0].exp()) - torch.log1p(wanted)
    assert float(found.misfit) == pytest.approx(float(differs.square().mean()), rel=1e-5)


def test_no_gradient_leaves_and_inference_mode_does_not_hinder() -> None:
    moving = film()[None].requires_grad_()
    found = align_films(moving, film((0.05, 0.0)))
    assert not any(part.requires_grad for part in found)
    with torch.inference_mode():
        again = align_films(film()[None], film((0.05, 0.0)))
    assert torch.equal(again.displacement, found.displacement)

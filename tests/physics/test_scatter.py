"""Scattered radiation: its amount, its shape against a sum over all pairs of pixels, and where there is none."""

import math

import pytest
import torch

from xct_components.physics.scatter import scattered_radiation

FLOAT64 = 1e-10
PIXEL_MM = (4.0, 5.0)
SIGMA_MM = 20.0


def thorax(dtype=torch.float64):
    """A film of line integrals: air at the sides, lungs of about 2, a mediastinum of 6 in the middle."""
    rows, cols = torch.meshgrid(torch.linspace(-1, 1, 40, dtype=dtype), torch.linspace(-1, 1, 48, dtype=dtype), indexing="ij")
    lungs = 2.0 + 0.3 * torch.sin(5 * rows) * torch.cos(7 * cols)
    film = torch.where(cols.abs() < 0.2, 6.0 - rows, lungs)
    return torch.where(cols.abs() > 0.8, 0.0, film)


def overlap(offset, pitch_mm):
    low, high = ((offset + side) * pitch_mm / (SIGMA_MM * math.sqrt(2.0)) for side in (-0.5, 0.5))
    return (math.erf(high) - math.erf(low)) / 2.0


@pytest.mark.parametrize("ratio", [0.1, 0.6, 2.5])
def test_behind_the_patient_scatter_and_primary_are_in_the_ratio_asked_for(ratio):
    film = thorax()
    scatter = scattered_radiation(film, PIXEL_MM, ratio, SIGMA_MM)
    behind = film > 1.0
    assert (scatter[behind].sum() / torch.exp(-film)[behind].sum()).item() == pytest.approx(ratio, rel=FLOAT64)


def test_every_ray_scatters_by_its_interactions_and_spreads_as_a_gaussian():
    film = thorax()[::8, ::8]
    rows, cols = film.shape
    expected = torch.zeros_like(film)
    for i in range(rows):
        for j in range(cols):
            for k in range(rows):
                for m in range(cols):
                    source = film[k, m].item() * math.exp(-film[k, m].item())
                    expected[i, j] += source * overlap(i - k, PIXEL_MM[0]) * overlap(j - m, PIXEL_MM[1])
    scatter = scattered_radiation(film, PIXEL_MM, 0.4, SIGMA_MM)
    torch.testing.assert_close(scatter / scatter.sum(), expected / expected.sum(), rtol=FLOAT64, atol=0.0)


def test_the_mediastinum_is_veiled_more_than_the_lungs():
    film = thorax()
    ratio = scattered_radiation(film, PIXEL_MM, 2.0, SIGMA_MM) * torch.exp(film)
    # Behind the mediastinum several times the ratio of the lungs (Niklason 1981: 9 against 1-2 without a grid).
    assert ratio[20, 24].item() > 4.0 * ratio[20, 12].item()


def test_a_wider_spread_reaches_further_into_the_air():
    beside = [scattered_radiation(thorax(), PIXEL_MM, 1.0, sigma_mm)[20, 0].item() for sigma_mm in (10.0, 20.0, 40.0)]
    assert beside == sorted(beside)


@pytest.mark.parametrize("line_integral", [0.0, 0.9, -0.1])
def test_without_a_patient_there_is_no_scatter(line_integral):
    film = torch.full((8, 8), line_integral)
    assert not scattered_radiation(film, PIXEL_MM, 2.0, SIGMA_MM).any()


def test_each_film_of_a_batch_scatters_by_itself():
    films = torch.stack((thorax(), 0.5 * thorax(), torch.zeros_like(thorax()))).reshape(1, 3, 1, 40, 48)
    together = scattered_radiation(films, PIXEL_MM, 0.4, SIGMA_MM)
    for index in range(3):
        alone = scattered_radiation(films[0, index, 0], PIXEL_MM, 0.4, SIGMA_MM)
        torch.testing.assert_close(together[0, index, 0], alone, rtol=FLOAT64, atol=0.0)


def test_gradients_pass_through_the_spread_and_its_strength():
    film = thorax()[::10, ::10].clone().requires_grad_()
    film.data[film == 0.0] = 0.05  # off the kink at no interactions
    assert torch.autograd.gradcheck(lambda f: scattered_radiation(f, PIXEL_MM, 0.4, SIGMA_MM), film)

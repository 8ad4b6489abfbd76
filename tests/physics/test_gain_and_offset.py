"""Gain and offset of films: least squares, and what is believed of calibrated films beside a volume that is a guess."""

from __future__ import annotations

import itertools

import pytest
import torch

from xct_components.physics.gain_and_offset import (
    GAIN_SPREAD,
    GUESS_ERROR,
    MEAN_PATIENT_ERROR,
    OFFSET_SPREAD,
    believed_gain_offset,
    fit_gain_offset,
)

FILM = 6.0 * torch.rand(1, 1, 1, 16, 16, generator=torch.Generator().manual_seed(3)) + 0.1


def test_least_squares_undo_what_a_display_does_to_the_volumes_own_film() -> None:
    gain, offset = fit_gain_offset(0.6 * FILM + 0.9, FILM)
    assert float(gain) == pytest.approx(1 / 0.6, rel=1e-4)
    assert float(offset) == pytest.approx(-0.9 / 0.6, rel=1e-3)


@pytest.mark.parametrize("error", [GUESS_ERROR, MEAN_PATIENT_ERROR])
def test_believed_gain_and_offset_are_the_most_likely_ones(error: float) -> None:
    """Beside least squares of all rays and two more equations, which say what is believed before."""
    chance = torch.Generator().manual_seed(0)
    film = 6.0 * torch.rand(2, 2, 1, 5, 7, generator=chance, dtype=torch.float64)
    projected = (0.8 * film + 0.5 + torch.randn(film.shape, generator=chance, dtype=torch.float64)).clamp_min(0.0)
    gain, offset = believed_gain_offset(film, projected, error)
    for sample, view in itertools.product(range(2), range(2)):
        seen = projected[sample, view] > 0.0
        rays = torch.stack([film[sample, view][seen], torch.ones(int(seen.sum()), dtype=torch.float64)], dim=1)
        before = torch.diag(torch.tensor([error / GAIN_SPREAD, error / OFFSET_SPREAD], dtype=torch.float64))
        equations = torch.cat([rays / len(rays) ** 0.5, before])
        wanted = torch.cat([projected[sample, view][seen] / len(rays) ** 0.5, before @ torch.tensor([1.0, 0.0]).double()])
        expected = torch.linalg.lstsq(equations, wanted[:, None]).solution[:, 0]
        torch.testing.assert_close(torch.stack([gain[sample, view], offset[sample, view]]).flatten(), expected)


def test_a_guess_that_is_unlike_the_patient_leaves_a_film_its_contrast() -> None:
    """Least squares leave the part that film and guess have in common: three tenths."""
    film, other = (torch.randn(1, 1, 1, 64, 64, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
    guess = (3.0 + 0.3 * film + 0.95 * other).clamp_min(0.1)
    assert float(fit_gain_offset(3.0 + film, guess)[0]) == pytest.approx(0.3, abs=0.05)
    gain, offset = believed_gain_offset(3.0 + film, guess, MEAN_PATIENT_ERROR)
    assert float(gain) == pytest.approx(1.0, abs=0.1)
    assert float(offset) == pytest.approx(0.0, abs=0.3)


def test_a_volume_that_explains_the_film_is_believed_to_be_right() -> None:
    gain, offset = believed_gain_offset(FILM, FILM)
    assert (float(gain), float(offset)) == (pytest.approx(1.0, abs=1e-6), pytest.approx(0.0, abs=1e-6))


def test_no_film_contrast_means_gain_one() -> None:
    film, projected = torch.full((1, 1, 1, 4, 4), 2.0), torch.rand(1, 1, 1, 4, 4) + 1.0
    gain, offset = fit_gain_offset(film, projected)
    assert float(gain) == 1.0
    assert float(offset) == pytest.approx(float(projected.mean()) - 2.0, abs=1e-6)

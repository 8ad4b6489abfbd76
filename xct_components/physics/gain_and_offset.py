"""What a volume tells of the scale of a film: gain and offset that bring the film's line integrals to the volume's."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from xct_components.physics.film_corrections import EMPTY_RAY

#: How far gain and offset of calibrated films are from 1 and 0: standard deviations over ten CTs whose films were displayed and
#: calibrated are 0.22 and 0.77 (``python -m benchmarks.displayed_films``).
GAIN_SPREAD, OFFSET_SPREAD = 0.2, 0.7
#: How far the film of the mean patient is from a patient's (line integral), that of a volume that was made for his film, and
#: that of one that was made for two of his films, which show how thick he is.
MEAN_PATIENT_ERROR, GUESS_ERROR, PAIR_GUESS_ERROR = 1.0, 0.25, 0.1


def fit_gain_offset(
    film: Float[Tensor, "b v c rows cols"], projected: Float[Tensor, "b v c rows cols"]
) -> tuple[Float[Tensor, "b v 1 1 1"], Float[Tensor, "b v 1 1 1"]]:
    """Gain and offset of each film that bring ``gain * film + offset`` closest to ``projected`` (least squares over its rays).

    Rays through next to nothing are left out. A film without contrast, or one of opposite polarity, gets gain 1 and the
    offset that fits.
    """
    weight, total = _rays_met(projected)
    film_mean, projected_mean = ((weight * x).sum((2, 3, 4), keepdim=True) / total for x in (film, projected))
    centred = weight * (film - film_mean)
    variance = (centred * (film - film_mean)).sum((2, 3, 4), keepdim=True)
    covariance = (centred * (projected - projected_mean)).sum((2, 3, 4), keepdim=True)
    gain = torch.where((variance > 0.0) & (covariance > 0.0), covariance / variance.clamp_min(1e-12), 1.0)
    return gain, projected_mean - gain * film_mean


def believed_gain_offset(
    film: Float[Tensor, "b v c rows cols"], projected: Float[Tensor, "b v c rows cols"], guess_error: float = GUESS_ERROR
) -> tuple[Float[Tensor, "b v 1 1 1"], Float[Tensor, "b v 1 1 1"]]:
    """Gain and offset of calibrated films, as far as a volume that is a guess itself can tell them: near 1 and 0.

    The least of mean((gain film + offset - projected)^2) / guess_error^2 + (gain - 1)^2 / GAIN_SPREAD^2
    + offset^2 / OFFSET_SPREAD^2 over the rays that meet something: the most likely ones, if the guess errs all over the film
    alike. Least squares alone (``fit_gain_offset``) finds the less contrast the less the guess is like the patient: against the
    mean of other patients half of what is true.

    Args:
        film: line integrals, estimated.
        projected: those of the volume.
        guess_error: how far these are from the patient's.
    """
    weight, total = _rays_met(projected)

    def mean(x: Tensor) -> Tensor:
        return (weight * x).sum((2, 3, 4), keepdim=True) / total

    lacks, first = projected - film, mean(film)
    second = mean(film * film) + (guess_error / GAIN_SPREAD) ** 2
    rays = 1.0 + (guess_error / OFFSET_SPREAD) ** 2
    along_film, along_rays = mean(lacks * film), mean(lacks)
    determinant = second * rays - first.square()
    gain = 1.0 + (along_film * rays - first * along_rays) / determinant
    return gain, (second * along_rays - first * along_film) / determinant


def _rays_met(projected: Tensor) -> tuple[Tensor, Tensor]:
    """1 where a ray meets something and 0 elsewhere, and how many do on each film; 1 for none, which divides nothing."""
    weight = (projected > EMPTY_RAY).to(projected.dtype)
    return weight, weight.sum((2, 3, 4), keepdim=True).clamp_min(1.0)

"""How well a film agrees with the mean of simulated films, whatever its exposure, window and display curve.

Grey values are replaced by their ranks; only a reversed grey scale then matters, and turns the sign of the agreement.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

#: Local contrast is what remains above a Gaussian mean of this width.
LOCAL_MM = 24.0
#: Variances below this are a constant area; ranks lie in [0, 1].
FLAT = 1e-4
#: Gaussian weights below this are none: products with them are denormal numbers, at which processors take seven times as long.
NO_WEIGHT = 1e-20


@dataclass(frozen=True)
class MeanFilm:
    """The mean of aligned films, lungs in the middle.

    Args:
        values: (n, n) mean rank of the line integrals, 0-1.
        weights: (n, n) share of films that show this place, 0-1.
        pixel_mm: pixel size in the patient.
    """

    values: Float[Tensor, "n n"]
    weights: Float[Tensor, "n n"]
    pixel_mm: float


def ranked(pixels: Float[Tensor, "rows cols"]) -> Float[Tensor, "rows cols"]:
    """Each pixel's rank among all, 0-1; equal pixels share the mean of their ranks."""
    _, places, counts = torch.unique(pixels, return_inverse=True, return_counts=True)
    middle_ranks = counts.cumsum(0).double() - (counts.double() + 1.0) / 2.0
    return (middle_ranks / max(1, pixels.numel() - 1)).float()[places]


def local_contrast(
    values: Float[Tensor, "images *batch rows cols"], weights: Float[Tensor, "*batch rows cols"], sigma_pixels: float
) -> Float[Tensor, "images *batch rows cols"]:
    """Values minus their weighted Gaussian mean: outlines of lungs, heart, diaphragm and spine without the large shades."""
    sums, counted = _blurred(values * weights, sigma_pixels), _blurred(weights, sigma_pixels)
    return torch.where(weights > 0.0, values - sums / counted.clamp_min(1e-6), 0.0)


def _blurred(images: Tensor, sigma_pixels: float) -> Tensor:
    """Gaussian blur of the last two axes with zeros outside, not normalised; as matrices, ten times as fast here as conv2d."""
    rows, cols = (torch.arange(n, dtype=images.dtype) for n in images.shape[-2:])
    gaussians = (torch.exp(-0.5 * ((i[:, None] - i[None, :]) / sigma_pixels) ** 2) for i in (rows, cols))
    down, along = (F.threshold(weights, NO_WEIGHT, 0.0) for weights in gaussians)
    return down @ images @ along


def shrunk(pixels: Float[Tensor, "rows cols"], longer_side: int) -> Float[Tensor, "small_rows small_cols"]:
    """Area means, at most ``longer_side`` pixels along the longer side."""
    share = min(1.0, longer_side / max(pixels.shape))
    size = [max(1, round(n * share)) for n in pixels.shape]
    return F.interpolate(pixels[None, None], size=size, mode="area")[0, 0]


def weighted_correlation(
    first: Float[Tensor, "*batch rows cols"],
    second: Float[Tensor, "*batch rows cols"],
    weights: Float[Tensor, "*batch rows cols"],
) -> Float[Tensor, "*batch"]:
    """Pearson correlation of two images under non-negative weights; 0 where one is constant."""
    total = weights.sum((-2, -1), keepdim=True).clamp_min(1e-6)
    first, second = (x - (x * weights).sum((-2, -1), keepdim=True) / total for x in (first, second))
    covariance = (weights * first * second).sum((-2, -1))
    variances = [((weights * x**2).sum((-2, -1)) / total[..., 0, 0]).clamp_min(FLAT) for x in (first, second)]
    return covariance / total[..., 0, 0] / (variances[0] * variances[1]).sqrt()


def agreement_with(mean: MeanFilm, values: Float[Tensor, "b n n"], covered: Float[Tensor, "b n n"]) -> Float[Tensor, " b"]:
    """Mean of two correlations with the mean film, of ranks and of their local contrast; -1 to 1."""
    weights = covered * mean.weights
    sigma = LOCAL_MM / mean.pixel_mm
    both = torch.stack([values, mean.values.expand_as(values)])
    film, expected = local_contrast(both, weights, sigma)
    return (weighted_correlation(both[0], both[1], weights) + weighted_correlation(film, expected, weights)) / 2.0

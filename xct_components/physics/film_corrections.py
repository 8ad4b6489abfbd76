"""What the rays of a volume lack to explain a film: what is coarse and what is fine, in shares, and a factor for the rest."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from xct_components.geometry import Beam

#: Rays through less than this line integral (about 0.05 mm of water) carry no anatomy to correct.
EMPTY_RAY = 1e-3
#: So many coarse shares a ray loses at most, or gains; a voxel has no more than one share of its own to lose.
COARSE_SHARES = (-0.7, 1.0)
#: What is left is scaled up at most this much at once; a ray that the film shows as air may fall to 0.
LARGEST_RATIO = 10.0
#: A ray gains at most this many fine shares at once, or loses them.
MOST_FINE_SHARES = 20.0
#: Standard deviation of the smoothing that parts coarse from fine, on the film. Vessels, edges and ribs are finer.
COARSE_MM = 10.0
#: Binomial smoothing of the film by one pixel, the blur that one projection and one backprojection leave on a correction.
BINOMIAL = (0.25, 0.5, 0.25)


class RayCorrections(NamedTuple):
    """What the rays of one film are to gain, (B, 1, C, rows, cols) each.

    ``coarse``: coarse shares, smooth. ``factor``: what each ray is then to be multiplied by, smooth; 1 but where the film
    differs by more than ``COARSE_SHARES``. ``fine``: the fine shares that it then still lacks, sharpened for the way there and
    back.
    """

    coarse: Float[Tensor, "b 1 c rows cols"]
    factor: Float[Tensor, "b 1 c rows cols"]
    fine: Float[Tensor, "b 1 c rows cols"]


def film_corrections(
    film: Float[Tensor, "b 1 c rows cols"],
    projected: Float[Tensor, "b 1 c rows cols"],
    one_coarse: Float[Tensor, "b 1 c rows cols"],
    one_fine: Float[Tensor, "b 1 c rows cols"],
    beam: Beam,
    tolerance: float = 0.0,
) -> RayCorrections:
    """How rays are to be corrected.

    Args:
        film: line integrals that are wanted; values below 0 count as 0.
        projected: line integrals of the volume.
        one_coarse: line integrals of its voxels' coarse shares.
        one_fine: likewise of their fine ones.
        beam: of the film.
        tolerance: difference in line integral that is left alone.
    """
    wanted = _wanted(film, projected, tolerance)
    lacking = _shares(wanted - projected, one_coarse)
    given = lacking.clamp(*COARSE_SHARES)
    ratio = torch.where(given == lacking, 1.0, _ray_ratio(wanted, projected + given * one_coarse))
    coarse, factor = _smoothed(given, beam), _smoothed(ratio, beam)
    left = wanted - factor * (projected + coarse * one_coarse)
    return RayCorrections(coarse, factor, _sharpened(_shares(left, one_fine).clamp(-MOST_FINE_SHARES, MOST_FINE_SHARES)))


def _wanted(film: Tensor, projected: Tensor, tolerance: float) -> Tensor:
    """The film, or what comes nearest to it of what the tolerance allows."""
    if tolerance == 0.0:
        return film.clamp_min(0.0)
    return (film - (film - projected).clamp(-tolerance, tolerance)).clamp_min(0.0)


def _ray_ratio(wanted: Tensor, projected: Tensor) -> Tensor:
    """What every ray must be multiplied by; 1 where there is nothing to scale."""
    ratio = wanted / projected.clamp_min(EMPTY_RAY)
    return torch.where(projected > EMPTY_RAY, ratio.clamp_max(LARGEST_RATIO), 1.0)


def _shares(missing: Tensor, of_one_share: Tensor) -> Tensor:
    """How many shares every ray lacks; 0 where there is nothing that takes a share."""
    return torch.where(of_one_share > EMPTY_RAY, missing / of_one_share.clamp_min(EMPTY_RAY), 0.0)


def _smoothed(film: Tensor, beam: Beam) -> Tensor:
    """A film without what is finer than ``COARSE_MM``: a Gaussian, cut at three standard deviations, edges continued."""
    films = film.flatten(0, 2)[:, None]
    for axis, pixel_mm in zip((2, 3), beam.detector.pitch_mm, strict=True):
        films = _convolved(films, _gaussian(COARSE_MM / pixel_mm).to(films), axis)
    return films.view_as(film)


def _gaussian(sigma: float) -> Tensor:
    reach = max(1, round(3.0 * sigma))
    weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, dtype=torch.float64) / sigma) ** 2)
    return weights / weights.sum()


def _convolved(films: Tensor, weights: Tensor, axis: int) -> Tensor:
    """(N, 1, rows, cols) along rows (2) or columns (3)."""
    reach = len(weights) // 2
    pad = (0, 0, reach, reach) if axis == 2 else (reach, reach, 0, 0)
    return F.conv2d(F.pad(films, pad, mode="replicate"), weights.view((1, 1, -1, 1) if axis == 2 else (1, 1, 1, -1)))


def _sharpened(film: Tensor) -> Tensor:
    """Twice the film less its smoothed self: undoes in advance the blur of projecting what was backprojected."""
    kernel, films = film.new_tensor(BINOMIAL), film.flatten(0, 2)[:, None]
    smooth = _convolved(_convolved(films, kernel, 2), kernel, 3)
    return 2.0 * film - smooth.view_as(film)

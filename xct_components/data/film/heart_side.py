"""To which side the heart reaches: with normal situs its shadow between the lungs is wider towards the patient's left.

Below the hila the left border of the shadow runs obliquely outwards to the apex, while the right one stays near the spine.
Each side is measured against its own darkest lung: a lung that is opaque or collapsed on one side does not move the border of
the other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from xct_components.data.film.agreement import MeanFilm, ranked, shrunk
from xct_components.data.film.match import Pose, laid_over, refined
from xct_components.data.film.side_by_side import Spread

#: The shadow is measured on pixels of this size in the patient.
PIXEL_MM = 4.0
#: Films are shrunk to this many pixels along the longer side first: about 2 mm each.
MEASURED_PIXELS = 192
#: Half height and width of what is ranked: the lungs and what lies between and below them, mm.
CHEST_MM = (160.0, 140.0)
#: Rows between the hila and the domes, mm below the middle of the lungs.
HEART_ROWS_MM = (-12.0, 48.0)
#: The border is sought this far from the midline; the shadow's own grey is read this near to it, mm.
FARTHEST_MM, MIDLINE_MM = 108.0, 16.0
#: Quantiles of a row that are its lung (on one side) and its shadow (at the midline).
LUNG_QUANTILE, SHADOW_QUANTILE = 0.15, 0.7
#: From this share of the contrast between lung and shadow (0) up to that one (1) a pixel counts as shadow: edges are soft.
SOFT_EDGE = (0.3, 0.7)
#: Contrast in ranks below which a row has no border.
LEAST_CONTRAST = 0.05


def symmetric(mean: MeanFilm) -> MeanFilm:
    """The mean of a mean film and its mirror image, which favours neither side."""
    weights = mean.weights + mean.weights.flip(1)
    total = mean.values * mean.weights
    return MeanFilm((total + total.flip(1)) / weights.clamp_min(1e-6), weights / 2.0, mean.pixel_mm)


def heart_shift_mm(pixels: Float[Tensor, "rows cols"], poses: Sequence[Pose], mean: MeanFilm, spread: Spread = map) -> float:
    """How much farther the shadow of the heart reaches to the right of the picture than to its left.

    Args:
        pixels: an upright frontal film, larger = more attenuation, any monotone grey scale.
        poses: upright readings of it, mirrored or not; the best of them after refinement counts, so that a film and its
            mirror image are measured alike.
        mean: the mean frontal film.
        spread: how both readings are refined, such as side by side (``one_thread_each``).

    Returns:
        Millimetres in the mean patient, positive where the heart is on the patient's left; 0 if no row can be measured.
    """
    neutral = symmetric(mean)
    places = spread(lambda pose: refined(pixels, neutral, _unmirrored(pose, pixels.shape[1])), poses)
    small = shrunk(pixels, MEASURED_PIXELS)
    place = max(places, key=lambda pose: pose.merit).scaled(max(small.shape) / max(pixels.shape))
    n = round(mean.values.shape[0] * mean.pixel_mm / PIXEL_MM)
    frame = MeanFilm(torch.zeros(n, n), torch.ones(n, n), PIXEL_MM)
    values, covered = laid_over(small, frame, place.middle, place.mm_per_pixel)
    offsets_mm = (torch.arange(n) - (n - 1) / 2) * PIXEL_MM
    chest = (offsets_mm.abs() < CHEST_MM[0])[:, None] & (offsets_mm.abs() < CHEST_MM[1])[None, :] & (covered > 0.5)
    if not bool(chest.any()):
        return 0.0
    ranks = torch.full_like(values, math.nan)
    ranks[chest] = ranked(values[chest][None])[0]
    heart = ranks[(offsets_mm >= HEART_ROWS_MM[0]) & (offsets_mm < HEART_ROWS_MM[1])]
    shift_mm = float((_reach_mm(heart, offsets_mm) - _reach_mm(heart.flip(1), offsets_mm)).nanmean())
    return shift_mm if math.isfinite(shift_mm) else 0.0


def _unmirrored(pose: Pose, cols: int) -> Pose:
    """The same place on the film as it is, whose bones are bright."""
    row, col = pose.middle
    middle = (row, cols - 1 - col) if pose.mirrored else (row, col)
    return replace(pose, mirrored=False, middle=middle, agreement=abs(pose.agreement))


def _reach_mm(ranks: Tensor, offsets_mm: Tensor) -> Tensor:
    """For each row how far the shadow reaches from the midline to the right; NaN where the film does not show it."""
    shadow = ranks[:, offsets_mm.abs() < MIDLINE_MM].nanquantile(SHADOW_QUANTILE, dim=1)
    side = ranks[:, (offsets_mm > 0.0) & (offsets_mm < FARTHEST_MM)]
    lung = side[:, int(MIDLINE_MM / PIXEL_MM) :].nanquantile(LUNG_QUANTILE, dim=1)
    share = (side - lung[:, None]) / (shadow - lung).clamp_min(LEAST_CONTRAST)[:, None]
    darkest = side.nan_to_num(math.inf).argmin(1)
    within = torch.arange(side.shape[1])[None, :] <= darkest[:, None]  # beyond the darkest lung the chest wall begins
    shade = ((share - SOFT_EDGE[0]) / (SOFT_EDGE[1] - SOFT_EDGE[0])).clamp(0.0, 1.0)
    return torch.where(within & shade.isfinite(), shade, 0.0).sum(1) * PIXEL_MM + 0.0 * (lung + shadow)

"""What the grey values of one view have in common: regions of the mean chest, and the line integrals that lie there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from xct_components.data.film.agreement import MeanFilm
from xct_components.data.film.match import Pose, laid_over, refined

#: Quantiles by which grey values are compared.
QUANTILES = (0.05, 0.15, 0.3, 0.5, 0.7, 0.85, 0.95)
#: A region is where at least this share of the patients has it.
REGION_SHARE = 0.75

REGIONS = ("lung", "mediastinum", "abdomen")


@dataclass(frozen=True)
class GreyReference:
    """Where the regions of a view lie, and how much they attenuate.

    Args:
        mean: the mean film of the view, in whose frame the regions lie.
        chest: (n, n), 1 where the mean patient is or may be, 0 where there is air.
        regions: name -> (n, n), 1 where the region lies, else 0; the names are REGIONS, from dark to bright.
        quantiles: name -> mean over patients of the region's line integrals at QUANTILES.
    """

    mean: MeanFilm
    chest: Float[Tensor, "n n"]
    regions: dict[str, Tensor]
    quantiles: dict[str, list[float]]


def grey_reference_of(
    films: Sequence[Float[Tensor, "n n"]],
    covered: Sequence[Float[Tensor, "n n"]],
    mean: MeanFilm,
    chest: Float[Tensor, "n n"],
    regions: dict[str, Tensor],
) -> GreyReference:
    """The reference of some patients' films (line integrals, aligned) and of what they cover; each patient counts alike."""
    own = [_own_quantiles(film, part, mean, regions) for film, part in zip(films, covered, strict=True)]
    means = {name: torch.stack([each[name] for each in own]).nanmean(0).tolist() for name in regions}
    return GreyReference(mean, chest, regions, means)


def region_quantiles(
    values: Float[Tensor, "n n"], covered: Float[Tensor, "n n"], regions: dict[str, Tensor]
) -> dict[str, Float[Tensor, " q"]]:
    """Each region's values at QUANTILES; NaN where less than half of it is covered."""
    found = {}
    for name, region in regions.items():
        inside = (region > 0.5) & (covered > 0.5)
        enough = bool(inside.sum() >= 0.5 * region.sum())
        levels = torch.tensor(QUANTILES)
        found[name] = values[inside].quantile(levels) if enough else torch.full_like(levels, float("nan"))
    return found


def usual(masks: Bool[Tensor, "patients n n"]) -> Bool[Tensor, "n n"]:
    """Where enough patients have it."""
    return masks.float().mean(0) >= REGION_SHARE


def _own_quantiles(film: Tensor, covered: Tensor, mean: MeanFilm, regions: dict[str, Tensor]) -> dict[str, Tensor]:
    """The film's quantiles once it is laid over the mean film as films from outside are."""
    middle = ((film.shape[0] - 1) / 2, (film.shape[1] - 1) / 2)
    pose = refined(film, mean, Pose(0, False, middle, (mean.pixel_mm, mean.pixel_mm), agreement=1.0))
    values, _ = laid_over(film, mean, pose.middle, pose.mm_per_pixel)
    shown, _ = laid_over(covered, mean, pose.middle, pose.mm_per_pixel)
    return region_quantiles(values, shown, regions)

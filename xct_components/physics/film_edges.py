"""Corrections beyond the edges of a film: what it showed at an edge goes on there, and fades.

Where a film ends, the patient does not. Corrected up to the last ray and no further, a volume had a step there, as if the
patient changed at the edge of the film. So a correction of the last ray holds for the unseen ones beside it, by a share of
exp(-d / f) at a distance d on the film: f is 40 mm for what is coarse, and for what is fine as little as that is wide.
"""

from __future__ import annotations

import itertools
import math
from functools import lru_cache
from typing import NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from xct_components.geometry import Beam, VolumeGrid

#: What is coarse falls to 1 / e within this on the film; farther than three times this nothing is corrected.
FADE_MM = 40.0
MOST_FADES = 3.0

AnyBeam = TypeVar("AnyBeam", bound=Beam)


class Margins(NamedTuple):
    """Pixels beside the film."""

    above: int = 0
    below: int = 0
    left: int = 0
    right: int = 0


@lru_cache(maxsize=16)
def unseen_margins(grid: VolumeGrid, beam: Beam) -> Margins:
    """How many pixels more would show all of the volume; no more than corrections reach."""
    corners = torch.tensor([*itertools.product(*((-0.5, n - 0.5) for n in grid.shape))], dtype=torch.float64)
    places = beam.pixels_of(grid.world_from_voxels(corners))
    if not bool(torch.isfinite(places).all()):
        return Margins()  # a volume beside its source, which the projector refuses
    margins = []
    for axis, count in enumerate((beam.detector.rows, beam.detector.cols)):
        reach = MOST_FADES * FADE_MM / beam.detector.pitch_mm[axis]
        beyond = (-0.5 - float(places[:, axis].min()), float(places[:, axis].max()) - (count - 0.5))
        margins += [math.ceil(max(0.0, min(pixels, reach))) for pixels in beyond]
    return Margins(*margins)


def grown_beam(beam: AnyBeam, margins: Margins) -> AnyBeam:
    """The exposure with these pixels beside the film."""
    return beam.grown((margins.above, margins.below), (margins.left, margins.right))


def seen_part(film: Float[Tensor, "*b rows cols"], margins: Margins) -> Float[Tensor, "*b inner_rows inner_cols"]:
    """A film of ``grown_beam`` without the pixels beside it; a view."""
    rows, cols = film.shape[-2:]
    return film[..., margins.above : rows - margins.below, margins.left : cols - margins.right]


def with_margins(
    correction: Float[Tensor, "b v c rows cols"], margins: Margins, pitch_mm: tuple[float, float], fade_mm: float
) -> Float[Tensor, "b v c outer_rows outer_cols"]:
    """A correction, 0 where nothing is to be done, beyond the edges of the film; differentiable.

    Args:
        correction: of the rays of a film.
        margins: pixels beside it.
        pitch_mm: height and width of a pixel.
        fade_mm: distance on the film at which 1 / e of it is left.
    """
    sides = (margins.left, margins.right, margins.above, margins.below)
    grown = F.pad(correction.flatten(0, 2)[:, None], sides, mode="replicate")
    rows, cols = correction.shape[-2:]
    down = _fading(rows, margins.above, margins.below, pitch_mm[0] / fade_mm).to(grown)
    along = _fading(cols, margins.left, margins.right, pitch_mm[1] / fade_mm).to(grown)
    return (grown * down[:, None] * along)[:, 0].unflatten(0, correction.shape[:3])


def _fading(count: int, before: int, after: int, fades_per_pixel: float) -> Tensor:
    """What is left of a correction in each pixel along one axis."""
    places = torch.arange(-before, count + after)
    beyond = torch.maximum(-places, places - (count - 1)).clamp_min(0)
    return torch.exp(-beyond * fades_per_pixel)

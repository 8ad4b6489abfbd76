"""Whether a film is an upright lateral one, and which way the patient looks: spine and sternum tell front from back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from jaxtyping import Float
from torch import Tensor

from xct_components.data.film.agreement import MeanFilm
from xct_components.data.film.match import best_poses, refined
from xct_components.data.film.reference import FilmReference
from xct_components.data.film.side_by_side import Spread, one_thread_each
from xct_components.data.film.view import LEAST_AGREEMENT, REFINED, Hypothesis, Kind

#: The upright lateral film should beat any other view, rotation and polarity by this much; real ones: 0.11 and 0.19.
LEAST_MARGIN = 0.05
#: One whose grey scale would be reversed must, by this much: a hip, reversed, agrees with a lateral chest by 0.70, margin 0.06.
REVERSED_MARGIN = 0.1
#: One way of looking must agree better than the other by this much.
FACING_MARGIN = 0.02


@dataclass(frozen=True)
class LateralEvidence:
    """How the readings of a film that should be lateral compare.

    Args:
        best: the reading of highest merit.
        left: the best upright lateral reading in which the patient looks to the left, with the polarity of ``best`` if
            that is upright and lateral.
        right: likewise, to its right; mirrored.
        margin: merit of the better of the two less that of any reading that is no upright lateral one of this polarity.
    """

    best: Hypothesis
    left: Hypothesis
    right: Hypothesis
    margin: float

    @property
    def lateral(self) -> Hypothesis:
        """The better one of ``left`` and ``right``."""
        return self.left if self.facing_margin >= 0.0 else self.right

    @property
    def facing_margin(self) -> float:
        """Merit of the patient looking to the picture's left less that of looking to its right."""
        return self.left.pose.merit - self.right.pose.merit

    @property
    def is_chest(self) -> bool:
        """Whether the best reading agrees well enough to be believed."""
        return abs(self.best.pose.agreement) >= LEAST_AGREEMENT

    @property
    def is_lateral(self) -> bool:
        """Whether an upright lateral chest film explains it best (of either polarity, looking either way)."""
        reversed_too_faintly = self.best.reversed_grey and self.margin < REVERSED_MARGIN
        return self.best.upright_lateral and self.is_chest and not reversed_too_faintly

    @property
    def is_sure(self) -> bool:
        """Whether no other reading explains it nearly as well."""
        return self.margin >= LEAST_MARGIN

    @property
    def facing(self) -> Literal["left", "right", "unsure"]:
        """To which side of the picture the patient looks."""
        if abs(self.facing_margin) < FACING_MARGIN:
            return "unsure"
        return "left" if self.facing_margin > 0.0 else "right"

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dictionary."""
        return {
            "best": self.best.to_json(),
            "lateral": self.lateral.to_json(),
            "margin": round(self.margin, 3),
            "facing_margin": round(self.facing_margin, 3),
            "facing": self.facing,
        }


def lateral_evidence(pixels: Float[Tensor, "rows cols"], reference: FilmReference) -> LateralEvidence:
    """Compare all readings of a film.

    Args:
        pixels: a film without borders, any monotone grey scale.
        reference: mean films of both views.
    """
    with one_thread_each() as spread:
        return _compared(pixels, reference, spread)


def _compared(pixels: Tensor, reference: FilmReference, spread: Spread) -> LateralEvidence:
    means: dict[Kind, MeanFilm] = {"frontal": reference.frontal, "lateral": reference.lateral}
    coarse = []
    for kind, poses in zip(means, spread(lambda mean: best_poses(pixels, mean), means.values()), strict=True):
        turned = [pose for pose in poses if kind == "frontal" or pose.quarter_turns]
        upright = [pose for pose in poses if kind == "lateral" and not pose.quarter_turns]
        coarse += [Hypothesis(kind, pose) for pose in (*upright, *turned[:REFINED])]
    readings = list(spread(lambda each: Hypothesis(each.kind, refined(pixels, means[each.kind], each.pose)), coarse))
    best = max(readings, key=_merit)
    reversed_grey = best.reversed_grey if best.upright_lateral else False
    asked = [r for r in readings if r.upright_lateral and r.reversed_grey == reversed_grey]
    left, right = (max((r for r in asked if r.pose.mirrored is mirrored), key=_merit) for mirrored in (False, True))
    others = [r for r in readings if not (r.upright_lateral and r.reversed_grey == reversed_grey)]
    return LateralEvidence(best, left, right, max(map(_merit, asked)) - max(map(_merit, others)))


def _merit(reading: Hypothesis) -> float:
    return reading.pose.merit

"""Which view a film shows, which way up, whether mirrored or reversed: measured by how well mean DRRs agree with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from xct_components.data.film.agreement import MeanFilm, ranked, shrunk, weighted_correlation
from xct_components.data.film.heart_side import heart_shift_mm
from xct_components.data.film.match import Pose, best_poses, laid_over, refined, turned
from xct_components.data.film.reference import FilmReference
from xct_components.data.film.side_by_side import Spread, one_thread_each

Kind = Literal["frontal", "lateral"]

#: A chest film agrees with the mean film by at least this much; the films at hand: 0.64-0.91.
LEAST_AGREEMENT = 0.55
#: The upright frontal film must beat any other view, rotation and polarity by this much; the films at hand: 0.1-0.4.
LEAST_MARGIN = 0.05
#: Left and right half of a frontal film correlate by at least this much; the films at hand: 0.4-0.9, a hip 0.03.
LEAST_SYMMETRY = 0.25
#: A heart whose shadow reaches this much farther to one side settles the sides: odds of 20 to 1 by a logistic fit to 100
#: phantoms and ten CTs. Of 300 phantoms, ten CTs and nine real films none reached farther to the wrong side than 5.7 mm.
HEART_MM = 7.5
#: Otherwise likeness to the mean film must say the same as the heart: better than to its mirror image by this much ...
SIDE_MARGIN = 0.01
#: ... or worse by this much: mirrored, or dextrocardia. So much against what the heart says leaves the sides unsure.
MIRROR_MARGIN = 0.03
#: Poses per view that are refined before they are compared.
REFINED = 3
#: Pixels along the longer side on which the two halves are compared.
SYMMETRY_PIXELS = 96


@dataclass(frozen=True)
class Hypothesis:
    """One reading of a film: a view in a pose."""

    kind: Kind
    pose: Pose

    @property
    def reversed_grey(self) -> bool:
        """Whether the grey scale would be reversed: bones black."""
        return self.pose.agreement < 0.0

    @property
    def upright_frontal(self) -> bool:
        """Whether it is an upright frontal film, whatever its sides and polarity."""
        return self.kind == "frontal" and self.pose.quarter_turns == 0

    @property
    def upright_lateral(self) -> bool:
        """Whether it is an upright lateral film, whichever way the patient looks and whatever its polarity."""
        return self.kind == "lateral" and self.pose.quarter_turns == 0

    def describe(self) -> str:
        """In words, for messages."""
        turns = self.pose.quarter_turns
        rotation = f", rotated by {90 * turns} degrees clockwise" if turns else ""
        return f"{self.kind}{rotation}{', grey scale reversed' if self.reversed_grey else ''}"

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dictionary."""
        pose = self.pose
        return {
            "view": self.kind,
            "turned_clockwise_deg": 90 * pose.quarter_turns,
            "mirrored": pose.mirrored,
            "grey_reversed": self.reversed_grey,
            "agreement": round(abs(pose.agreement), 3),
            "overlap": round(pose.overlap, 3),
            "merit": round(pose.merit, 3),
        }


@dataclass(frozen=True)
class ViewEvidence:
    """How the readings of a film compare.

    Args:
        best: the reading of highest merit.
        frontal: the best upright frontal reading that is not mirrored, with the polarity of ``best`` if that is frontal.
        side_margin: merit of ``frontal`` less that of its mirror image.
        heart_shift_mm: how much farther the heart's shadow reaches to the right of the picture than to its left.
        margin: merit of the better of those two less that of any other reading.
        symmetry: correlation of the film's halves about the middle of ``frontal``.
    """

    best: Hypothesis
    frontal: Hypothesis
    side_margin: float
    heart_shift_mm: float
    margin: float
    symmetry: float

    @property
    def is_chest(self) -> bool:
        """Whether the best reading agrees well enough to be believed."""
        return abs(self.best.pose.agreement) >= LEAST_AGREEMENT

    @property
    def is_frontal(self) -> bool:
        """Whether it is, beyond doubt, an upright frontal chest film (of either polarity, of either side)."""
        agrees = abs(self.frontal.pose.agreement) >= LEAST_AGREEMENT - SIDE_MARGIN
        return self.best.upright_frontal and agrees and self.margin >= LEAST_MARGIN and self.symmetry >= LEAST_SYMMETRY

    @property
    def side(self) -> Literal["as expected", "unsure", "mirrored"]:
        """Whether the heart and the great vessels lie on the side where they belong."""
        heart_mm, likeness = self.heart_shift_mm, self.side_margin
        if abs(heart_mm) >= HEART_MM and likeness * heart_mm > -MIRROR_MARGIN * abs(heart_mm):
            return "as expected" if heart_mm > 0.0 else "mirrored"
        if heart_mm > 0.0 and likeness >= SIDE_MARGIN:
            return "as expected"
        return "mirrored" if heart_mm < 0.0 and likeness <= -MIRROR_MARGIN else "unsure"

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dictionary."""
        return {
            "best": self.best.to_json(),
            "frontal": self.frontal.to_json(),
            "margin": round(self.margin, 3),
            "side_margin": round(self.side_margin, 3),
            "heart_shift_mm": round(self.heart_shift_mm, 1),
            "side": self.side,
            "symmetry": round(self.symmetry, 3),
        }


def view_evidence(pixels: Float[Tensor, "rows cols"], reference: FilmReference) -> ViewEvidence:
    """Compare all readings of a film.

    Args:
        pixels: a film without borders, any monotone grey scale.
        reference: mean films of both views.
    """
    with one_thread_each() as spread:
        return _compared(pixels, reference, spread)


def _compared(pixels: Tensor, reference: FilmReference, spread: Spread) -> ViewEvidence:
    means: dict[Kind, MeanFilm] = {"frontal": reference.frontal, "lateral": reference.lateral}
    found = dict(zip(means, spread(lambda mean: best_poses(pixels, mean), means.values()), strict=True))
    coarse = [Hypothesis("frontal", pose) for pose in found["frontal"] if pose.quarter_turns == 0]
    for kind, poses in found.items():
        coarse += [Hypothesis(kind, pose) for pose in poses[:REFINED] if kind == "lateral" or pose.quarter_turns]
    readings = list(spread(lambda each: Hypothesis(each.kind, refined(pixels, means[each.kind], each.pose)), coarse))
    best = max(readings, key=lambda reading: reading.pose.merit)
    reversed_grey = best.reversed_grey if best.upright_frontal else False
    upright = {r.pose.mirrored: r for r in readings if r.upright_frontal and r.reversed_grey == reversed_grey}
    frontal, mirrored = upright[False], upright[True]
    unreversed = -pixels if reversed_grey else pixels
    others = [r for r in readings if not (r.upright_frontal and r.reversed_grey == reversed_grey)]
    return ViewEvidence(
        best=best,
        frontal=frontal,
        side_margin=frontal.pose.merit - mirrored.pose.merit,
        heart_shift_mm=heart_shift_mm(unreversed, [frontal.pose, mirrored.pose], reference.frontal, spread),
        margin=max(frontal.pose.merit, mirrored.pose.merit) - max(reading.pose.merit for reading in others),
        symmetry=_symmetry(pixels, reference, frontal.pose),
    )


def _symmetry(pixels: Tensor, reference: FilmReference, pose: Pose) -> float:
    """Correlation of an upright film's ranks with those of its mirror image about the middle of the lungs."""
    film = ranked(shrunk(turned(pixels, pose.quarter_turns, pose.mirrored), SYMMETRY_PIXELS))
    small = pose.scaled(max(film.shape) / max(pixels.shape))
    values, covered = laid_over(film, reference.frontal, small.middle, small.mm_per_pixel)
    weights = covered * reference.frontal.weights
    return float(weighted_correlation(values, values.flip(1), torch.minimum(weights, weights.flip(1))))

"""The tubes of the mediastinum: aorta and its branches, pulmonary trunk and arteries, great veins, airway, oesophagus."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial, reduce

import torch
from torch import Tensor

from xct_components.data.phantom.canvas import Body
from xct_components.data.phantom.heart import Heart
from xct_components.data.phantom.parameters import ThoraxParameters
from xct_components.data.phantom.randomness import detail, normal
from xct_components.data.phantom.shapes import Points, polyline_distance

Knot = tuple[float, float, float]

# Centre lines in reference mm (x to the right). The first knots that "hang on the heart" move with it.
_LINES: dict[str, list[tuple[Knot, ...]]] = {
    "aorta": [
        (
            (-6.0, 35.0, -16.0), (8.0, 39.0, 10.0), (14.0, 34.0, 36.0), (9.0, 26.0, 56.0), (-6.0, 11.0, 65.0),
            (-20.0, -5.0, 61.0), (-29.0, -18.0, 46.0), (-30.0, -25.0, 20.0), (-28.0, -27.0, -20.0), (-22.0, -25.0, -60.0),
            (-14.0, -4.0, -100.0), (-8.0, 20.0, -190.0),
        ),
    ],
    "arch_branches": [
        ((5.0, 21.0, 70.0), (16.0, 15.0, 100.0), (24.0, 11.0, 116.0), (40.0, 6.0, 126.0)),
        ((-7.0, 10.0, 72.0), (-13.0, 10.0, 112.0), (-18.0, 11.0, 180.0)),
        ((-18.0, -2.0, 68.0), (-24.0, -5.0, 104.0), (-36.0, -2.0, 122.0), (-60.0, 8.0, 128.0)),
        ((24.0, 11.0, 116.0), (20.0, 11.0, 180.0)),
    ],
    "pulmonary_artery": [
        (
            (-14.0, 51.0, -8.0), (-20.0, 44.0, 14.0), (-19.0, 29.0, 28.0), (-26.0, 18.0, 33.0), (-40.0, 5.0, 30.0),
            (-47.0, -3.0, 18.0),
        ),
        ((-18.0, 28.0, 27.0), (4.0, 18.0, 24.0), (28.0, 11.0, 18.0), (42.0, 5.0, 8.0)),
    ],
    "vein": [
        ((22.0, 28.0, 90.0), (25.0, 28.0, 50.0), (25.0, 28.0, 6.0), (23.0, 31.0, -20.0)),
        ((-58.0, 21.0, 116.0), (-32.0, 28.0, 102.0), (-4.0, 36.0, 92.0), (22.0, 28.0, 84.0)),
        ((62.0, 19.0, 118.0), (36.0, 21.0, 110.0), (22.0, 28.0, 88.0)),
        ((20.0, 18.0, -60.0), (20.0, 14.0, -90.0), (19.0, 24.0, -190.0)),
    ],
    "azygos": [((7.0, 0.0, -130.0), (7.0, -28.0, -20.0), (8.0, -25.0, 40.0), (17.0, -12.0, 50.0), (24.0, 19.0, 48.0))],
    "pulmonary_vein": [
        ((8.0, 8.0, -10.0), (30.0, 10.0, -3.0), (42.0, 10.0, 6.0)),
        ((10.0, 1.0, -24.0), (28.0, -5.0, -26.0), (42.0, -10.0, -34.0)),
        ((-14.0, 8.0, -8.0), (-34.0, 10.0, 2.0), (-46.0, 10.0, 10.0)),
        ((-16.0, 1.0, -24.0), (-34.0, -7.0, -26.0), (-46.0, -12.0, -34.0)),
    ],
    "airway": [
        ((0.0, 20.0, 200.0), (1.0, 5.0, 120.0), (2.0, -5.0, 70.0), (3.0, -9.0, 48.0)),
        ((3.0, -9.0, 50.0), (16.0, -8.0, 34.0), (30.0, -6.0, 22.0), (38.0, -5.0, 6.0)),
        ((3.0, -9.0, 50.0), (-12.0, -8.0, 36.0), (-34.0, -6.0, 20.0), (-42.0, -7.0, 8.0)),
    ],
    "oesophagus": [
        (
            (-2.0, 8.0, 180.0), (-4.0, -7.0, 120.0), (-6.0, -17.0, 60.0), (-5.0, -20.0, 10.0), (-6.0, -18.0, -30.0),
            (-12.0, -9.0, -70.0), (-22.0, 2.0, -92.0),
        ),
    ],
}  # fmt: skip
# Radii at the knots, reference mm; the aorta and the airway are scaled to their diameters below.
_RADII: dict[str, list[tuple[float, ...]]] = {
    "aorta": [(17.0, 16.5, 16.0, 15.0, 14.0, 13.2, 12.6, 12.2, 12.0, 11.6, 11.0, 10.0)],
    "arch_branches": [(6.5, 6.0, 5.5, 4.5), (3.8, 3.5, 3.3), (5.0, 4.6, 4.5, 4.0), (3.5, 3.3)],
    "pulmonary_artery": [(14.0, 13.8, 13.0, 11.5, 10.0, 8.0), (11.0, 10.8, 10.2, 8.5)],
    "vein": [(9.0, 9.5, 10.0, 11.0), (6.0, 6.5, 7.0, 7.5), (6.0, 7.0, 8.0), (11.0, 11.0, 10.5)],
    "azygos": [(2.5, 3.5, 3.8, 4.2, 4.5)],
    "pulmonary_vein": [(8.0, 7.0, 5.5)] * 4,
    "airway": [(9.0, 8.8, 8.6, 8.6), (8.0, 7.0, 6.5, 5.5), (7.5, 6.5, 6.0, 5.0)],
    "oesophagus": [(7.0, 7.5, 8.0, 8.0, 8.0, 8.5, 9.0)],
}
# How many leading knots of each line hang on the heart, and the share of the heart's shift that knots above take.
_ON_HEART = {"aorta": 2, "pulmonary_artery": 1, "pulmonary_vein": 1}
#: Where the left atrium stands when the lines above fit without a shift.
_ATRIUM = torch.tensor([-3.0, 10.0, -20.0], dtype=torch.float64)
#: Wall of trachea and main bronchi, mm (general knowledge: 1-3).
AIRWAY_WALL_MM = 1.8


@dataclass(frozen=True)
class GreatVessels:
    """Centre lines (n, 3) and radii (n,) of every named tube, reference mm."""

    lines: dict[str, list[tuple[Tensor, Tensor]]]

    def distance(self, points: Points, name: str) -> Tensor:
        """Distance to the tubes of one name, mm."""
        parts = [polyline_distance(points, knots, radii) for knots, radii in self.lines[name]]
        return reduce(torch.minimum, parts)

    def bodies(self, name: str) -> Iterator[Body]:
        """The tubes of one name, piece by piece, each with the box around it."""
        for knots, radii in self.lines[name]:
            for piece, wide in zip(knots.unfold(0, 2, 1).mT, radii.unfold(0, 2, 1), strict=True):
                low, high = (piece - wide[:, None]).amin(0).tolist(), (piece + wide[:, None]).amax(0).tolist()
                yield (
                    (low[0], low[1], low[2]),
                    (high[0], high[1], high[2]),
                    partial(polyline_distance, knots_mm=piece, radii_mm=wide),
                )

    def end(self, name: str, branch: int) -> tuple[Tensor, float]:
        """Where a branch ends, and its radius there."""
        knots, radii = self.lines[name][branch]
        return knots[-1], float(radii[-1])


def build_great_vessels(parameters: ThoraxParameters, heart: Heart, mean_scale: float) -> GreatVessels:
    """The tubes of one person: wandering by a few millimetres, hanging on the heart, as wide as published.

    Sources:
        Aorta: 34.1 (SD 3.9) mm in men, 31.9 (3.5) in women ascending (Framingham Heart Study CT), 1 mm wider per decade.
        Trachea: inner diameter 13-25 mm in men, 10-21 in women (Breatnach, AJR 1984;142:903), here 17.5 and 15 (SD 1.7).
    """
    generator = detail(parameters.seed, "great vessels")
    woman = parameters.sex == "female"
    older = (parameters.age_years - 60.0) / 10.0
    aorta_mm = (31.0 if woman else 33.0) + 1.0 * older + 2.6 * float(normal(generator))
    trachea_mm = (15.0 if woman else 17.5) + 1.7 * float(normal(generator))
    wider = {"aorta": aorta_mm / 33.0 / mean_scale, "airway": trachea_mm / 17.5 / mean_scale}
    root = torch.tensor(heart.chambers["left_atrium"].center, dtype=torch.float64) - _ATRIUM
    lines = {}
    for name, branches in _LINES.items():
        sway = 1.6 * normal(generator, 3)
        lines[name] = [
            (_hung(torch.tensor(knots, dtype=torch.float64) + sway, root, _ON_HEART.get(name, 0)),
             torch.tensor(radii, dtype=torch.float64) * wider.get(name, 1.0) * (1.0 + 0.04 * float(normal(generator))))
            for knots, radii in zip(branches, _RADII[name], strict=True)
        ]  # fmt: skip
    return GreatVessels(lines)


def _hung(knots: Tensor, shift: Tensor, count: int) -> Tensor:
    """The first ``count`` knots moved with the heart; the next one by half, so that no line kinks."""
    share = torch.zeros(len(knots), 1, dtype=torch.float64)
    share[:count] = 1.0
    if 0 < count < len(knots):
        share[count] = 0.4
    return knots + share * shift

"""The outside of the body: muscle around the cage, fat under the skin, breasts, shoulders."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from xct_components.data.phantom.parameters import ThoraxParameters
from xct_components.data.phantom.profiles import Profiles, smooth_profiles
from xct_components.data.phantom.randomness import detail, normal
from xct_components.data.phantom.shapes import Ellipsoid, Points, ellipsoid_distance, polyline_distance, smooth_min
from xct_components.data.phantom.shoulder import Shoulder

# Outline of the muscles of the trunk (fat not counted): half width, front and back, mm.
_HEIGHTS = (-190.0, -131.0, -100.0, -60.0, -20.0, 20.0, 50.0, 80.0, 100.0, 120.0, 140.0, 160.0, 190.0)
_HALF_WIDTH = (138.0, 145.0, 149.0, 151.0, 152.0, 150.0, 143.0, 130.0, 112.0, 88.0, 70.0, 62.0, 58.0)
_FRONT = (98.0, 101.0, 102.0, 103.0, 100.0, 91.0, 79.0, 65.0, 54.0, 44.0, 37.0, 34.0, 32.0)
_BACK = (-100.0, -105.0, -111.0, -117.0, -121.0, -121.0, -117.0, -110.0, -102.0, -92.0, -82.0, -75.0, -69.0)
_SQUARENESS = 2.7
SKIN_MM = 2.0
#: Fat under the skin of the flank at a body mass index of 22, mm, and its growth per unit (derived from the ten CTs at hand).
_FAT_AT_22 = {"female": 10.0, "male": 6.0}
_FAT_PER_BMI = {"female": 1.7, "male": 1.4}
_THINNEST_FAT_MM = 2.5
#: Women's muscle is this much thinner than men's on the same cage, mm.
_WOMAN_LESS_MUSCLE_MM = 4.0


@dataclass(frozen=True)
class BodyWall:
    """Muscle outline, fat and breasts of one person, reference mm."""

    profiles: Profiles
    muscle_less_mm: float
    fat_mm: float
    shoulder: Shoulder
    breasts: tuple[Ellipsoid, ...]


def build_body_wall(parameters: ThoraxParameters, shoulder: Shoulder) -> BodyWall:
    """The wall for this sex and body mass index."""
    generator = detail(parameters.seed, "body wall")
    fat = _FAT_AT_22[parameters.sex] + _FAT_PER_BMI[parameters.sex] * (parameters.bmi - 22.0) + 1.5 * float(normal(generator))
    size = 1.0 + 0.025 * (parameters.bmi - 24.0) + 0.12 * float(normal(generator))
    woman = parameters.sex == "female"
    return BodyWall(
        smooth_profiles(_HEIGHTS, _HALF_WIDTH, _FRONT, _BACK),
        _WOMAN_LESS_MUSCLE_MM if woman else 0.0,
        max(_THINNEST_FAT_MM, fat),
        shoulder,
        _breasts(max(0.6, size), parameters) if woman else (),
    )


def muscle_distance(wall: BodyWall, points: Points) -> Tensor:
    """Distance to trunk, shoulders and arms without their fat, mm."""
    half_width, front, back = wall.profiles.at(points.z)
    half_depth, middle = (front - back) / 2, (front + back) / 2
    u, v = (points.x / half_width).abs(), ((points.y - middle) / half_depth).abs()
    level = (u.pow(_SQUARENESS) + v.pow(_SQUARENESS)).pow(1.0 / _SQUARENESS)
    distance = level * (level - 1.0) / (((u / half_width) ** 2 + (v / half_depth) ** 2).sqrt() + 1e-6)
    for knots, radii in wall.shoulder.flesh:
        distance = smooth_min(distance, polyline_distance(points, knots, radii - 6.0), 22.0)
    return distance + wall.muscle_less_mm


def skin_distance(wall: BodyWall, points: Points, muscle: Tensor) -> Tensor:
    """Distance to the skin, mm: muscle, fat that is thicker on the belly and thinner on the breastbone, and breasts."""
    belly = 1.0 + 0.7 * ((-40.0 - points.z) / 120.0).clamp(0.0, 1.0)
    front = (points.y / 110.0).clamp(-1.0, 1.0)
    thickness = wall.fat_mm * belly * (1.0 - 0.3 * front.clamp_min(0.0)) + SKIN_MM
    distance = muscle - thickness
    for breast in wall.breasts:
        distance = smooth_min(distance, ellipsoid_distance(points, breast), 14.0)
    return distance


def gland_distance(wall: BodyWall, points: Points) -> Tensor:
    """Distance to the glandular part of the breasts, mm."""
    parts = []
    for breast in wall.breasts:
        (x, y, z), (a, b, c) = breast.center, breast.radii
        parts.append(ellipsoid_distance(points, Ellipsoid((x, y + 0.25 * b, z), (0.55 * a, 0.55 * b, 0.55 * c))))
    return torch.minimum(*parts)


def axillary_fat(side: float, raised: bool) -> Ellipsoid:
    """The fat of one armpit; ``side`` +1 is right."""
    return Ellipsoid((side * (112.0 if raised else 128.0), -4.0, 82.0 if raised else 66.0), (17.0, 34.0, 38.0))


def _breasts(size: float, parameters: ThoraxParameters) -> tuple[Ellipsoid, ...]:
    """Hanging when upright, spread sideways when supine."""
    x, y, z = (74.0, 98.0, -14.0) if parameters.upright else (86.0, 86.0, -2.0)
    a, b, c = (54.0 * size, 40.0 * size, 56.0 * size) if parameters.upright else (60.0 * size, 34.0 * size, 58.0 * size)
    return Ellipsoid((x, y, z), (a, b, c)), Ellipsoid((-x, y, z), (a, b, c))

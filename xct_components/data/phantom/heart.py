"""The chambers of the heart as ellipsoids, sized to a cardiothoracic ratio."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from xct_components.data.phantom.cage import Cage
from xct_components.data.phantom.canvas import Body
from xct_components.data.phantom.parameters import ThoraxParameters
from xct_components.data.phantom.randomness import detail, normal
from xct_components.data.phantom.shapes import Ellipsoid, Points, ellipsoid_distance, smooth_min

# name: centre, half axes, direction of the first axis (the second lies horizontally). Reference mm, full inspiration.
_CHAMBERS: dict[str, tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, float, float]]] = {
    "left_ventricle": ((-40.0, 37.0, -46.0), (45.0, 31.0, 31.0), (-0.76, 0.45, -0.47)),
    "right_ventricle": ((-12.0, 58.0, -44.0), (44.0, 27.0, 31.0), (-0.86, 0.15, -0.48)),
    "right_atrium": ((21.0, 38.0, -38.0), (20.0, 25.0, 33.0), (1.0, 0.0, 0.0)),
    "left_atrium": ((-3.0, 10.0, -20.0), (33.0, 19.0, 24.0), (1.0, 0.0, 0.0)),
    "outflow": ((-20.0, 51.0, -12.0), (22.0, 21.0, 27.0), (1.0, 0.0, 0.0)),
    "left_auricle": ((-37.0, 29.0, -3.0), (17.0, 20.0, 22.0), (1.0, 0.0, 0.0)),
}
#: The heart grows away from here: the right border and the root stay, the apex moves left and down.
_PIVOT = (16.0, 52.0, -30.0)
#: Share of the diaphragm's rise that the heart follows.
_FOLLOWS_DIAPHRAGM = 0.62
#: Height of the right dome for which the chambers above stand right, mm.
_USUAL_DOME = -58.0
#: Thickness of the left ventricle's wall, mm; adults have 6-11 (general knowledge).
LEFT_WALL_MM = 9.5
#: Fillet between the chambers, mm.
_FILLET = 9.0
#: Largest inner half width of the reference chest is in the cage's profile; this is searched over these heights.
_CHEST_HEIGHTS = (-110.0, 60.0, 35)


@dataclass(frozen=True)
class Heart:
    """The chambers of one person, reference mm."""

    chambers: dict[str, Ellipsoid]

    def distance(self, points: Points) -> Tensor:
        """Distance to the outside of the heart, pericardial fat not counted, mm."""
        ventricles = smooth_min(self.chamber(points, "left_ventricle"), self.chamber(points, "right_ventricle"), _FILLET)
        atria = smooth_min(self.chamber(points, "left_atrium"), self.chamber(points, "right_atrium"), _FILLET)
        added = smooth_min(self.chamber(points, "outflow"), self.chamber(points, "left_auricle"), _FILLET)
        return smooth_min(smooth_min(ventricles, atria, _FILLET), added, _FILLET)

    def body(self) -> Body:
        """The whole heart with the box around it."""
        reach = {name: max(body.radii) for name, body in self.chambers.items()}
        sides = [
            (
                min(body.center[axis] - reach[name] for name, body in self.chambers.items()),
                max(body.center[axis] + reach[name] for name, body in self.chambers.items()),
            )
            for axis in range(3)
        ]
        (x, right), (y, front), (z, top) = sides
        return (x, y, z), (right, front, top), self.distance

    def chamber(self, points: Points, name: str) -> Tensor:
        """Distance to one chamber, wall included, mm."""
        return ellipsoid_distance(points, self.chambers[name])


def build_heart(parameters: ThoraxParameters, cage: Cage) -> Heart:
    """The heart whose frontal width is the cardiothoracic ratio times the largest inner width of the chest."""
    generator = detail(parameters.seed, "heart")
    shift = normal(generator, 3).tolist()
    rise = _FOLLOWS_DIAPHRAGM * (cage.dome_mm[0] - _USUAL_DOME)
    # a high diaphragm turns the apex up and outwards
    turn = 0.012 * rise + 0.06 * float(normal(generator))
    moved = {name: _turned(body, turn) for name, body in _reference_chambers().items()}
    size = parameters.cardiothoracic_ratio * chest_width_mm(cage) / _frontal_width(moved)
    offset = (2.0 * shift[0], 2.0 * shift[1], rise + 2.0 * shift[2])
    return Heart({name: _placed(body, size, offset) for name, body in moved.items()})


def chest_width_mm(cage: Cage) -> float:
    """Largest inner width of the rib cage, reference mm."""
    low, high, count = _CHEST_HEIGHTS
    lateral = cage.profiles.at(torch.linspace(low, high, int(count), dtype=torch.float64))[0].amax().item()
    return lateral / (1.0 - cage.right_wider) + lateral / (1.0 + cage.right_wider)


def _reference_chambers() -> dict[str, Ellipsoid]:
    return {name: Ellipsoid(center, radii, _frame_along(direction)) for name, (center, radii, direction) in _CHAMBERS.items()}


def _frame_along(direction: tuple[float, float, float]) -> tuple[tuple[float, float, float], ...]:
    """Three perpendicular unit vectors, the first along ``direction``, the second horizontal."""
    x, y, z = direction
    length, flat = math.hypot(x, y, z), math.hypot(x, y)
    first, second = (x / length, y / length, z / length), (-y / flat, x / flat, 0.0)
    third = (
        first[1] * second[2] - first[2] * second[1],
        first[2] * second[0] - first[0] * second[2],
        first[0] * second[1] - first[1] * second[0],
    )
    return first, second, third


def _turned(body: Ellipsoid, angle_rad: float) -> Ellipsoid:
    """Turned in the frontal plane around the pivot; positive lifts the apex."""
    cos, sin = math.cos(angle_rad), math.sin(angle_rad)

    def turn(vector: tuple[float, ...]) -> tuple[float, float, float]:
        x, y, z = vector
        return cos * x + sin * z, y, cos * z - sin * x

    x, y, z = turn(tuple(c - p for c, p in zip(body.center, _PIVOT, strict=True)))
    return Ellipsoid((x + _PIVOT[0], y + _PIVOT[1], z + _PIVOT[2]), body.radii, tuple(turn(axis) for axis in body.axes))


def _placed(body: Ellipsoid, size: float, offset: tuple[float, float, float]) -> Ellipsoid:
    x, y, z = (p + size * (c - p) + o for c, p, o in zip(body.center, _PIVOT, offset, strict=True))
    a, b, c = (radius * size for radius in body.radii)
    return Ellipsoid((x, y, z), (a, b, c), body.axes)


def _frontal_width(chambers: dict[str, Ellipsoid]) -> float:
    """From the rightmost to the leftmost point of all chambers, mm."""
    reach = {
        name: math.sqrt(sum((radius * axis[0]) ** 2 for radius, axis in zip(body.radii, body.axes, strict=True)))
        for name, body in chambers.items()
    }
    right = max(body.center[0] + reach[name] for name, body in chambers.items())
    return right - min(body.center[0] - reach[name] for name, body in chambers.items())

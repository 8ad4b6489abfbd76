"""Shoulder blades, collar bones and the upper ends of the arms, raised or hanging."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from xct_components.data.phantom.cage import Cage, wall_points
from xct_components.data.phantom.parameters import ThoraxParameters
from xct_components.data.phantom.randomness import detail, normal
from xct_components.data.phantom.tubes import Tubes, joined, tubes_along

# Blade strips: angle on the cage at top and bottom (degrees), height of top and bottom (mm); reference mm throughout.
_STRIPS = (
    (31.0, 33.0, 92.0, -14.0),
    (37.0, 37.0, 95.0, -22.0),
    (43.0, 41.0, 94.0, -24.0),
    (49.0, 45.0, 88.0, -10.0),
    (55.0, 50.0, 80.0, 14.0),
)
#: The blade glides on the cage with this much muscle between, mm.
_GLIDE_MM = 19.0
#: Raising the arms turns the blade: its lower end moves this far round the cage, degrees, and all of it up, mm.
_RAISED_TURN_DEG, _RAISED_LIFT_MM = 17.0, 10.0

Knots = tuple[tuple[float, float, float], ...]
# Right side; x is mirrored for the left. Knots, then radii.
_SPINE_OF_BLADE: dict[bool, Knots] = {
    False: ((76.0, -120.0, 82.0), (110.0, -108.0, 98.0), (142.0, -70.0, 116.0), (152.0, -42.0, 117.0)),
    True: ((78.0, -120.0, 92.0), (108.0, -106.0, 112.0), (130.0, -74.0, 132.0), (132.0, -46.0, 138.0)),
}
_NECK_OF_BLADE: dict[bool, Knots] = {
    False: ((122.0, -88.0, 84.0), (136.0, -66.0, 92.0), (143.0, -58.0, 96.0)),
    True: ((122.0, -86.0, 98.0), (132.0, -66.0, 114.0), (138.0, -56.0, 124.0)),
}
_CLAVICLE: dict[bool, Knots] = {
    False: ((16.0, 44.0, 92.0), (45.0, 46.0, 101.0), (82.0, 22.0, 110.0), (115.0, -14.0, 116.0), (146.0, -36.0, 119.0)),
    True: ((16.0, 44.0, 92.0), (42.0, 42.0, 106.0), (72.0, 14.0, 122.0), (98.0, -20.0, 134.0), (124.0, -44.0, 140.0)),
}
_HUMERUS: dict[bool, Knots] = {
    False: ((162.0, -50.0, 96.0), (172.0, -48.0, 84.0), (182.0, -42.0, 50.0), (188.0, -38.0, -20.0), (192.0, -38.0, -180.0)),
    True: ((154.0, -44.0, 134.0), (160.0, -36.0, 146.0), (170.0, -22.0, 176.0), (180.0, -8.0, 230.0), (186.0, 0.0, 300.0)),
}
_HUMERUS_RADII = (22.0, 20.0, 12.5, 11.5, 11.5)
# Soft tissue of shoulder and arm.
_FLESH: dict[bool, list[tuple[Knots, tuple[float, ...]]]] = {
    False: [
        (((40.0, -42.0, 108.0), (110.0, -52.0, 96.0), (160.0, -48.0, 86.0)), (36.0, 42.0, 42.0)),
        (((160.0, -48.0, 86.0), (184.0, -42.0, 30.0), (192.0, -38.0, -180.0)), (42.0, 44.0, 38.0)),
        (((112.0, 22.0, 66.0), (150.0, -20.0, 82.0)), (24.0, 30.0)),
    ],
    True: [
        (((40.0, -42.0, 108.0), (105.0, -60.0, 100.0), (150.0, -46.0, 130.0)), (36.0, 42.0, 42.0)),
        (((150.0, -46.0, 130.0), (170.0, -22.0, 176.0), (186.0, 0.0, 300.0)), (40.0, 42.0, 36.0)),
        (((108.0, -70.0, 50.0), (142.0, -62.0, 100.0)), (34.0, 36.0)),
        (((108.0, 26.0, 66.0), (142.0, -16.0, 116.0)), (18.0, 24.0)),
    ],
}


@dataclass(frozen=True)
class Shoulder:
    """Bones as tubes and flesh as (knots, radii) lines, both sides, reference mm."""

    scapula: tuple[Tubes, Tubes]
    clavicle: Tubes
    humerus: Tubes
    flesh: list[tuple[Tensor, Tensor]]


def build_shoulder(parameters: ThoraxParameters, cage: Cage) -> Shoulder:
    """Both shoulders with the arms raised or hanging."""
    raised = parameters.arms_up
    sway = 2.0 * normal(detail(parameters.seed, "shoulder"), 3)
    ridges = joined(
        _both_sides(_SPINE_OF_BLADE[raised], (3.0, 4.5, 5.5, 6.5), sway),
        _both_sides(_NECK_OF_BLADE[raised], (6.0, 9.0, 13.0), sway),
    )
    clavicle = _both_sides(_CLAVICLE[raised], (9.0, 6.0, 5.5, 5.5, 7.0), torch.zeros(3))
    humerus = _both_sides(_HUMERUS[raised], _HUMERUS_RADII, sway)
    flesh = [
        (torch.tensor(knots, dtype=torch.float64) * torch.tensor([side, 1.0, 1.0]), torch.tensor(radii, dtype=torch.float64))
        for knots, radii in _FLESH[raised]
        for side in (1.0, -1.0)
    ]
    return Shoulder((_blade(cage, raised), ridges), clavicle, humerus, flesh)


def _blade(cage: Cage, raised: bool) -> Tubes:
    """The blade as overlapping flat strips gliding on the cage."""
    side = torch.tensor([1.0, -1.0], dtype=torch.float64)[:, None, None]
    share = torch.linspace(0.0, 1.0, 9, dtype=torch.float64)
    top_deg, bottom_deg, top, bottom = (
        torch.tensor(column, dtype=torch.float64)[:, None] for column in zip(*_STRIPS, strict=True)
    )
    turned = bottom_deg + (_RAISED_TURN_DEG if raised else 0.0)
    angle = (top_deg + (turned - top_deg) * share) * (math.pi / 180.0)
    z = top + (bottom - top) * share + (_RAISED_LIFT_MM if raised else 0.0)
    knots = wall_points(cage, side, angle.expand(2, -1, -1), z.expand(2, -1, -1), _GLIDE_MM)
    outward = torch.stack([side * angle.sin(), -angle.cos().expand(2, -1, -1), torch.zeros_like(side * angle)], dim=-1)
    return tubes_along(knots, torch.tensor(9.0, dtype=torch.float64), outward, 0.25)


def _both_sides(knots: Knots, radii: tuple[float, ...], sway: Tensor) -> Tubes:
    right = torch.tensor(knots, dtype=torch.float64) + sway
    left = right * torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64)
    return tubes_along(torch.stack([right, left]), torch.tensor(radii, dtype=torch.float64))

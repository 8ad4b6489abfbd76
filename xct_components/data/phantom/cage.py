"""The inside of the rib cage and the diaphragm: where lungs can be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from xct_components.data.phantom.parameters import ThoraxParameters
from xct_components.data.phantom.profiles import Profiles, smooth_profiles
from xct_components.data.phantom.randomness import detail, normal
from xct_components.data.phantom.shapes import Points

# Each half of the cavity is an oval from `medial` (beyond the midline where negative, so that the halves overlap) to `lateral`,
# between `posterior` and `anterior`; mm, from the upper abdomen to the top of the lung. Drawn by eye after ten CTs.
_HEIGHTS = (-190.0, -131.0, -100.0, -60.0, -20.0, 20.0, 50.0, 75.0, 95.0, 110.0, 121.0, 128.0, 133.0)
_LATERAL = (116.0, 124.0, 128.0, 130.0, 129.0, 123.0, 114.0, 102.0, 87.0, 73.0, 60.0, 50.0, 40.0)
_MEDIAL_BACK = (-40.0, -40.0, -40.0, -40.0, -38.0, -30.0, -20.0, -8.0, 4.0, 12.0, 19.0, 26.0, 33.0)
_MEDIAL_FRONT = (-90.0, -90.0, -90.0, -90.0, -90.0, -85.0, -65.0, -35.0, -5.0, 10.0, 19.0, 26.0, 33.0)
_ANTERIOR = (90.0, 91.0, 92.0, 92.0, 88.0, 77.0, 61.0, 42.0, 22.0, 4.0, -11.0, -22.0, -32.0)
_POSTERIOR = (-88.0, -93.0, -99.0, -104.0, -107.0, -106.0, -100.0, -90.0, -77.0, -65.0, -56.0, -48.0, -40.0)
#: Exponent of the ovals: a little squarer than an ellipse.
_SQUARENESS = 2.3
#: At resting expiration the cage is this much smaller across and in depth (general: ribs carry about a third of a breath).
_EXPIRED_CAGE = 0.045

# The diaphragm, mm: right dome and saddle at full inspiration, attachment to the wall in front and behind.
_RIGHT_DOME, _SADDLE_BELOW = -58.0, 16.0
_ATTACHMENT, _ATTACHMENT_SLOPE = -110.0, 23.0
_DOME_X = 62.0
#: Shape of a dome: how far its top stands forward, how flat the top is, how steep it falls to the wall, mm it falls backwards.
_FORWARD, _FLAT_TOP, _STEEP_EDGE, _TILT = 0.16, 2.5, 0.75, 15.0
#: Rise of domes and attachment at resting expiration.
_EXPIRED_DOME, _EXPIRED_ATTACHMENT = 42.0, 20.0


class Cavity(NamedTuple):
    """Where points stand in the cavity.

    ``level`` is 0 on the middle line of each half and 1 on the wall, ``front`` -1 at the back and 1 at the front,
    ``distance`` is in mm and negative inside.
    """

    level: Tensor
    front: Tensor
    distance: Tensor


@dataclass(frozen=True)
class Cage:
    """The rib cage of one person in reference mm.

    Args:
        profiles: lateral, medial (back, front), anterior and posterior border over height.
        right_wider: share by which the right half is wider than the left.
        dome_mm: height of the right dome and of the left.
        attachment_mm: mean height at which the diaphragm meets the wall.
    """

    profiles: Profiles
    right_wider: float
    dome_mm: tuple[float, float]
    attachment_mm: float


def build_cage(parameters: ThoraxParameters, z_scale: float) -> Cage:
    """The cage for these parameters; ``z_scale`` is person over reference along z."""
    generator = detail(parameters.seed, "cage")
    wobble = 1.0 + 0.02 * normal(generator, 4, len(_HEIGHTS))
    expired = 1.0 - parameters.breath
    smaller = 1.0 - _EXPIRED_CAGE * expired
    lateral, anterior, posterior = (
        (torch.tensor(curve, dtype=torch.float64) * smaller * w).tolist()
        for curve, w in zip((_LATERAL, _ANTERIOR, _POSTERIOR), wobble, strict=False)
    )
    right = _RIGHT_DOME + _EXPIRED_DOME * expired + 4.0 * float(normal(generator))
    return Cage(
        smooth_profiles(_HEIGHTS, lateral, _MEDIAL_BACK, _MEDIAL_FRONT, anterior, posterior),
        right_wider=0.01 + 0.015 * float(normal(generator)),
        dome_mm=(right, right - parameters.diaphragm_difference_mm / z_scale),
        attachment_mm=_ATTACHMENT + _EXPIRED_ATTACHMENT * expired,
    )


def cavity(cage: Cage, points: Points) -> Cavity:
    """Where points stand in the rib cage; the top of the lungs closes it, below it runs on into the abdomen."""
    lateral, medial_back, medial_front, anterior, posterior = cage.profiles.at(points.z)
    half_depth = (anterior - posterior) / 2
    front = (points.y - (anterior + posterior) / 2) / half_depth
    forward = (0.5 + front).clamp(0.0, 1.0)
    medial = torch.lerp(medial_back.expand_as(forward), medial_front.expand_as(forward), forward)
    half_width = (lateral - medial) / 2
    across = ((points.x * (1.0 - cage.right_wider * points.x.sign())).abs() - (lateral + medial) / 2) / half_width
    u, v = across.abs(), front.abs()
    level = (u.pow(_SQUARENESS) + v.pow(_SQUARENESS)).pow(1.0 / _SQUARENESS)
    slope = ((u / half_width) ** 2 + (v / half_depth) ** 2).sqrt() + 1e-6
    distance = level * (level - 1.0) / slope
    return Cavity(level, front, torch.maximum(distance, points.z - (_HEIGHTS[-1] - 1.0)))


def above_diaphragm(cage: Cage, points: Points, place: Cavity) -> Tensor:
    """Distance below the diaphragm's upper surface, mm: negative above it, where lung is."""
    right, left = cage.dome_mm
    saddle = (right + left) / 2 - _SADDLE_BELOW
    bump = torch.exp(-(((points.x.abs() - _DOME_X) / 46.0) ** 2))
    side = left + (right - left) * (0.5 + points.x / 50.0).clamp(0.0, 1.0)
    top = saddle + (side - saddle) * bump
    top = top + _TILT * place.front.clamp(-1.0, 0.5)
    wall = cage.attachment_mm + _ATTACHMENT_SLOPE * place.front
    # the domes stand forward of the middle: the level is raised behind and lowered in front
    level = (place.level - _FORWARD * place.front).clamp(0.0, 1.0)
    fall = level**_FLAT_TOP
    dome = (1.0 - fall).clamp_min(1e-4)
    height = wall + (top - wall) * dome**_STEEP_EDGE
    steep = (top - wall) * _STEEP_EDGE * _FLAT_TOP * level ** (_FLAT_TOP - 1) / dome ** (1 - _STEEP_EDGE) / 95.0
    return (height - points.z) / (1.0 + steep * steep).sqrt()


def wall_points(cage: Cage, side: Tensor, angle_rad: Tensor, z_mm: Tensor, outside_mm: Tensor | float) -> Tensor:
    """Points on the cage wall: (..., 3) mm.

    Args:
        cage: the rib cage.
        side: +1 right, -1 left.
        angle_rad: 0 at the back, pi/2 at the side, pi in front, seen from inside each half.
        z_mm: heights.
        outside_mm: distance outside the wall.
    """
    lateral, _, _, anterior, posterior = cage.profiles.at(z_mm)
    middle = (anterior + posterior) / 2
    right, forward = angle_rad.sin(), -angle_rad.cos()
    hub = 0.30 * lateral
    near, far = torch.zeros_like(z_mm), torch.full_like(z_mm, 260.0)
    for _ in range(18):  # bisection to 1 micrometre
        radius = (near + far) / 2
        place = cavity(cage, Points(side * (hub + radius * right), middle + radius * forward, z_mm))
        inside = place.level < 1.0
        near, far = torch.where(inside, radius, near), torch.where(inside, far, radius)
    radius = near + outside_mm
    return torch.stack([side * (hub + radius * right), middle + radius * forward, z_mm], dim=-1)

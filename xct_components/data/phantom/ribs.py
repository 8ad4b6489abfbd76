"""Twelve pairs of ribs with their cartilage, on the wall of the cage, and the breastbone in front."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from xct_components.data.phantom.cage import Cage, wall_points
from xct_components.data.phantom.parameters import ThoraxParameters
from xct_components.data.phantom.randomness import detail, normal
from xct_components.data.phantom.spine import Spine, rib_head_heights_mm
from xct_components.data.phantom.tubes import Tubes, joined, tubes_along

# Per rib 1-12 (general anatomy): descent from the head to the bony end at full inspiration, mm, the angle of that end
# (90 = side, 180 = front), half height of the bone, mm, and where the cartilage meets the sternum (height, mm) or ends (angle).
_DESCENT = (38.0, 50.0, 60.0, 69.0, 77.0, 83.0, 88.0, 88.0, 82.0, 74.0, 54.0, 32.0)
_END_DEG = (146.0, 150.0, 151.0, 150.0, 147.0, 143.0, 137.0, 129.0, 120.0, 108.0, 78.0, 50.0)
_HALF_HEIGHT = (6.5, 5.8, 5.6, 5.8, 6.0, 6.2, 6.2, 6.0, 5.8, 5.4, 4.8, 4.2)
_STERNAL_HEIGHT = (82.0, 56.0, 34.0, 14.0, -4.0, -19.0, -30.0)
_MARGIN_DEG = {7: 152.0, 8: 143.0, 9: 130.0}
#: The gutter beside the spine where the neck of the rib meets the wall, degrees.
_NECK_DEG = 3.0
#: Middle of the rib outside the pleura, mm; thickness over height of a rib.
_OUTSIDE_MM, _FLATNESS = 5.5, 0.46
_KNOTS = 22
#: Ribs hang lower at resting expiration by this share of their descent.
_EXPIRED_DESCENT = 0.14

# Breastbone: height and depth in front of the cage's wall, half width, mm.
_STERNUM = (
    (92.0, 25.0), (84.0, 27.0), (70.0, 22.0), (58.0, 16.0), (54.0, 14.0), (40.0, 14.0), (20.0, 16.0), (0.0, 18.0),
    (-18.0, 18.0), (-32.0, 14.0), (-42.0, 8.0), (-58.0, 5.0),
)  # fmt: skip


@dataclass(frozen=True)
class RibCage:
    """Tubes in reference mm: bone and cartilage; the sternum as a strip of flat tubes."""

    ribs: Tubes
    cartilage: Tubes
    sternum: Tubes


def build_rib_cage(parameters: ThoraxParameters, cage: Cage, spine: Spine) -> RibCage:
    """Ribs from the spine around the cage, each followed by its cartilage."""
    generator = detail(parameters.seed, "ribs")
    descent = torch.tensor(_DESCENT, dtype=torch.float64) * (1.0 + _EXPIRED_DESCENT * (1.0 - parameters.breath))
    descent = descent * (1.0 + 0.03 * normal(generator, 1)) + 1.2 * normal(generator, 2, 12)
    side = torch.tensor([1.0, -1.0], dtype=torch.float64)[:, None, None]
    share = torch.linspace(0.0, 1.0, _KNOTS, dtype=torch.float64)
    end = torch.tensor(_END_DEG, dtype=torch.float64) + 1.5 * normal(generator, 2, 12)
    angle = (_NECK_DEG + (end[..., None] - _NECK_DEG) * share) * (math.pi / 180.0)
    # steepest at the side, level near the head
    fallen = 0.05 + 0.95 * (share + 0.28 * (1.5 * share**2 - share**3 - 0.5 * share) * 2.0)
    z = rib_head_heights_mm()[:, None] - descent[..., None] * fallen
    on_wall = wall_points(cage, side, angle, z, _OUTSIDE_MM)
    heads = _heads(spine, side[..., 0])
    knots = torch.cat([heads, on_wall], dim=-2)
    outward = torch.cat([_outward(angle[..., :1], side).expand(-1, -1, 2, -1), _outward(angle, side)], dim=-2)
    radii = torch.tensor(_HALF_HEIGHT, dtype=torch.float64)[None, :, None].expand(2, 12, _KNOTS + 2)
    ribs = tubes_along(knots, radii, _perpendicular(outward, knots), _FLATNESS)
    return RibCage(ribs, _cartilage(cage, side[..., 0], angle[..., -1], z[..., -1]), _sternum(cage))


def _heads(spine: Spine, side: Tensor) -> Tensor:
    """(2, 12, 2, 3): where a rib touches its vertebra, and its tubercle on the transverse process."""
    z = rib_head_heights_mm().expand(2, 12)
    y, _, _, half_width, half_depth = spine.profiles.at(z)
    head = torch.stack([side * (half_width + 2.0), y - half_depth * 0.7, z], dim=-1)
    tubercle = torch.stack([side * (half_width + 19.0), y - half_depth - 21.0, z - 1.0], dim=-1)
    return torch.stack([head, tubercle], dim=-2)


def _outward(angle: Tensor, side: Tensor) -> Tensor:
    return torch.stack([side * angle.sin(), -angle.cos().expand_as(side * angle), torch.zeros_like(side * angle)], dim=-1)


def _perpendicular(direction: Tensor, knots: Tensor) -> Tensor:
    """``direction`` made perpendicular to the curve through (..., n, 3) knots, unit length."""
    step = torch.nn.functional.normalize(torch.diff(knots, dim=-2), dim=-1)
    step = torch.cat([step, step[..., -1:, :]], dim=-2)
    return torch.nn.functional.normalize(direction - (direction * step).sum(-1, keepdim=True) * step, dim=-1)


def _cartilage(cage: Cage, side: Tensor, end_rad: Tensor, end_z: Tensor) -> Tubes:
    """From the bony ends to the sternum (1-7) or to the cartilage above (8-10)."""
    share = torch.linspace(0.0, 1.0, 9, dtype=torch.float64)
    parts = []
    for rib in range(10):
        if rib < len(_STERNAL_HEIGHT):
            target_rad, target_z = math.radians(174.0), torch.full_like(end_z[:, rib], _STERNAL_HEIGHT[rib])
        else:
            target_rad = math.radians(_MARGIN_DEG[rib])
            target_z = end_z[:, rib - 1] + (-34.0 - end_z[:, rib - 1]) * 0.35
        angle = torch.lerp(end_rad[:, rib, None], torch.full_like(end_rad[:, rib, None], target_rad), share)
        straight = torch.lerp(end_z[:, rib, None], target_z[:, None], share)
        sag = 0.25 * (target_z - end_z[:, rib])[:, None] * (share - share**2)
        knots = wall_points(cage, side, angle, straight - sag.clamp_min(0.0) * 2.0, _OUTSIDE_MM + 0.5)
        parts.append(tubes_along(knots, torch.tensor(5.2, dtype=torch.float64)))
    return joined(*parts)


def _sternum(cage: Cage) -> Tubes:
    """Three strips side by side, wide at the manubrium, tapering to the xiphoid."""
    height, half_width = (torch.tensor(column, dtype=torch.float64) for column in zip(*_STERNUM, strict=True))
    anterior = cage.profiles.at(height)[3]
    y = torch.minimum(anterior + 5.0, torch.tensor(99.0))
    strips = []
    for place in (-0.55, 0.0, 0.55):
        knots = torch.stack([place * half_width, y - 2.0 * abs(place), height], dim=-1)
        forward = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64).expand_as(knots)
        strips.append((knots, (0.5 * half_width).clamp_min(4.0), _perpendicular(forward, knots)))
    knots, radii, thin = (torch.stack(parts) for parts in zip(*strips, strict=True))
    return tubes_along(knots, radii, thin, 0.55)

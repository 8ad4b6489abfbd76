"""The vertebral column as one field: a level counts vertebrae along the curved axis, everything repeats with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from xct_components.data.phantom.body_frame import HALF_SPINE_MM, REFERENCE_KYPHOSIS_DEG, sagitta_mm
from xct_components.data.phantom.profiles import Profiles, smooth_profiles
from xct_components.data.phantom.shapes import Points, ellipse_distance

#: Vertebra with its disc, C5 to L3, mm. General anatomy, held against two series: bodies 17-19 mm high from T2 to T9 (Egwu,
#: J Anat Soc India 2019;68:110), discs of 2.7 mm at T4-5 and 5.4 mm at T10-11 in men (Fletcher, doi 10.1007/s00586-015-3925-y).
_PITCHES = (16.5, 16.5, 17.0, 18.5, 19.5, 20.0, 20.5, 21.0, 21.5, 22.0, 22.5, 23.5, 25.0, 26.5, 28.5, 31.0, 33.0, 34.0)
_FIRST_THORACIC = 3
#: Upper edge of T1 and the middle of the thoracic curve, mm.
_T1_TOP, _MIDDLE_Y = 138.0, -56.0
# Half width and half depth of the bodies, and half height of the bone as a share of the pitch.
_SIZE_HEIGHTS = (-190.0, -131.0, -60.0, 0.0, 60.0, 130.0, 190.0)
_HALF_WIDTH = (23.0, 20.5, 17.0, 15.0, 14.0, 15.0, 13.0)
_HALF_DEPTH = (17.0, 16.0, 15.5, 14.5, 12.5, 9.5, 8.5)
_BONE_SHARE = 0.42


class SpineDistances(NamedTuple):
    """Distances to the parts of the column, mm."""

    body: Tensor
    disc: Tensor
    arch: Tensor
    canal: Tensor


@dataclass(frozen=True)
class Spine:
    """Axis and vertebrae over height: y of the body centres, its slope, level count, pitch, half width, half depth."""

    profiles: Profiles


def build_spine() -> Spine:
    """The reference column: 44 degrees of kyphosis; a person's own bend is in the body frame."""
    edges = torch.tensor(_PITCHES, dtype=torch.float64).cumsum(0)
    below_top = torch.cat([torch.zeros(1, dtype=torch.float64), edges])
    edge_heights = (_T1_TOP + below_top[_FIRST_THORACIC] - below_top).flip(0)
    levels = torch.arange(len(below_top), dtype=torch.float64).flip(0)
    heights = torch.linspace(-280.0, 280.0, 141, dtype=torch.float64)
    sagitta = sagitta_mm(REFERENCE_KYPHOSIS_DEG)
    # parabola in the thorax, straight on above and below
    bent = (heights.abs().clamp(max=HALF_SPINE_MM) / HALF_SPINE_MM) ** 2
    beyond = (heights.abs() - HALF_SPINE_MM).clamp_min(0.0) * 0.18
    y = _MIDDLE_Y + sagitta * bent + beyond
    slope = torch.gradient(y, spacing=4.0)[0]
    axis = smooth_profiles(heights.tolist(), y.tolist(), slope.tolist())
    count = smooth_profiles(edge_heights.tolist(), levels.tolist(), smoothing_mm=3.0)
    size = smooth_profiles(_SIZE_HEIGHTS, _HALF_WIDTH, _HALF_DEPTH)
    return Spine(Profiles(torch.cat([axis.table, count.table, size.table], dim=1)))


def rib_head_heights_mm() -> Tensor:
    """Height of the twelve rib heads: at the upper edge of their vertebra, mm."""
    edges = torch.tensor((0.0, *_PITCHES), dtype=torch.float64).cumsum(0)
    tops = _T1_TOP + edges[_FIRST_THORACIC] - edges[_FIRST_THORACIC : _FIRST_THORACIC + 12]
    return tops - 2.0


def spine_distances(spine: Spine, points: Points) -> SpineDistances:
    """Distances to bodies, discs, arches with their processes, and the canal."""
    y, slope, _, half_width, half_depth = spine.profiles.at(points.z)
    q = points.y - y
    level, pitch = _level(spine, points.z + q * slope)
    up = (0.5 - level.remainder(1.0)) * pitch  # mm above the middle of the vertebra
    waist = 1.5 * (1.0 - (up / (0.42 * pitch)) ** 2).clamp(0.0, 1.0)
    trunk = ellipse_distance(points.x, q, half_width, half_depth)
    bone = up.abs() - _BONE_SHARE * pitch
    body = torch.maximum(trunk + waist, bone)
    disc = torch.maximum(trunk + 0.5, -bone)
    canal = ellipse_distance(points.x, q + half_depth + 8.5, 10.0, 8.0)
    return SpineDistances(body, disc, _arch(spine, points, -(q + half_depth), canal, up=up, pitch=pitch), canal)


def _arch(spine: Spine, points: Points, behind: Tensor, canal: Tensor, *, up: Tensor, pitch: Tensor) -> Tensor:
    """Laminae, transverse and spinous processes; ``behind`` is in mm behind the body."""
    side = points.x.abs()
    ring = torch.maximum(canal - 5.0, 0.6 - canal)
    lamina = torch.maximum(ring, torch.maximum((up + 0.06 * pitch).abs() - 0.36 * pitch, -behind + 1.0))
    # transverse processes run outwards, back and up from the pedicles
    transverse = ((up - 2.0 - 0.08 * (side - 14.0)) ** 2 + (behind - 11.0 - 0.55 * (side - 12.0)) ** 2).sqrt() - 4.6
    transverse = torch.maximum(transverse, side - 33.0)
    transverse = torch.maximum(transverse, 9.0 - side)
    # spinous processes slope down by most of a vertebra
    lower_level, lower_pitch = _level(spine, points.z + 0.75 * (behind - 16.0).clamp(0.0, 40.0))
    lower = (0.5 - lower_level.remainder(1.0)) * lower_pitch
    spinous = torch.maximum(side - 2.3, (lower + 1.0).abs() - 0.24 * lower_pitch)
    spinous = torch.maximum(spinous, torch.maximum(14.0 - behind, behind - 44.0))
    return torch.minimum(torch.minimum(lamina, transverse), spinous)


def _level(spine: Spine, z_mm: Tensor) -> tuple[Tensor, Tensor]:
    """Number of the vertebra, counted downwards with its fraction, and the local pitch in mm."""
    level = spine.profiles.at(z_mm)[2]
    whole = level.floor().long().clamp(0, len(_PITCHES) - 1)
    return level, torch.tensor(_PITCHES).to(z_mm)[whole]

"""Signed distances (mm, negative inside) to simple bodies, and the share of a voxel that lies inside.

All functions take coordinates as tensors that broadcast against each other, so that a straight grid stays three short axes.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

#: Keeps a division by the length of a gradient finite at the middle of a body.
TINY = 1e-6


class Points(NamedTuple):
    """Coordinates in mm: ``x`` to the patient's right, ``y`` anterior, ``z`` superior; they broadcast."""

    x: Tensor
    y: Tensor
    z: Tensor


class Ellipsoid(NamedTuple):
    """Centre and half axes in mm; ``axes`` holds the three directions as rows (unit vectors)."""

    center: tuple[float, float, float]
    radii: tuple[float, float, float]
    axes: tuple[tuple[float, float, float], ...] = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


def occupancy(distance_mm: Tensor, edge_mm: float) -> Tensor:
    """Share of a voxel inside the body: 1 to 0 over ``edge_mm``, a half at the surface."""
    return (0.5 - distance_mm / edge_mm).clamp_(0.0, 1.0)


def sheet_occupancy(distance_mm: Tensor, thickness_mm: float, edge_mm: float) -> Tensor:
    """Share of a voxel taken by a sheet thinner than a voxel around distance 0; its thickness is preserved."""
    return (1.0 - distance_mm.abs() / edge_mm).clamp_(0.0, 1.0) * min(1.0, thickness_mm / edge_mm)


def smooth_min(a: Tensor, b: Tensor, radius_mm: float) -> Tensor:
    """Union of two bodies whose seam is filleted over ``radius_mm``."""
    share = (0.5 + 0.5 * (b - a) / radius_mm).clamp(0.0, 1.0)
    return torch.lerp(b, a, share) - radius_mm * share * (1.0 - share)


def smooth_max(a: Tensor, b: Tensor, radius_mm: float) -> Tensor:
    """Intersection of two bodies whose edge is rounded over ``radius_mm``."""
    return -smooth_min(-a, -b, radius_mm)


def ellipsoid_distance(points: Points, body: Ellipsoid) -> Tensor:
    """Distance to an ellipsoid, exact on the surface and to first order near it."""
    offsets = [coordinate - middle for coordinate, middle in zip(points, body.center, strict=True)]
    level: Tensor | float = 0.0
    slope: Tensor | float = 0.0
    for axis, radius in zip(body.axes, body.radii, strict=True):
        parts = [offset * share for offset, share in zip(offsets, axis, strict=True) if share != 0.0]
        along = sum(parts[1:], parts[0]) / radius
        square = along * along
        level, slope = level + square, slope + square / radius**2
    return first_order_distance(torch.as_tensor(level).sqrt(), torch.as_tensor(slope).sqrt())


def first_order_distance(level: Tensor, slope: Tensor) -> Tensor:
    """Distance to ``level`` = 1 of a norm, where ``slope`` is the norm of the coordinates divided by their squared radii."""
    return level * (level - 1.0) / (slope + TINY)


def ellipse_distance(u_mm: Tensor, v_mm: Tensor, u_radius_mm: Tensor | float, v_radius_mm: Tensor | float) -> Tensor:
    """Distance to an ellipse (a cylinder) around the origin."""
    u, v = u_mm / u_radius_mm, v_mm / v_radius_mm
    return first_order_distance((u * u + v * v).sqrt(), ((u / u_radius_mm) ** 2 + (v / v_radius_mm) ** 2).sqrt())


def polyline_distance(points: Points, knots_mm: Tensor, radii_mm: Tensor) -> Tensor:
    """Distance to a tube along (n, 3) knots with (n,) radii, straight and tapering between them."""
    nearest: Tensor | None = None
    knots, radii = knots_mm.tolist(), radii_mm.tolist()
    for start, end, radius, next_radius in zip(knots, knots[1:], radii, radii[1:], strict=False):
        distance = _capsule_distance(points, start, end, radius, next_radius)
        nearest = distance if nearest is None else torch.minimum(nearest, distance)
    if nearest is None:
        raise ValueError(f"knots_mm must hold at least two points, got {len(knots)}; a tube needs a beginning and an end")
    return nearest


def _capsule_distance(points: Points, start: list[float], end: list[float], radius: float, next_radius: float) -> Tensor:
    step = [b - a for a, b in zip(start, end, strict=True)]
    offset = [coordinate - a for coordinate, a in zip(points, start, strict=True)]
    length2 = sum(s * s for s in step) + TINY
    share = (
        sum((o * (s / length2) for o, s in zip(offset[1:], step[1:], strict=True)), offset[0] * (step[0] / length2))
    ).clamp(0.0, 1.0)
    x, y, z = (o - share * s for o, s in zip(offset, step, strict=True))
    return (x * x + y * y + z * z).sqrt() - (radius + share * (next_radius - radius))

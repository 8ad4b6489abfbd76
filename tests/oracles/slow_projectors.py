"""Float64 twins of the projector, one ray at a time: Siddon's exact radiological path and Joseph's interpolation."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def siddon(mu: Array, voxel_from_world: Array, origin_mm: Array, direction: Array) -> float:
    """Sum of voxel value x exact chord in the voxel (Siddon, Med Phys 1985;12:252) along a whole line.

    Args:
        mu: (D, H, W), constant within each voxel.
        voxel_from_world: 4x4.
        origin_mm: (3,) any point of the line, RAS mm.
        direction: (3,) unit vector.
    """
    start = voxel_from_world[:3, :3] @ origin_mm + voxel_from_world[:3, 3]
    step = voxel_from_world[:3, :3] @ direction  # voxels per mm
    crossings: list[float] = []
    for axis, count in enumerate(mu.shape):
        if abs(step[axis]) > 1e-14:
            crossings += [(edge - 0.5 - start[axis]) / step[axis] for edge in range(count + 1)]
    total = 0.0
    for entry, leave in itertools.pairwise(sorted(crossings)):
        voxel = np.floor(start + (entry + leave) / 2 * step + 0.5).astype(int)
        if all(0 <= i < n for i, n in zip(voxel, mu.shape, strict=True)):
            total += float(mu[tuple(voxel)]) * (leave - entry)
    return total


def joseph(mu: Array, voxel_from_world: Array, origin_mm: Array, direction: Array, depth_axis: int) -> float:
    """Bilinear value where the ray crosses each slice x path between slices (Joseph, IEEE TMI 1982;1:192), 0 outside."""
    start = voxel_from_world[:3, :3] @ origin_mm + voxel_from_world[:3, 3]
    step = voxel_from_world[:3, :3] @ direction
    a, b = (axis for axis in range(3) if axis != depth_axis)
    total = 0.0
    for k in range(mu.shape[depth_axis]):
        point = start + (k - start[depth_axis]) / step[depth_axis] * step
        i, j = int(np.floor(point[a])), int(np.floor(point[b]))
        for di, dj in itertools.product((0, 1), (0, 1)):
            if 0 <= i + di < mu.shape[a] and 0 <= j + dj < mu.shape[b]:
                index = [0, 0, 0]
                index[depth_axis], index[a], index[b] = k, i + di, j + dj
                weight = (1 - abs(point[a] - i - di)) * (1 - abs(point[b] - j - dj))
                total += weight * float(mu[tuple(index)])
    return total / abs(step[depth_axis])

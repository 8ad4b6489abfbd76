"""Anti-aliased resampling of a straight CT: each voxel is the mean of the linearly interpolated CT over its own box.

So integrals over the volume, and line integrals along the axes, stay what they were, whether voxels grow or shrink. The mean
factorises into one sparse matrix per axis; a volume is made level by level, and needs no more memory than itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int16

from xct_components.data.prepare.canonical_ct import CanonicalCt
from xct_components.geometry import VolumeGrid
from xct_components.physics.attenuation import AIR_HU


def resampled(ct: CanonicalCt, center_hdw: Sequence[float], target: VolumeGrid) -> Int16[np.ndarray, "d h w"]:
    """The CT on a canonical grid around ``center_hdw``; air where the CT does not reach.

    Args:
        ct: the CT.
        center_hdw: middle of the target as a (H, D, W) index of the CT's voxels.
        target: a ``VolumeGrid.chest``; its own position is not looked at, so that equal voxels give equal results wherever
            the scanner's origin lies.

    Returns:
        (D, H, W) whole HU.
    """
    from scipy.sparse import csr_matrix

    depth, rows, cols = target.shape
    (w_h, w_d, w_w), windows = _all_weights(ct, center_hdw, target)
    across_d, across_w = csr_matrix(w_d.astype(np.float32)), csr_matrix(w_w.astype(np.float32))
    source = ct.hu[windows[0], windows[1], windows[2]]
    volume = np.full((depth, rows, cols), AIR_HU, dtype=np.int16)
    along_d: dict[int, Any] = {}
    for row, weights in enumerate(w_h.astype(np.float32)):
        used = np.nonzero(weights)[0].tolist()
        along_d = {s: along_d[s] if s in along_d else across_d @ _above_air(source[s]) for s in used}
        if len(used):
            level = np.add.reduce([weights[s] * along_d[s] for s in used])  # (depth, source columns)
            volume[:, row] = np.rint((across_w @ np.ascontiguousarray(level.T)).T + np.float32(AIR_HU))
    return volume


def halved(volume: Int16[np.ndarray, "d h w"]) -> Int16[np.ndarray, "d2 h2 w2"]:
    """Means of 2 x 2 x 2 voxels, rounded to whole HU (ties to even, so that rounding does not drift)."""
    depth, rows, cols = (n // 2 for n in volume.shape)
    sums = volume.reshape(depth, 2, rows, 2, cols, 2).sum(axis=(1, 3, 5), dtype=np.int32)
    return np.rint(sums / 8.0).astype(np.int16)


def box_weights(count: int, voxels_per_box: float, first_edge: float, boxes: int) -> Float[np.ndarray, "boxes count"]:
    """Weights of ``count`` samples in the means of their linear interpolation over consecutive boxes.

    Args:
        count: samples, at the indices 0 ... count - 1; beyond the outermost ones the line falls to 0 within one sample, as
            it does for the projector, so every sample weighs the same.
        voxels_per_box: length of a box, in samples.
        first_edge: where the first box begins, as an index.
        boxes: number of boxes.

    Returns:
        (boxes, count) float64; a row sums to 1 where its box lies between the outermost samples.
    """
    edges = first_edge + voxels_per_box * np.arange(boxes + 1)
    t = edges[:, None] - np.arange(count)
    integral_of_hat = (np.clip(t, -1.0, 0.0) + 1.0) ** 2 / 2 + np.clip(t, 0.0, 1.0) - np.clip(t, 0.0, 1.0) ** 2 / 2
    weights = np.diff(integral_of_hat, axis=0) / voxels_per_box
    weights[np.abs(weights) < 1e-9] = 0.0  # differences of equal integrals
    return weights


def _all_weights(ct: CanonicalCt, center_hdw: Sequence[float], target: VolumeGrid) -> tuple[list[np.ndarray], list[slice]]:
    """For H, D and W: the weights of the samples that count, and which samples these are."""
    matrices, windows = [], []
    for axis, target_axis in enumerate((1, 0, 2)):
        per_box = target.spacing_mm[target_axis] / ct.grid.spacing_mm[axis]
        boxes = target.shape[target_axis]
        weights = box_weights(ct.hu.shape[axis], per_box, center_hdw[axis] - boxes * per_box / 2, boxes)
        used = np.nonzero(weights.any(axis=0))[0]
        window = slice(int(used[0]), int(used[-1]) + 1) if len(used) else slice(0, 1)
        matrices.append(weights[:, window])
        windows.append(window)
    return matrices, windows


def _above_air(level: np.ndarray) -> np.ndarray:
    """Float32 HU relative to air, so that what lies outside the CT is 0."""
    return level.astype(np.float32) - np.float32(AIR_HU)

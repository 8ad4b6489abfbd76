"""Letterbox bands, collimator shutters and frames at the edges of a film."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32

#: A row or column belongs to a border if nine tenths of it lie within this share of the film's range of grey values, and that
#: at one of its ends: black or white.
FLAT_SHARE = 0.03
#: Of each line the lowest and highest twentieth do not count: letters and dust.
IGNORED = 0.05
#: No border takes more than this share of a side.
MOST_SHARE = 0.45


def borderless(pixels: Float32[np.ndarray, "rows cols"]) -> tuple[slice, slice]:
    """Rows and columns that are left once black and white bands at the four edges are gone.

    Args:
        pixels: a film, any range of grey values.
    """
    rows, cols = pixels.shape
    box = [0, rows, 0, cols]
    for _ in range(4):  # a band can hide behind another: white shutters within a black letterbox
        before = list(box)
        inside = pixels[box[0] : box[1], box[2] : box[3]]
        low, high = float(inside.min()), float(inside.max())
        for axis in (0, 1):
            flat = _flat_lines(pixels[box[0] : box[1], box[2] : box[3]], axis, low, high)
            first, last = _leading(flat), _leading(flat[::-1])
            most = int(MOST_SHARE * pixels.shape[axis])
            box[2 * axis] = min(box[2 * axis] + first, most)
            box[2 * axis + 1] = max(box[2 * axis + 1] - last, pixels.shape[axis] - most)
        if box == before:
            break
    return slice(box[0], box[1]), slice(box[2], box[3])


def _flat_lines(pixels: np.ndarray, axis: int, low: float, high: float) -> np.ndarray:
    """Whether each row (axis 0) or column (axis 1) is plain black or white."""
    tolerance = FLAT_SHARE * max(high - low, 1e-6)
    least, most = np.quantile(pixels, (IGNORED, 1.0 - IGNORED), axis=1 - axis)
    return np.asarray((most <= low + tolerance) | (least >= high - tolerance))


def _leading(flags: np.ndarray) -> int:
    """How many flags are set before the first that is not; 0 if all are."""
    unset = np.flatnonzero(~flags)
    return int(unset[0]) if unset.size else 0

"""A CT in blocks of about 3 mm: fine enough to find the body and the lungs, a hundred times smaller."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int16

from xct_components.data.prepare.canonical_ct import CanonicalCt

#: Wished edge of a block; slices thicker than this stay as they are.
BLOCK_MM = 3.0


@dataclass(frozen=True)
class CoarseCt:
    """Mean HU of blocks of voxels.

    Args:
        hu: (h, d, w) float32; the last block along an axis may hold fewer voxels.
        steps: voxels per block along each axis.
        spacing_mm: size of a block.
    """

    hu: Float32[np.ndarray, "h d w"]
    steps: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]

    @property
    def block_ml(self) -> float:
        """Volume of a block."""
        return float(np.prod(self.spacing_mm)) / 1000.0


def coarse_ct(ct: CanonicalCt) -> CoarseCt:
    """Block means of a CT."""
    spacing_mm = ct.grid.spacing_mm
    steps_h, steps_d, steps_w = (
        max(1, min(count, round(BLOCK_MM / mm))) for count, mm in zip(ct.hu.shape, spacing_mm, strict=True)
    )
    rows, cols = np.arange(0, ct.hu.shape[1], steps_d), np.arange(0, ct.hu.shape[2], steps_w)
    sizes = np.diff([*rows, ct.hu.shape[1]])[:, None] * np.diff([*cols, ct.hu.shape[2]])
    starts = range(0, ct.hu.shape[0], steps_h)
    coarse = np.empty((len(starts), *sizes.shape), dtype=np.float32)
    for target, start in zip(coarse, starts, strict=True):
        slab = ct.hu[start : start + steps_h]
        summed = np.add.reduceat(np.add.reduceat(slab.sum(axis=0, dtype=np.int32), rows, axis=0), cols, axis=1)
        target[:] = summed / (sizes * len(slab))
    h, d, w = (step * mm for step, mm in zip((steps_h, steps_d, steps_w), spacing_mm, strict=True))
    return CoarseCt(coarse, (steps_h, steps_d, steps_w), (h, d, w))


def with_air_outside(
    hu: Int16[np.ndarray, "h d w"], keep: Bool[np.ndarray, "ch cd cw"], steps: tuple[int, int, int], air_hu: int
) -> Int16[np.ndarray, "h d w"]:
    """A copy of the voxels in which every block that is not kept is air."""
    cleaned = np.empty_like(hu)
    for block, mask in enumerate(keep):
        fine = mask.repeat(steps[1], axis=0)[: hu.shape[1]].repeat(steps[2], axis=1)[:, : hu.shape[2]]
        slab = slice(block * steps[0], (block + 1) * steps[0])
        cleaned[slab] = np.where(fine, hu[slab], np.int16(air_hu))
    return cleaned

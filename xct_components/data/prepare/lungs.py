"""The lungs in a coarse CT: air enclosed by the body, without windpipe and bowel gas, split into right and left."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from xct_components.data.prepare.coarse_ct import CoarseCt

#: Aerated lung and gas are below this.
AERATED_HU = -400.0
#: Free gas (windpipe, stomach, bowel) is below this in the middle; even emphysematous lung holds vessels and walls.
GAS_HU = -965.0
#: The windpipe and main bronchi: cross-sections in one axial level up to this size, mostly below this HU, near the midline.
AIRWAY_CM2, AIRWAY_HU, MIDLINE_MM = 9.0, -940.0, 45.0
#: A part of the lungs holds at least this share of the largest part; less is a lone bubble of gas.
SMALLEST_PART = 0.02
#: Less aerated lung than this is not a chest CT (a litre is a small adult's expiration).
LEAST_LUNG_ML = 300.0
#: One lung is missing (collapsed, drowned, removed) if it holds less than this share of both.
MISSING_SHARE = 0.08


@dataclass(frozen=True)
class Lungs:
    """Aerated lung in blocks of a coarse CT.

    Args:
        right: mask of the patient's right lung.
        left: mask of the left one.
    """

    right: Bool[np.ndarray, "h d w"]
    left: Bool[np.ndarray, "h d w"]

    @property
    def both(self) -> np.ndarray:
        """Mask of both lungs."""
        return self.right | self.left

    @property
    def one_is_missing(self) -> bool:
        """Whether one side holds hardly any aerated lung."""
        sizes = int(self.right.sum()), int(self.left.sum())
        return min(sizes) < MISSING_SHARE * sum(sizes)


def find_lungs(coarse: CoarseCt, body: Bool[np.ndarray, "h d w"]) -> Lungs | None:
    """The lungs inside ``body``; None if there is too little aerated lung for a chest CT.

    Fluid and collapsed lung are not aerated, hence not included.
    """
    from scipy import ndimage

    aerated = (coarse.hu < AERATED_HU) & body & ~_open_air(coarse, body)
    aerated = _without_airways(aerated, coarse, body)
    parts, count = ndimage.label(aerated)
    if count == 0:
        return None
    lungs = _lung_parts(parts, count, coarse)
    if float(lungs.sum()) * coarse.block_ml < LEAST_LUNG_ML:
        return None
    return _split(lungs, body)


def _open_air(coarse: CoarseCt, body: np.ndarray) -> np.ndarray:
    """Air of the rim around the body: connected in an axial level with what lies outside it."""
    from scipy import ndimage

    thin = coarse.hu < AERATED_HU
    outside = ~body
    return np.stack([ndimage.binary_propagation(o & t, mask=t) if o.any() else o for o, t in zip(outside, thin, strict=True)])


def _without_airways(aerated: np.ndarray, coarse: CoarseCt, body: np.ndarray) -> np.ndarray:
    """Drop small, dark, central cross-sections; lung tips are small too, but grey and to the side."""
    from scipy import ndimage

    kept = aerated.copy()
    midline = float(np.median(np.nonzero(body)[2]))
    area_cm2 = coarse.spacing_mm[1] * coarse.spacing_mm[2] / 100.0
    for level, hu in zip(kept, coarse.hu, strict=True):
        parts, count = ndimage.label(level)
        if count == 0:
            continue
        numbers = np.arange(1, count + 1)
        sizes = np.bincount(parts.ravel(), minlength=count + 1)[1:] * area_cm2
        darkest = ndimage.minimum(hu, parts, numbers)
        aside_mm = np.abs(np.asarray(ndimage.center_of_mass(level, parts, numbers))[:, 1] - midline) * coarse.spacing_mm[2]
        airway = (sizes <= AIRWAY_CM2) & (np.asarray(darkest) < AIRWAY_HU) & (aside_mm < MIDLINE_MM)
        level[np.isin(parts, numbers[airway])] = False
    return kept


def _lung_parts(parts: np.ndarray, count: int, coarse: CoarseCt) -> np.ndarray:
    """Large parts that are not free gas."""
    from scipy import ndimage

    numbers = np.arange(1, count + 1)
    sizes = np.bincount(parts.ravel(), minlength=count + 1)[1:]
    large = numbers[sizes >= SMALLEST_PART * sizes.max()]
    middles = np.asarray(ndimage.median(coarse.hu, parts, large))
    wanted = large[middles > GAS_HU]
    biggest = sizes[wanted - 1].max(initial=0)
    return np.isin(parts, [part for part in wanted if sizes[part - 1] >= SMALLEST_PART * biggest])


def _split(lungs: np.ndarray, body: np.ndarray) -> Lungs:
    """Right and left: each voxel belongs to the nearer of the two largest parts that erosion separates."""
    from scipy import ndimage

    core = lungs
    midline = float(np.median(np.nonzero(body)[2]))
    for _ in range(4):
        parts, count = ndimage.label(core)
        sizes = np.bincount(parts.ravel(), minlength=count + 1)
        sizes[0] = 0
        first, second = np.argsort(sizes)[::-1][:2] if count > 1 else (0, 0)
        if count > 1 and sizes[second] > 0.2 * sizes[first]:
            right, left = sorted((first, second), key=lambda part: float(np.nonzero(parts == part)[2].mean()))
            if np.nonzero(parts == right)[2].mean() < midline < np.nonzero(parts == left)[2].mean():
                apart = ~np.isin(parts, [right, left])
                nearest = ndimage.distance_transform_edt(apart, return_distances=False, return_indices=True)
                is_right = parts[tuple(nearest)] == right
                return Lungs(lungs & is_right, lungs & ~is_right)
        core = ndimage.binary_erosion(core)
    is_right = np.arange(lungs.shape[2]) < midline
    return Lungs(lungs & is_right, lungs & ~is_right)

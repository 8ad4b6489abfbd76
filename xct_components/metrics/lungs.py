"""The lungs of a CT by threshold and shape: the same rule for a true and for a predicted volume, and no weights."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Bool, Float

#: Aerated lung and gas are below this, skin and walls above. One threshold for both: between two of them the blurred skin of a
#: smooth prediction would count as lung.
AERATED_HU = -500.0
#: The windpipe in an axial level: at most so large, darker than this somewhere, and this near the midline.
AIRWAY_CM2, AIRWAY_HU, MIDLINE_MM = 9.0, -900.0, 45.0
#: A part that holds less than this share of the largest part is no lung: bowel gas, air in a fold.
SMALLEST_PART = 0.1
#: Vessels up to this radius belong to the lung.
CLOSING_MM = 3.0
#: Lungs that touch are taken apart where the neck between them is thinner than this.
WIDEST_NECK_MM = 20.0
#: A part lies on one side if this share of it does; a core holds this share of the largest one.
ON_ONE_SIDE, SMALLEST_CORE = 0.8, 0.2

Spacing = tuple[float, float, float]
_Mask = Bool[np.ndarray, "d h w"]


def lungs_of(ct_hu: Float[np.ndarray, "d h w"], body: _Mask, spacing_mm: Spacing) -> tuple[_Mask, _Mask]:
    """Right and left lung: air enclosed by the body, without windpipe, closed by 3 mm.

    Args:
        ct_hu: axes P, I, L.
        body: the patient, cavities included.
        spacing_mm: of the voxels.

    Returns:
        Masks of the patient's right and left lung; empty where there is none.
    """
    from scipy import ndimage

    midline = float(np.median(np.nonzero(body)[2])) if body.any() else 0.0
    aerated = body & (ct_hu < AERATED_HU)
    aerated &= ~_airways(aerated, ct_hu, midline, spacing_mm)
    parts, count = ndimage.label(aerated)
    if count == 0:
        return aerated, aerated.copy()
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    lungs = (sizes >= SMALLEST_PART * sizes.max())[parts]
    right, left = _sides(lungs, midline, spacing_mm)
    return _closed(right, spacing_mm) & body & ~left, _closed(left, spacing_mm) & body & ~right


def _airways(aerated: np.ndarray, hu: np.ndarray, midline: float, spacing_mm: Spacing) -> np.ndarray:
    """Small, dark, central cross-sections of single axial levels."""
    from scipy import ndimage

    in_level = ndimage.generate_binary_structure(3, 1)
    in_level[:, [0, 2]] = False
    parts, count = ndimage.label(aerated, in_level)
    numbers = np.arange(1, count + 1)
    if count == 0:
        return aerated
    area_cm2 = np.bincount(parts.ravel(), minlength=count + 1)[1:] * spacing_mm[0] * spacing_mm[2] / 100.0
    aside_mm = np.abs(ndimage.mean(np.broadcast_to(np.arange(hu.shape[2]), hu.shape), parts, numbers) - midline) * spacing_mm[2]
    darkest = ndimage.minimum(hu, parts, numbers)
    airway = (area_cm2 <= AIRWAY_CM2) & (aside_mm < MIDLINE_MM) & (darkest < AIRWAY_HU)
    return np.concatenate([[False], airway])[parts]


def _sides(lungs: np.ndarray, midline: float, spacing_mm: Spacing) -> tuple[np.ndarray, np.ndarray]:
    """Eroded until no large part lies on both sides; each voxel goes with the nearest part. Else the midline cuts."""
    from scipy import ndimage

    on_right = np.broadcast_to(np.arange(lungs.shape[2]) < midline, lungs.shape)
    core = lungs
    for _ in range(math.ceil(WIDEST_NECK_MM / 2.0 / min(spacing_mm)) + 1):
        parts, _ = ndimage.label(core)
        sizes = np.bincount(parts.ravel())
        sizes[0] = 0
        share_right = np.bincount(parts.ravel(), weights=on_right.ravel()) / np.maximum(sizes, 1)
        large = sizes >= max(1.0, SMALLEST_CORE * float(sizes.max()))
        sided = large & ((share_right > ON_ONE_SIDE) | (share_right < 1.0 - ON_ONE_SIDE))
        rights = sided & (share_right > 0.5)
        if rights.any() and (sided & ~rights).any() and sided.sum() == large.sum():
            is_right = rights[parts[_nearest(sided[parts], spacing_mm)]]
            return lungs & is_right, lungs & ~is_right
        core = ndimage.binary_erosion(core, border_value=1)
    return lungs & on_right, lungs & ~on_right


def _nearest(mask: np.ndarray, spacing_mm: Spacing) -> tuple[np.ndarray, ...]:
    """Indices of the nearest True of every voxel."""
    from scipy import ndimage

    return tuple(ndimage.distance_transform_edt(~mask, spacing_mm, return_distances=False, return_indices=True))


def _closed(mask: np.ndarray, spacing_mm: Spacing) -> np.ndarray:
    """Closing by a diamond; nothing is closed against the faces of the field, nor lost there."""
    from scipy import ndimage

    steps = max(1, round(CLOSING_MM / min(spacing_mm)))
    grown = ndimage.binary_dilation(mask, iterations=steps)
    return ndimage.binary_erosion(grown, iterations=steps, border_value=1) | mask

"""Where the cascade's field of 320 mm lies in a patient, and what the CT does not fill of it.

The middle of the field is, in the patient's axes:
    right-left           the middle of both lungs' bounding box (of the body's, at that level, if one lung is missing)
    superior-inferior    the middle of the lungs' bounding box: from the apices to the lowest recess that is aerated
    anterior-posterior   the middle of the body between its front and back, at the level of the lungs
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool

from xct_components.data.prepare.canonical_ct import CanonicalCt
from xct_components.data.prepare.coarse_ct import CoarseCt
from xct_components.data.prepare.lungs import Lungs
from xct_components.geometry import VolumeGrid

#: Edge of the cube that the volumes of 64, 128 and 256 voxels fill.
FIELD_MM = 320.0
#: The full-size volume is taller: 604 rows of 0.625 mm.
FULL_SHAPE, FULL_SPACING_MM = (512, 604, 512), 0.625
#: Sides of the field in the order of the tensor's axes (D, H, W), low index first.
SIDES = (("anterior", "posterior"), ("superior", "inferior"), ("right", "left"))

Box = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]


def box_of(mask: Bool[np.ndarray, "h d w"]) -> Box:
    """First and behind-last index of a mask along each axis."""
    ends = []
    for axis in range(3):
        inside = np.nonzero(mask.any(axis=tuple(i for i in range(3) if i != axis)))[0]
        ends.append((int(inside.min()), int(inside.max()) + 1))
    h, d, w = ends
    return h, d, w


def thorax_center(coarse: CoarseCt, body: Bool[np.ndarray, "h d w"], lungs: Lungs) -> tuple[float, float, float]:
    """The middle of the field as a (H, D, W) index of the CT's voxels: a whole or half number."""
    (top, bottom), _, (right, left) = box_of(lungs.both)
    _, (front, back), (body_right, body_left) = box_of(body[top:bottom])
    if lungs.one_is_missing:
        right, left = body_right, body_left
    h, d, w = (
        (low + high) * step / 2 - 0.5
        for (low, high), step in zip(((top, bottom), (front, back), (right, left)), coarse.steps, strict=True)
    )
    return h, d, w


def cascade_grid(ct: CanonicalCt, center_hdw: Sequence[float], size: int) -> VolumeGrid:
    """The cube of 320 mm in ``size`` voxels along each edge, canonical orientation."""
    return VolumeGrid.chest((size, size, size), FIELD_MM / size, _world(ct, center_hdw))


def full_grid(ct: CanonicalCt, center_hdw: Sequence[float]) -> VolumeGrid:
    """The full-size lattice around the same middle."""
    return VolumeGrid.chest(FULL_SHAPE, FULL_SPACING_MM, _world(ct, center_hdw))


def gaps_mm(ct: CanonicalCt, center_hdw: Sequence[float]) -> dict[str, float]:
    """For each side of the field: how many mm of it lie beyond the CT; negative if the CT reaches further."""
    gaps = {}
    for (low, high), axis in zip(SIDES, (1, 0, 2), strict=True):
        spacing_mm, count = ct.grid.spacing_mm[axis], ct.hu.shape[axis]
        gaps[low] = round(FIELD_MM / 2 - (center_hdw[axis] + 0.5) * spacing_mm, 1)
        gaps[high] = round(FIELD_MM / 2 - (count - 0.5 - center_hdw[axis]) * spacing_mm, 1)
    return gaps


def _world(ct: CanonicalCt, center_hdw: Sequence[float]) -> list[float]:
    affine = ct.grid.affine.numpy()
    return (affine[:3, :3] @ np.asarray(center_hdw) + affine[:3, 3]).tolist()

"""A CT as preparation works on it: whole HU, axes straight along the patient, the same from whichever file format it came."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int16
from torch import Tensor

from xct_components.geometry import VolumeGrid
from xct_components.physics.attenuation import AIR_HU

#: Tensor axes: superior to inferior, anterior to posterior, right to left. So scanners store slices, rows and columns.
AXES = "IPL"
#: File formats round positions differently (float32, decimal text); here they are whole multiples of these.
POSITION_STEPS_PER_MM, SPACING_STEPS_PER_MM = 1 << 7, 1 << 16
#: Off-axis parts of a direction up to this are header noise: at most 0.1 mm at the rim of a 320 mm field.
STRAIGHT_COSINE = 5e-4
#: Slices interpolated at once when an oblique CT is straightened.
SLAB = 16

_OPPOSITE = dict(zip("RLAPSI", "LRPAIS", strict=True))


@dataclass(frozen=True)
class CanonicalCt:
    """Whole HU and where they lie.

    Args:
        hu: (H, D, W) int16, contiguous.
        grid: its lattice; the axes run I, P and L, exactly along the patient.
        voxels_sha256: fingerprint of the CT before it was straightened: its HU in this order and its shape.
        oblique_degrees: how far the file's axes (gantry tilt included) were from the patient's; 0 if nothing was interpolated.
    """

    hu: Int16[np.ndarray, "h d w"]
    grid: VolumeGrid
    voxels_sha256: str
    oblique_degrees: float


def canonical_ct(ct_hu: Float[Tensor, "1 1 s r c"], grid: VolumeGrid) -> CanonicalCt:
    """The CT in canonical axes; equal for every file format and voxel order that the same CT was stored in.

    Args:
        ct_hu: (1, 1, S, R, C) HU as a reader gives them; rounded to whole HU.
        grid: where the voxels lie.
    """
    order, flipped = _axes(grid.axis_codes)
    stored = ct_hu[0, 0].numpy().transpose(order)
    stored = stored[tuple(slice(None, None, -1 if flip else 1) for flip in flipped)]
    hu = np.empty(stored.shape, dtype=np.int16)
    limits = np.iinfo(np.int16)
    for target, source in zip(hu, stored, strict=True):
        np.clip(np.rint(source), limits.min, limits.max, out=target, casting="unsafe")
    digest = hashlib.sha256(str(hu.shape).encode())
    digest.update(hu.data)
    affine = _reordered(grid, order, flipped)
    off_axis = _off_axis_cosine(affine)
    if off_axis > STRAIGHT_COSINE:
        hu, affine = _straightened(hu, affine)
    straight = np.diag([0.0, 0.0, 0.0, 1.0])
    for axis, world in enumerate((2, 1, 0)):
        straight[world, axis] = affine[world, axis]
    straight[:3, 3] = affine[:3, 3]
    degrees = float(np.rad2deg(np.arcsin(min(1.0, off_axis)))) if off_axis > STRAIGHT_COSINE else 0.0
    return CanonicalCt(hu, VolumeGrid.from_affine(hu.shape, straight), digest.hexdigest(), round(degrees, 2))


def _axes(codes: str) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    """For each canonical axis: the stored axis along it, and whether that runs the other way."""
    order = tuple(next(i for i, code in enumerate(codes) if code in (axis, _OPPOSITE[axis])) for axis in AXES)
    return order, tuple(codes[i] != axis for i, axis in zip(order, AXES, strict=True))


def _reordered(grid: VolumeGrid, order: tuple[int, ...], flipped: tuple[bool, ...]) -> np.ndarray:
    """4x4 affine of the reordered voxels, in whole steps of position and spacing."""
    stored = grid.affine.numpy()
    affine = np.eye(4)
    affine[:3, 3] = stored[:3, 3]
    for axis, (source, flip) in enumerate(zip(order, flipped, strict=True)):
        step = _snapped(stored[:3, source], SPACING_STEPS_PER_MM)
        affine[:3, axis] = -step if flip else step
        if flip:
            affine[:3, 3] += step * (grid.shape[source] - 1)
    affine[:3, 3] = _snapped(affine[:3, 3], POSITION_STEPS_PER_MM)
    return affine


def _snapped(values: np.ndarray, steps_per_mm: int) -> np.ndarray:
    """Whole multiples; the third of a step keeps decimals and binary fractions, as headers have, off the boundaries."""
    return np.floor(np.abs(values) * steps_per_mm + 0.5 + 1 / 3) / steps_per_mm * np.sign(values)


def _off_axis_cosine(affine: np.ndarray) -> float:
    """Largest component of a voxel axis' direction along another axis of the patient."""
    cosines = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return float(max(abs(cosines[world, axis]) for axis in range(3) for world in range(3) if world != 2 - axis))


def _straightened(hu: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Trilinear on a straight lattice of the same spacings around the whole CT; outside it is air."""
    ends = np.stack(np.meshgrid(*[(0, n - 1) for n in hu.shape], indexing="ij"), -1).reshape(-1, 3)
    corners_mm = ends @ affine[:3, :3].T + affine[:3, 3]
    target = np.diag([0.0, 0.0, 0.0, 1.0])
    shape = []
    for axis, world in enumerate((2, 1, 0)):  # all three run against RAS
        spacing_mm = float(np.linalg.norm(affine[:3, axis]))
        target[world, axis] = -spacing_mm
        target[world, 3] = corners_mm[:, world].max()
        shape.append(int(np.ceil(np.ptp(corners_mm[:, world]) / spacing_mm)) + 1)
    source_from_target = torch.from_numpy(np.linalg.inv(affine) @ target)
    source = torch.from_numpy(hu).float()[None, None] - AIR_HU
    last = torch.tensor(hu.shape, dtype=torch.float64) - 1
    straight = np.empty(shape, dtype=np.int16)
    for first in range(0, shape[0], SLAB):
        rows = torch.arange(first, min(first + SLAB, shape[0]), dtype=torch.float64)
        index = torch.stack(
            torch.meshgrid(rows, torch.arange(shape[1]).double(), torch.arange(shape[2]).double(), indexing="ij"), -1
        )
        places = 2 * (index @ source_from_target[:3, :3].T + source_from_target[:3, 3]) / last - 1
        slab = F.grid_sample(source, places.flip(-1).float()[None], align_corners=True)[0, 0] + AIR_HU
        straight[first : first + SLAB] = slab.round().to(torch.int16).numpy()
    return straight, target

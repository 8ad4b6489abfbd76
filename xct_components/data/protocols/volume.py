"""The volume that a published protocol scores, made from a CT as its authors made it, with the affine that they lost.

Their arrays are corner-aligned: ``scipy.ndimage.zoom`` keeps the first and the last voxel where they are, so voxels are not
quite the size that is written beside them. The grids here say where the voxels really lie.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from xct_components.data.protocols.protocol import STORED_AT_ZERO_HU, Anchor, Protocol
from xct_components.geometry import VolumeGrid
from xct_components.geometry.vectors import Vector3, is_positive, shifted

_OPPOSITE = dict(zip("LRPASI", "RLAPIS", strict=True))


@dataclass(frozen=True, eq=False)
class ProtocolVolume:
    """One CT under a published protocol.

    Args:
        volume: what predictions are compared with: float32 (1, 1, d, h, w) in [0, 1].
        grid: where its voxels lie in the patient.
        stored: the array between the two resizing steps (HU + 1024), which the films were rendered from.
        stored_grid: where its voxels lie in the patient.
        film_grid: where the DRR tool was told they lie: straight axes, and the spacings of the file that it read.
        film_isocenter_mm: RAS position that the tool was told is the middle of the volume.
    """

    volume: Tensor
    grid: VolumeGrid
    stored: np.ndarray
    stored_grid: VolumeGrid
    film_grid: VolumeGrid
    film_isocenter_mm: Vector3


def prepare_for_protocol(
    ct_hu: Float[Tensor, "1 1 d h w"],
    grid: VolumeGrid,
    protocol: Protocol,
    *,
    body: Bool[Tensor, "1 1 d h w"] | None = None,
    slice_thickness_mm: float | None = None,
) -> ProtocolVolume:
    """``ct_hu`` as the protocol prepares it.

    Args:
        ct_hu: the CT as read, HU, any axis order and direction. Values that are not whole are rounded where the protocol
            stores whole numbers.
        grid: its grid.
        protocol: e.g. ``protocol_named("x2ct")``; ``dataclasses.replace`` fills in what its authors left open.
        body: True in the patient, where the protocol masks: what is outside becomes 0 in stored values.
        slice_thickness_mm: DICOM SliceThickness (0018,0050), which perx2ct takes for the distance of the slices; by default
            the distance itself.

    Returns:
        The scored volume and the stored one, each with its grid.

    Raises:
        ValueError: if the protocol does not state the last interpolation, a body mask is missing or not wanted, a slice
            thickness is not wanted, the grid does not fit the CT, the CT is too thin, or its values do not fit the stored type.

    Example:
        >>> from xct_components.data.protocols.protocol import PERX2CT
        >>> ct_hu = torch.full((1, 1, 30, 40, 40), -1000.0)
        >>> prepared = prepare_for_protocol(ct_hu, VolumeGrid.chest((30, 40, 40), 8.0), PERX2CT)
        >>> prepared.stored.shape, prepared.volume.shape, prepared.grid.axis_codes
        ((320, 320, 320), torch.Size([1, 1, 128, 128, 128]), 'IPL')
    """
    _require_stated(ct_hu, grid, protocol, body)
    values, at = _reoriented(_as_stored(ct_hu, body, protocol), grid, protocol.stored_axes or grid.axis_codes)
    told_mm = np.array(at.spacing_mm)
    if slice_thickness_mm is not None:
        told_mm[0] = _thickness(slice_thickness_mm, protocol)
    if protocol.spacing_mm is not None:
        values, at, told_mm = _isotropic(values, at, told_mm, protocol)
    if protocol.cube_voxels is not None:
        values, at = _cube(values, at, protocol.cube_voxels, protocol.anchors)
    volume, volume_grid = _scored(values, at, protocol)
    # The spacings were written in the order (z, y, x) where the file format wants (x, y, z).
    film_mm = told_mm[::-1].tolist() if protocol.spacing_mm is not None else told_mm.tolist()
    film_grid = _straight(at, film_mm)
    return ProtocolVolume(volume, volume_grid, values, at, film_grid, _isocenter(film_grid, film_mm[0], protocol))


def _require_stated(ct_hu: Tensor, grid: VolumeGrid, protocol: Protocol, body: Tensor | None) -> None:
    if tuple(ct_hu.shape[-3:]) != grid.shape:
        raise ValueError(
            f"grid must have the shape of ct_hu, got {grid.shape} and {tuple(ct_hu.shape[-3:])}; pass both as read"
        )
    if protocol.resize_order is None:
        raise ValueError(
            f"resize_order is not published for {protocol.name}; choose it with dataclasses.replace(protocol, resize_order=1) "
            "and state the choice beside every number"
        )
    if protocol.body_mask and body is None:
        raise ValueError(
            f"body must be given for {protocol.name}, got None; its own masks are unpublished: pass one without the table, "
            "or dataclasses.replace(protocol, body_mask=False), and state which"
        )
    if body is not None and not protocol.body_mask:
        raise ValueError(f"body must be None for {protocol.name}, which keeps the table; or replace(protocol, body_mask=True)")


def _thickness(slice_thickness_mm: float, protocol: Protocol) -> float:
    if protocol.spacing_mm is None or not is_positive(slice_thickness_mm):
        raise ValueError(
            f"slice_thickness_mm must be positive, and only where a protocol resamples to a spacing, got {slice_thickness_mm} "
            f"for {protocol.name}; leave it out"
        )
    return slice_thickness_mm


def _as_stored(ct_hu: Tensor, body: Tensor | None, protocol: Protocol) -> np.ndarray:
    """(d, h, w) HU + 1024 in the stored type, 0 outside the body."""
    values = ct_hu[0, 0].detach().cpu().numpy().astype(np.float64) + STORED_AT_ZERO_HU
    if protocol.stored_dtype == "int16":
        values = np.rint(values)
        if not np.iinfo(np.int16).min <= values.min() <= values.max() <= np.iinfo(np.int16).max:
            raise ValueError(
                f"ct_hu must fit 16 bits after adding {STORED_AT_ZERO_HU}, got {values.min():g} to {values.max():g} stored; "
                "clip metal and padding first"
            )
    if body is not None:
        values = values * body[0, 0].cpu().numpy()
    return values.astype(protocol.stored_dtype)


def _reoriented(values: np.ndarray, grid: VolumeGrid, codes: str) -> tuple[np.ndarray, VolumeGrid]:
    """The same voxels with axes in the order and direction of ``codes``: nothing is interpolated."""
    own = grid.axis_codes
    order = [next(axis for axis in range(3) if own[axis] in (code, _OPPOSITE[code])) for code in codes]
    flipped = [own[axis] != code for axis, code in zip(order, codes, strict=True)]
    old_from_new = torch.zeros(4, 4, dtype=torch.float64)
    old_from_new[3, 3] = 1.0
    for new, (old, flip) in enumerate(zip(order, flipped, strict=True)):
        old_from_new[old, new] = -1.0 if flip else 1.0
        old_from_new[old, 3] = grid.shape[old] - 1.0 if flip else 0.0
    turned = np.flip(values.transpose(order), tuple(axis for axis, flip in enumerate(flipped) if flip))
    return np.ascontiguousarray(turned), VolumeGrid.from_affine(turned.shape, grid.affine @ old_from_new)


def _isotropic(
    values: np.ndarray, grid: VolumeGrid, told_mm: np.ndarray, protocol: Protocol
) -> tuple[np.ndarray, VolumeGrid, np.ndarray]:
    """Cubic resampling to whole numbers of voxels; the third result is the spacing that the authors wrote down."""
    from scipy import ndimage

    counts = np.array(values.shape)
    wanted = np.round(counts * (told_mm / protocol.spacing_mm))
    if min(*counts, *wanted) < 2:
        raise ValueError(
            f"ct_hu must extend over two voxels along each axis, got {values.shape} of {told_mm.tolist()} mm; give a volume"
        )
    factors = wanted / counts
    values = ndimage.zoom(values, factors, order=3, mode="nearest")
    return values, _corner_aligned(grid, values.shape), told_mm / factors


def _cube(
    values: np.ndarray, grid: VolumeGrid, size: int, anchors: tuple[Anchor, Anchor, Anchor]
) -> tuple[np.ndarray, VolumeGrid]:
    """Cropped or padded with 0; padding makes the array float64, as concatenation with ``numpy.zeros`` does."""
    first = []
    for axis, anchor in enumerate(anchors):
        surplus = values.shape[axis] - size
        if surplus >= 0:
            start = surplus if anchor == "last" else surplus // 2
            values = np.take(values, range(start, start + size), axis=axis)
        else:
            start = -(-surplus // 2)
            ends = [(0, 0)] * 3
            ends[axis] = (-start, -surplus + start)
            values = np.pad(values.astype(np.float64), ends)
        first.append(start)
    affine = grid.affine
    affine[:3, 3] = grid.world_from_voxels(torch.tensor(first))
    return values, VolumeGrid.from_affine(values.shape, affine)


def _scored(values: np.ndarray, grid: VolumeGrid, protocol: Protocol) -> tuple[Tensor, VolumeGrid]:
    """Resized, clipped and scaled to [0, 1]."""
    from scipy import ndimage

    values, grid = _reoriented(values, grid, protocol.model_axes or grid.axis_codes)
    size = protocol.model_voxels
    before = [size if axis in protocol.resized_before_clip else n for axis, n in enumerate(values.shape)]
    # Single precision, like the authors' factors.
    factors = np.array(before, dtype=np.float32) / np.array(values.shape, dtype=np.float32)
    values = ndimage.zoom(values, factors, order=protocol.resize_order)
    lowest, highest = (np.float32(edge) for edge in protocol.window_stored)
    scaled = (np.clip(values, lowest, highest).astype(values.dtype) - lowest) / (highest - lowest)
    if protocol.decimals is not None:
        scaled = np.round(scaled, protocol.decimals)
    volume = torch.from_numpy(scaled.astype(np.float32))[None, None]
    volume = torch.nn.functional.interpolate(volume, (size,) * 3, mode="trilinear", align_corners=False)
    return volume, _corner_aligned(grid, before).resampled((size,) * 3)


def _corner_aligned(grid: VolumeGrid, shape: Sequence[int]) -> VolumeGrid:
    """The grid with other numbers of voxels between the same first and last voxel centres."""
    affine = grid.affine
    for axis, (old, new) in enumerate(zip(grid.shape, shape, strict=True)):
        affine[:3, axis] *= (old - 1) / (new - 1) if new > 1 else 1.0
    return VolumeGrid.from_affine(shape, affine)


def _straight(grid: VolumeGrid, spacing_mm: Sequence[float]) -> VolumeGrid:
    """A grid of these spacings around the same middle, its axes at right angles, as near as can be to the given ones."""
    left, _, right = torch.linalg.svd(grid.affine[:3, :3] / torch.tensor(grid.spacing_mm, dtype=torch.float64))
    affine = torch.eye(4, dtype=torch.float64)
    affine[:3, :3] = left @ right * torch.tensor(spacing_mm, dtype=torch.float64)
    middle = torch.tensor([(n - 1) / 2 for n in grid.shape], dtype=torch.float64)
    affine[:3, 3] = torch.tensor(grid.center_mm, dtype=torch.float64) - affine[:3, :3] @ middle
    return VolumeGrid.from_affine(grid.shape, affine)


def _isocenter(grid: VolumeGrid, slice_mm: float, protocol: Protocol) -> Vector3:
    """The middle of the volume; where its text was cut, z as the tool read it ("159.5" came as "159.": 0.5 mm less)."""
    if not protocol.films.isocenter_text_cut:
        return grid.center_mm
    z_mm = (grid.shape[0] - 1) / 2 * slice_mm
    x, y, z = (grid.affine[:3, 0] / grid.spacing_mm[0]).tolist()
    return shifted(grid.center_mm, (float(str(z_mm)[:-1]) - z_mm, (x, y, z)))

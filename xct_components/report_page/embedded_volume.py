"""A volume small enough to travel inside a page: every voxel that fits, HU in coarse steps, its affine exact."""

from __future__ import annotations

import base64
import math
import zlib
from dataclasses import dataclass

import numpy as np
import torch.nn.functional as F
from jaxtyping import Float, Int16
from torch import Tensor

from xct_components.geometry import VolumeGrid

#: The most voxels shown; finer volumes are averaged in blocks. 256³ is 17 million.
MOST_VOXELS = 20_000_000
#: The most bytes of base64; coarser steps are taken until the volume fits.
MOST_BYTES = 7_000_000
#: Beyond this a step would be seen in the narrowest window.
COARSEST_STEP_HU = 32
#: Level 4 packs 256³ in 0.3 s; level 6 takes 0.9 s and gains 4 %.
ZLIB_LEVEL = 4


@dataclass(frozen=True)
class EmbeddedVolume:
    """What the page's script unpacks.

    Args:
        header: base64 of the 352 bytes before the voxels of a NIfTI-1 file.
        voxels: base64 of the packed voxels, see ``packed``.
        shape: (D, H, W).
        spacing_mm: along D, H, W.
        step_hu: voxels hold whole multiples of it.
        block: edge of the cubes of the volume's voxels that were averaged to one; 1 for none.
    """

    header: str
    voxels: str
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    step_hu: int
    block: int


def embedded_volume(
    hu: Float[Tensor, "d h w"], grid: VolumeGrid, *, least_block: int = 1, finest_step_hu: int = 4
) -> EmbeddedVolume:
    """Pack a volume.

    Args:
        hu: the voxels.
        grid: where they lie.
        least_block: average at least so many voxels along each axis.
        finest_step_hu: the step to begin with; doubled until the volume fits.
    """
    block = least_block
    while hu.numel() / block**3 > MOST_VOXELS:
        block += 1
    block = min(block, *hu.shape)
    shown, shown_grid = _averaged(hu, grid, block)
    step = finest_step_hu
    while True:
        voxels = base64.b64encode(packed(_in_steps(shown, step))).decode("ascii")
        if len(voxels) <= MOST_BYTES or step >= COARSEST_STEP_HU:
            break
        step *= 2
    header = base64.b64encode(nifti_header(shown_grid, step)).decode("ascii")
    return EmbeddedVolume(header, voxels, shown_grid.shape, shown_grid.spacing_mm, step, block)


def packed(steps: Int16[np.ndarray, "d h w"]) -> bytes:
    """Compress what changes from plane to plane of the first axis, sign in the lowest bit; low bytes first, then high bytes.

    The first axis is the depth, along which a volume made of a film changes least: 256³ voxels take a quarter of their gzip.
    Zlib's format, which browsers unpack.
    """
    change = np.diff(steps, axis=0, prepend=np.int16(0))
    folded = ((change << 1) ^ (change >> 15)).view(np.uint16).ravel()
    low, high = (folded & 0xFF).astype(np.uint8), (folded >> 8).astype(np.uint8)
    return zlib.compress(low.tobytes() + high.tobytes(), ZLIB_LEVEL)


def nifti_header(grid: VolumeGrid, step_hu: int) -> bytes:
    """352 bytes for int16 voxels in the order of the tensor: its last axis is NIfTI's first, which the affine knows."""
    import nibabel

    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.int16)
    header.set_data_shape(grid.shape[::-1])
    affine = grid.affine.numpy()[:, [2, 1, 0, 3]]
    header.set_sform(affine, code="scanner")
    header.set_qform(affine, code="scanner")
    header.set_xyzt_units("mm")
    header.set_slope_inter(step_hu, 0)
    header["vox_offset"], header["magic"] = 352, b"n+1"
    header["descrip"] = b"SYNTHETIC CT from a film, not for diagnosis"
    return bytes(header.binaryblock) + bytes(4)


def _averaged(hu: Tensor, grid: VolumeGrid, block: int) -> tuple[Tensor, VolumeGrid]:
    """Means of cubes, and where their middles lie; what does not fill a cube at the far ends is left out."""
    if block == 1:
        return hu, grid
    small = F.avg_pool3d(hu[None, None].float(), block)[0, 0]
    affine = grid.affine.clone()
    affine[:3, 3] += affine[:3, :3].sum(dim=1) * ((block - 1) / 2)
    affine[:3, :3] *= block
    return small, VolumeGrid.from_affine(small.shape, affine)


def _in_steps(hu: Tensor, step: int) -> Int16[np.ndarray, "d h w"]:
    limit = math.floor(32767 / step)
    return (hu / step).round().clamp(-limit, limit).numpy().astype(np.int16)

"""Functions of single voxels applied to a large volume a few slices at a time, so that their temporaries stay small."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

#: Bytes of one slab: a full-size volume is 640 MB.
SLAB_BYTES = 32 << 20


def apply_in_slabs(
    function: Callable[..., Tensor], *volumes: Float[Tensor, "b c d h w"], out: Float[Tensor, "b c d h w"]
) -> Float[Tensor, "b c d h w"]:
    """``out`` = function(*volumes), voxel by voxel, without gradients.

    Args:
        function: of tensors of any shape, each voxel of the result depending on the same voxel of the arguments alone.
        volumes: its arguments, (B, C, D, H, W) each.
        out: (B, C, D, H, W) where the result is written; may be one of the volumes.

    Returns:
        ``out``.
    """
    slice_bytes = out[:, :, 0].numel() * out.dtype.itemsize
    thickness = max(1, SLAB_BYTES // max(slice_bytes, 1))
    with torch.no_grad():
        for start in range(0, out.shape[2], thickness):
            slab = slice(start, start + thickness)
            out[:, :, slab] = function(*(volume[:, :, slab] for volume in volumes))
    return out

"""A volume of one stage brought to the field of the next, where the two do not cover the same of the patient."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from xct_components.geometry import VolumeGrid

#: Fields whose edges agree to this share of a voxel are the same.
SAME_FIELD = 1e-3


def on_field(volume: Float[Tensor, "b c d h w"], grid: VolumeGrid, field: VolumeGrid) -> Float[Tensor, "b c nd nh nw"]:
    """The volume from edge to edge of ``field``, at about its own spacing; beyond its edges it goes on as it ends.

    Args:
        volume: on ``grid``; returned as it is if it already covers the field.
        grid: where its voxels lie.
        field: what the result shall cover.
    """
    same = field.resampled(grid.shape)
    if float((same.affine - grid.affine).abs().amax()) < SAME_FIELD * min(grid.spacing_mm):
        return volume
    shape = [max(1, round(mm / step)) for mm, step in zip(field.extent_mm, grid.spacing_mm, strict=True)]
    target = field.resampled(shape)
    index = torch.stack(torch.meshgrid(*(torch.arange(n) for n in shape), indexing="ij"), dim=-1)
    voxels = grid.voxels_from_world(target.world_from_voxels(index))
    places = ((2.0 * voxels + 1.0) / torch.tensor(grid.shape) - 1.0).flip(-1).to(volume)
    return F.grid_sample(volume, places[None].expand(len(volume), -1, -1, -1, -1), padding_mode="border", align_corners=False)

"""What the samples of one call share, and the network on the whole volume: in one piece or column by column."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from xct_components.geometry import VolumeGrid
from xct_components.inferers.columns import ColumnWindow
from xct_components.inferers.stage_films import StageFilms
from xct_components.networks.cascade_stage import CascadeStage
from xct_components.networks.multi_atlas import BentCts
from xct_components.networks.stage_conditions import StageConditions, VoxelConditions

#: What columns need at every step is kept from the first on if the volume has at most so many voxels.
KEPT_VOXELS = 256**3


@dataclass
class StageWork:
    """All that the chains of one call share.

    ``fields``: the volumes; ``size``: (D, H, W) with the network's padding; ``bent``: what films bent, per sample.
    """

    network: CascadeStage
    films: StageFilms
    fields: list[VolumeGrid]
    size: tuple[int, int, int]
    prior_hu: Tensor
    conditions: StageConditions
    windows: list[ColumnWindow] | None
    kept: dict[int, VoxelConditions]
    bent: list[BentCts | None]


def denoised(work: StageWork, noisy: Tensor, time: Tensor) -> Tensor:
    """The network's clean residual of the whole volume, column by column if there are any."""
    if work.windows is None:
        return work.network.denoise(noisy, time, _voxel_conditions(work, 0, None))
    clean = torch.zeros_like(noisy)
    for number, window in enumerate(work.windows):
        voxels = _voxel_conditions(work, number, (window.rows, window.cols))
        part = work.network.denoise(noisy[..., window.rows, window.cols].contiguous(), time, voxels)
        clean[..., window.rows, window.cols].add_(part.mul_(window.weight.to(part)))
    return clean


def _voxel_conditions(work: StageWork, number: int, column: tuple[slice, slice] | None) -> VoxelConditions:
    if number in work.kept:
        return work.kept[number]
    voxels = work.network.at_voxels(work.conditions, column)
    if work.size[0] * work.size[1] * work.size[2] <= KEPT_VOXELS:
        work.kept[number] = voxels
    return voxels


def cropped(volume: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """The volume without what was added at the end of its axes; a view."""
    d, h, w = shape
    return volume[..., :d, :h, :w]


def padded_volume(volume: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """The volume with its last voxels repeated at the end of its axes; itself if nothing is missing."""
    missing = [wanted - n for wanted, n in zip(shape, volume.shape[-3:], strict=True)]
    if not any(missing):
        return volume
    return F.pad(volume, (0, missing[2], 0, missing[1], 0, missing[0]), mode="replicate")


def grown(field: VolumeGrid, multiple: int) -> VolumeGrid:
    """The grid with voxels added at the end of each axis until it holds multiples of ``multiple``."""
    shape = [-(-n // multiple) * multiple for n in field.shape]
    return field if tuple(shape) == field.shape else VolumeGrid.from_affine(shape, field.affine)

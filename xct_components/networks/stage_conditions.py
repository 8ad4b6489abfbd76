"""What a stage knows before it denoises: once per film, and per part of the volume."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from xct_components.geometry import Beam, VolumeGrid
from xct_components.networks.depth_lifting import LiftedDepth
from xct_components.networks.xray_encoder import FilmFeatures

#: Rows and columns of the volume, as slices of H and W: a full-depth column above a window of the film.
Column = tuple[slice, slice]


class StageConditions(NamedTuple):
    """B samples, V films; nothing here depends on noise or diffusion time.

    ``film``: (B, V, 1, rows, cols) line integrals. ``fields``: B whole grids. ``beams``: B lists of V.
    ``features``: of the films. ``lifted``: the depth distribution, None when lifting is off. ``prior_hu``: (B, 1, D, H, W).
    ``lifted_hu``: likewise, the lifted attenuation, None when lifting is off. ``embedding``: (B, E).
    """

    film: Tensor
    fields: list[VolumeGrid]
    beams: list[list[Beam]]
    features: FilmFeatures
    lifted: LiftedDepth | None
    prior_hu: Tensor
    lifted_hu: Tensor | None
    embedding: Tensor


class VoxelConditions(NamedTuple):
    """What the denoiser is given for the whole field or a column of it; the arguments of ``HybridViTUNet``."""

    inputs: Tensor
    position: Tensor
    lifted: list[Tensor]
    embedding: Tensor
    tokens: Tensor


def joined(parts: Sequence[VoxelConditions]) -> VoxelConditions:
    """Columns of the same samples as one batch: first the first column of every sample."""
    if len(parts) == 1:
        return parts[0]
    inputs, position, lifted, embedding, tokens = zip(*parts, strict=True)
    levels = [torch.cat(level) for level in zip(*lifted, strict=True)]
    return VoxelConditions(torch.cat(inputs), torch.cat(position), levels, torch.cat(embedding), torch.cat(tokens))


def cut(volume: Tensor, column: Column | None) -> Tensor:
    """The column of a (..., D, H, W) volume; the volume itself for None."""
    return volume if column is None else volume[..., column[0], column[1]]


def cut_grids(fields: Sequence[VolumeGrid], column: Column | None) -> list[VolumeGrid]:
    """The grids of ``cut`` volumes."""
    if column is None:
        return list(fields)
    rows, cols = column
    return [
        field.crop((0, rows.start, cols.start), (field.shape[0], rows.stop - rows.start, cols.stop - cols.start))
        for field in fields
    ]


def coarser_grids(grids: Sequence[VolumeGrid], factor: int) -> list[VolumeGrid]:
    """The same fields in voxels ``factor`` times as large."""
    return [grid.resampled([n // factor for n in grid.shape]) for grid in grids]


def position_in_field(field: VolumeGrid, grid: VolumeGrid) -> Tensor:
    """(3, D, H, W) position of every voxel of ``grid`` in ``field``, -1 to 1 from edge to edge."""
    corners = field.voxels_from_world(grid.world_from_voxels(torch.tensor([[0, 0, 0], [n - 1 for n in grid.shape]])))
    first, last = ((corners + 0.5) * 2.0 / torch.tensor(field.shape) - 1.0).tolist()
    axes = [torch.linspace(a, b, n) for a, b, n in zip(first, last, grid.shape, strict=True)]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))

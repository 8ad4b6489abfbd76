"""Projection of any pose: every slice is read where the rays cross it, by bilinear interpolation, a few slices at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from xct_components.physics.separable_projection import SliceLayout, accumulation_dtype
from xct_components.physics.slice_taps import Footprint, box_width
from xct_components.physics.voxel_rays import VoxelRays

#: Bytes of sampling positions held at a time.
GRID_BYTES = 16 << 20


@dataclass(frozen=True)
class SlicePositions:
    """Where rays cross the slices: crossing of ray n with slice k = origin[n] + (k - middle) * step[n], as (x, y) in voxels.

    Args:
        origin: (R, C, 2) crossing with the middle slice, (x, y) voxel coordinates of the slice.
        step: (R, C, 2) advance per slice.
        weight: (R, C) path per slice in mm, divided by the rays per pixel.
        oversampling: rays per pixel along rows and columns.
    """

    origin: Tensor
    step: Tensor
    weight: Tensor
    oversampling: tuple[int, int]

    @classmethod
    def of(cls, rays: VoxelRays, layout: SliceLayout, footprint: Footprint) -> SlicePositions:
        """One ray through each pixel's centre, or for the area footprint enough rays to average its box (``box_width``)."""
        middle_row, middle_col = torch.tensor([[rays.middle[0]], [rays.middle[1]]], dtype=torch.float64)
        center, _ = _crossings(rays, layout, middle_row, middle_col)
        shifts = (
            _crossings(rays, layout, middle_row + 1, middle_col)[0],
            _crossings(rays, layout, middle_row, middle_col + 1)[0],
        )
        widths = torch.stack([(shifted - center).norm() for shifted in shifts])
        boxes = box_width(widths) if footprint is Footprint.AREA else torch.zeros_like(widths)
        per_pixel = _rays_for(float(boxes[0])), _rays_for(float(boxes[1]))
        rows, cols = (
            _spread_over_pixels(pixels, over, float(share))
            for pixels, over, share in zip((rays.rows, rays.cols), per_pixel, boxes / widths, strict=True)
        )
        origin, step = _crossings(rays, layout, rows, cols)
        return cls(origin, step, rays.path_mm_per_slice(rows, cols) / math.prod(per_pixel), per_pixel)

    def meet(self, layout: SliceLayout) -> bool:
        """Whether any ray comes within a voxel of the volume."""
        _, y_axis, x_axis = layout.axes
        half = (layout.shape[layout.axes[0]] - 1) / 2
        size = torch.tensor([layout.shape[x_axis], layout.shape[y_axis]], dtype=torch.float64)
        ends = torch.stack((self.origin - half * self.step, self.origin + half * self.step))
        passes = (ends.amax(0) > -1.0) & (ends.amin(0) < size)
        return bool(passes.all(-1).any())

    def grids(self, like: Tensor, shape_kyx: tuple[int, int, int]) -> Iterator[tuple[slice, Tensor]]:
        """Slabs of slices with their ``grid_sample`` positions (k, R, C, 2), in [-1, 1] from edge to edge."""
        depth, height, width = shape_kyx
        dtype = accumulation_dtype(like)
        size = torch.tensor([width, height], dtype=torch.float64)
        origin, step = ((x / size * 2).to(like.device, dtype) for x in (self.origin + 0.5, self.step))
        thickness = max(1, GRID_BYTES // (origin.numel() * dtype.itemsize))
        for start in range(0, depth, thickness):
            slab = slice(start, min(start + thickness, depth))
            offset = torch.arange(slab.start, slab.stop, device=like.device, dtype=dtype) - (depth - 1) / 2
            yield slab, torch.addcmul(origin - 1, offset[:, None, None, None], step)


@dataclass(frozen=True)
class ObliqueSum:
    """Film from volume, any pose: (S, D, H, W) -> (S, rows, cols)."""

    layout: SliceLayout
    positions: SlicePositions

    @property
    def adjoint(self) -> ObliqueSpread:
        """The transpose: film -> volume."""
        return ObliqueSpread(self.layout, self.positions)

    def __call__(self, volume: Tensor) -> Tensor:
        """Apply to (S, D, H, W); accumulates and returns float32 (float64 for float64)."""
        slices = self.layout.slices(volume).transpose(0, 1)  # (K, S, Y, X)
        depth, _, height, width = slices.shape
        film: Tensor | float = 0.0
        for slab, grid in self.positions.grids(volume, (depth, height, width)):
            film = film + F.grid_sample(slices[slab].to(grid.dtype), grid, padding_mode="zeros", align_corners=False).sum(0)
        weighted = torch.as_tensor(film) * self.positions.weight.to(volume.device, accumulation_dtype(volume))
        row_over, col_over = self.positions.oversampling
        return weighted.unflatten(2, (-1, col_over)).unflatten(1, (-1, row_over)).sum((2, 4))


@dataclass(frozen=True)
class ObliqueSpread:
    """Volume from film, any pose: (S, rows, cols) -> (S, D, H, W), the transpose of ``ObliqueSum``."""

    layout: SliceLayout
    positions: SlicePositions

    @property
    def adjoint(self) -> ObliqueSum:
        """The transpose: volume -> film."""
        return ObliqueSum(self.layout, self.positions)

    def __call__(self, film: Tensor) -> Tensor:
        """Apply to (S, rows, cols); accumulates and returns float32 (float64 for float64)."""
        dtype = accumulation_dtype(film)
        row_over, col_over = self.positions.oversampling
        fine = film.to(dtype).repeat_interleave(row_over, 1).repeat_interleave(col_over, 2)
        fine = fine * self.positions.weight.to(film.device, dtype)
        volume = film.new_empty((film.shape[0], *self.layout.shape), dtype=dtype)
        slices = self.layout.slices(volume).transpose(0, 1)  # (K, S, Y, X)
        depth, sheets, height, width = slices.shape
        for slab, grid in self.positions.grids(fine, (depth, height, width)):
            count = slab.stop - slab.start
            shape_only = fine.new_empty(1).expand(count, sheets, height, width)
            grads = fine.expand(count, *fine.shape).contiguous()
            slices[slab] = torch.ops.aten.grid_sampler_2d_backward(grads, shape_only, grid, 0, 0, False, [True, False])[0]
        return volume


def _crossings(rays: VoxelRays, layout: SliceLayout, rows: Tensor, cols: Tensor) -> tuple[Tensor, Tensor]:
    """Where rays through film rows x columns cross the middle slice, and their advance per slice: (R, C, 2) as (x, y)."""
    depth, y_axis, x_axis = layout.axes
    pixels = rays.pixels(rows, cols)
    direction = rays.directions(pixels)
    step = direction / direction[..., depth : depth + 1]
    start = rays.source[:3] if rays.source[3] else pixels
    crossing = start + ((layout.shape[depth] - 1) / 2 - start[..., depth : depth + 1]) * step
    return crossing[..., [x_axis, y_axis]], step[..., [x_axis, y_axis]]


def _rays_for(box: float) -> int:
    """Rays that average a box of so many voxels: the hat does the rest below a quarter voxel, then one a voxel, at least 2."""
    return 1 if box < 0.25 else max(2, math.ceil(box))


def _spread_over_pixels(pixels: int, over: int, share: float) -> Tensor:
    """Ray positions in pixels: ``over`` rays across the middle ``share`` of each pixel."""
    within = ((torch.arange(over, dtype=torch.float64) + 0.5) / over - 0.5) * share
    return (torch.arange(pixels, dtype=torch.float64)[:, None] + within).flatten()

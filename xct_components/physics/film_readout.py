"""Reading a film at the shadow of every voxel, for poses whose film is oblique to the voxels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from xct_components.physics.oblique_projection import GRID_BYTES
from xct_components.physics.separable_projection import accumulation_dtype
from xct_components.physics.voxel_rays import VoxelRays


@dataclass(frozen=True)
class FilmReadout:
    """Volume from film: (S, rows, cols) -> (S, D, H, W), each voxel the bilinear film value at its shadow, 0 off the film.

    Args:
        rays: the beam in voxel coordinates.
        shape: (D, H, W).
    """

    rays: VoxelRays
    shape: tuple[int, int, int]

    @property
    def adjoint(self) -> FilmCollection:
        """The transpose: volume -> film."""
        return FilmCollection(self.rays, self.shape)

    def __call__(self, film: Tensor) -> Tensor:
        """Apply to (S, rows, cols); returns float32 (float64 for float64)."""
        dtype = accumulation_dtype(film)
        volume = film.new_empty((film.shape[0], *self.shape), dtype=dtype)
        for slab, grid in self.grids(film.device, dtype):
            sheets = film.to(dtype).expand(grid.shape[0], *film.shape)
            read = F.grid_sample(sheets, grid, padding_mode="zeros", align_corners=False)
            volume[:, slab] = read.transpose(0, 1)
        return volume

    def grids(self, device: torch.device, dtype: torch.dtype) -> Iterator[tuple[slice, Tensor]]:
        """Slabs along D with the ``grid_sample`` positions (k, H, W, 2) of their voxels on the film."""
        depth, height, width = self.shape
        thickness = max(1, GRID_BYTES // (height * width * 3 * 8))
        for start in range(0, depth, thickness):
            slab = slice(start, min(start + thickness, depth))
            axes = [torch.arange(n, dtype=torch.float64, device=device) for n in (slab.stop - slab.start, height, width)]
            axes[0] += slab.start
            row, col = self._pixels(torch.stack(torch.meshgrid(*axes, indexing="ij"), -1))
            grid = torch.stack(((2 * col + 1) / self.rays.cols - 1, (2 * row + 1) / self.rays.rows - 1), -1)
            yield slab, grid.to(dtype)

    def _pixels(self, voxels: Tensor) -> tuple[Tensor, Tensor]:
        """Film (row, column) of voxel positions (..., 3): where the ray through each meets the detector plane."""
        rays, device = self.rays, voxels.device
        point_source = bool(rays.source[3])
        origin = rays.source[:3] if point_source else rays.pixel_00
        third = rays.pixel_00 - origin if point_source else rays.source[:3]
        inverse = torch.linalg.inv(torch.stack((rays.row_step, rays.col_step, third), dim=1)).to(device)
        row, col, along = ((voxels - origin.to(device)) @ inverse.T).unbind(-1)
        return (row / along, col / along) if point_source else (row, col)


@dataclass(frozen=True)
class FilmCollection:
    """Film from volume: (S, D, H, W) -> (S, rows, cols), the transpose of ``FilmReadout``."""

    rays: VoxelRays
    shape: tuple[int, int, int]

    @property
    def adjoint(self) -> FilmReadout:
        """The transpose: film -> volume."""
        return FilmReadout(self.rays, self.shape)

    def __call__(self, volume: Tensor) -> Tensor:
        """Apply to (S, D, H, W); returns float32 (float64 for float64)."""
        dtype = accumulation_dtype(volume)
        film = volume.new_zeros((volume.shape[0], self.rays.rows, self.rays.cols), dtype=dtype)
        for slab, grid in self.adjoint.grids(volume.device, dtype):
            grads = volume[:, slab].to(dtype).transpose(0, 1).contiguous()
            shape_only = film.new_empty(1).expand(grid.shape[0], *film.shape)
            film += torch.ops.aten.grid_sampler_2d_backward(grads, shape_only, grid, 0, 0, False, [True, False])[0].sum(0)
        return film

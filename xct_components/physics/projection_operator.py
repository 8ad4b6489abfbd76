"""The linear operators of one exposure: projection, and reading the film at every voxel."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

from xct_components.geometry import Beam, VolumeGrid
from xct_components.physics.film_readout import FilmReadout
from xct_components.physics.linear_operator import LinearOperator
from xct_components.physics.oblique_projection import ObliqueSum, SlicePositions
from xct_components.physics.separable_projection import SliceLayout, SliceSpread, SliceSum
from xct_components.physics.slice_taps import AxisMap, Footprint
from xct_components.physics.voxel_rays import VoxelRays

FootprintName = Literal["area", "ray"]

#: Operators of recent geometries are kept: a few kilobytes plus one float64 film each.
CACHED_OPERATORS = 16


@lru_cache(maxsize=CACHED_OPERATORS)
def projection_operator(grid: VolumeGrid, beam: Beam, footprint: FootprintName = "area") -> LinearOperator:
    """The operator (S, D, H, W) -> (S, rows, cols) of one exposure; its ``adjoint`` is the backprojection.

    For iterative solvers that need A and A^T themselves; ``project`` is the batched face of it.

    Raises:
        ValueError: for an unknown footprint, a volume outside the beam, or a source inside the volume.
    """
    kind, rays = Footprint(footprint), VoxelRays.of(beam, grid)
    plane = rays.plane_axes
    if plane is None:
        others = [axis for axis in range(3) if axis != rays.depth_axis]
        layout = _layout(grid, (rays.depth_axis, others[0], others[1]))
        positions = SlicePositions.of(rays, layout, kind)
        if not positions.meet(layout):
            raise _outside(grid, beam)
        return ObliqueSum(layout, positions)
    (y_axis, y_map), (x_axis, x_map) = sorted(_axis_maps(rays, grid, plane, kind).items())
    y_range, x_range = y_map.visible(), x_map.visible()
    if y_range == (0, 0) or x_range == (0, 0):
        raise _outside(grid, beam)
    layout = SliceLayout(grid.shape, (rays.depth_axis, y_axis, x_axis), y_range, x_range)
    path = rays.path_mm_per_slice(torch.arange(rays.rows).double(), torch.arange(rays.cols).double())
    return SliceSum(layout, y_map.restricted(*y_range), x_map.restricted(*x_range), plane[0] > plane[1], path)


@lru_cache(maxsize=CACHED_OPERATORS)
def ray_axis(grid: VolumeGrid, beam: Beam) -> int:
    """The volume axis, 0, 1 or 2 of D, H, W, that is nearest to the beam's central ray."""
    return VoxelRays.of(beam, grid).depth_axis


@lru_cache(maxsize=CACHED_OPERATORS)
def readout_operator(grid: VolumeGrid, beam: Beam) -> LinearOperator:
    """The operator (S, rows, cols) -> (S, D, H, W) that reads a film at the shadow of every voxel."""
    rays = VoxelRays.of(beam, grid)
    plane = rays.plane_axes
    if plane is None:
        return FilmReadout(rays, grid.shape)
    (y_axis, y_map), (x_axis, x_map) = sorted(_axis_maps(rays, grid, plane, Footprint.RAY).items())
    layout = _layout(grid, (rays.depth_axis, y_axis, x_axis))
    return SliceSpread(layout, y_map.inverted, x_map.inverted, plane[0] > plane[1], torch.ones((), dtype=torch.float64))


def _axis_maps(rays: VoxelRays, grid: VolumeGrid, plane: tuple[int, int], footprint: Footprint) -> dict[int, AxisMap]:
    """Volume axis -> where the film pixels along it sit in its voxels, slice by slice."""
    maps = {}
    for axis, step, pixels in zip(plane, (rays.row_step, rays.col_step), (rays.rows, rays.cols), strict=True):
        slope, intercept = _crossings(rays, axis, float(step[axis]), grid.shape[rays.depth_axis])
        maps[axis] = AxisMap(slope, intercept, grid.shape[axis], pixels, footprint)
    return maps


def _crossings(rays: VoxelRays, axis: int, step: float, slices: int) -> tuple[Tensor, Tensor]:
    """(K,) slope and intercept of the voxel coordinate along ``axis`` at which pixel n crosses slice k."""
    depth, first = rays.depth_axis, rays.pixel_00
    k = torch.arange(slices, dtype=torch.float64)
    if rays.source[3]:
        shrink = (k - rays.source[depth]) / (first[depth] - rays.source[depth])
        return step * shrink, rays.source[axis] + (first[axis] - rays.source[axis]) * shrink
    drift = rays.source[axis] / rays.source[depth]
    return torch.full_like(k, step), first[axis] + (k - first[depth]) * drift


def _layout(grid: VolumeGrid, axes: tuple[int, int, int]) -> SliceLayout:
    return SliceLayout(grid.shape, axes, (0, grid.shape[axes[1]]), (0, grid.shape[axes[2]]))


def _outside(grid: VolumeGrid, beam: Beam) -> ValueError:
    return ValueError(
        f"beams must hit the volume, got no ray through the grid centred at {grid.center_mm} mm; the film is centred at "
        f"{beam.detector_center_mm} mm: check the affine and the isocentre"
    )

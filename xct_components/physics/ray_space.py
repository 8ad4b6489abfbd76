"""Ray space: a volume seen from the film, (depth bin, film row, film column) instead of (D, H, W).

A ray is fixed by its pixel; along it, depth is counted in bins of equal thickness along the volume axis that the rays mainly
run along (anterior to posterior for a frontal film). In ray space the film is a plain sum over depth, which is what makes
"where along the ray" a categorical question.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from xct_components.geometry import Beam, VolumeGrid
from xct_components.geometry.vectors import as_tensor
from xct_components.physics.voxel_rays import VoxelRays

Views = Sequence[Sequence[Beam]]


def to_ray_space(
    volume: Float[Tensor, "#b c d h w"], grids: Sequence[VolumeGrid], beams: Views, *, bins: int, rows: int, cols: int
) -> Float[Tensor, "b v c k rows cols"]:
    """Line integrals of ``volume`` per depth bin: summed over the bins they are its film, up to interpolation.

    Args:
        volume: (B, C, D, H, W) attenuation per mm, or any density; one sample serves all if B is 1.
        grids: one per sample of the result: the whole field.
        beams: V exposures per sample; ``rows`` and ``cols`` resample them.
        bins: depth bins, edge to edge of the volume.
        rows: film rows of the result.
        cols: film columns of the result.

    Returns:
        (B, V, C, bins, rows, cols) dimensionless: value times the length of the ray within the bin; 0 outside the volume.
    """
    samples = [
        torch.stack([_to_rays(volume[min(b, volume.shape[0] - 1)], grid, beam.resampled(rows, cols), bins) for beam in views])
        for b, (grid, views) in enumerate(zip(grids, beams, strict=True))
    ]
    return torch.stack(samples)


def from_ray_space(
    rays: Float[Tensor, "b v c k rows cols"], fields: Sequence[VolumeGrid], beams: Views, grids: Sequence[VolumeGrid]
) -> Float[Tensor, "b v c d h w"]:
    """What ray space holds at the voxels of ``grids``, trilinear; 0 where a voxel is seen by no pixel.

    Args:
        rays: (B, V, C, K, rows, cols) values in ray space; the beams are resampled to these rows and columns.
        fields: one per sample: the volume whose depth the K bins divide.
        beams: V exposures per sample.
        grids: one per sample: the voxels to fill, the field itself or a part of it.
    """
    rows, cols = rays.shape[-2:]
    samples = []
    for part, field, views, grid in zip(rays, fields, beams, grids, strict=True):
        looks = [_from_rays(one, field, beam.resampled(rows, cols), grid) for one, beam in zip(part, views, strict=True)]
        samples.append(torch.stack(looks))
    return torch.stack(samples)


def _to_rays(volume: Tensor, grid: VolumeGrid, beam: Beam, bins: int) -> Tensor:
    rays = VoxelRays.of(beam, grid)
    rows, cols = (torch.arange(n, dtype=torch.float64) for n in (rays.rows, rays.cols))
    pixels = rays.pixels(rows, cols)  # (rows, cols, 3)
    direction, axis, count = rays.directions(pixels), rays.depth_axis, grid.shape[rays.depth_axis]
    depth = (torch.arange(bins, dtype=torch.float64) + 0.5) * count / bins - 0.5
    advance = (depth[:, None, None] - pixels[..., axis]) / direction[..., axis]
    points = pixels + advance[..., None] * direction  # (bins, rows, cols, 3) voxel coordinates
    path_mm = rays.path_mm_per_slice(rows, cols) * (count / bins)
    values = _read(_thinned(volume, axis, bins), points, grid.shape)
    return values * path_mm.to(values)


def _thinned(volume: Tensor, axis: int, bins: int) -> Tensor:
    """The volume averaged along the depth axis to about one slice a bin, so that no slice is skipped."""
    factor = volume.shape[axis + 1] // bins
    if factor < 2:
        return volume
    kernel = [1, 1, 1]
    kernel[axis] = factor
    return F.avg_pool3d(volume[None], kernel)[0]


def _from_rays(rays: Tensor, field: VolumeGrid, beam: Beam, grid: VolumeGrid) -> Tensor:
    axis = VoxelRays.of(beam, field).depth_axis
    world_mm = _voxel_centers_mm(grid)
    depth = (field.voxels_from_world(world_mm)[..., axis] + 0.5) * rays.shape[1] / field.shape[axis] - 0.5
    row, col = _pixel_of(beam, world_mm)
    return _read(rays, torch.stack([depth, row, col], dim=-1), (rays.shape[1], rays.shape[2], rays.shape[3]))


def _voxel_centers_mm(grid: VolumeGrid) -> Tensor:
    axes = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in grid.shape), indexing="ij")
    return grid.world_from_voxels(torch.stack(axes, dim=-1))


def _pixel_of(beam: Beam, world_mm: Tensor) -> tuple[Tensor, Tensor]:
    """(Fractional) film row and column where the ray through each point meets the detector."""
    normal, center = as_tensor(beam.normal), as_tensor(beam.detector_center_mm)
    source = beam.source_homogeneous
    direction = world_mm - source[:3] if source[3] else source[:3].expand_as(world_mm)
    hit = world_mm + direction * (((center - world_mm) @ normal) / (direction @ normal))[..., None] - center
    row = hit @ as_tensor(beam.row_direction) / beam.detector.pitch_mm[0] + (beam.detector.rows - 1) / 2
    col = hit @ as_tensor(beam.col_direction) / beam.detector.pitch_mm[1] + (beam.detector.cols - 1) / 2
    return row, col


def _read(values: Tensor, points: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """(C, A, B, C') values at (..., 3) positions in the index units of ``shape``, trilinear, 0 outside."""
    size = torch.tensor(shape, dtype=torch.float64)
    unit = ((2.0 * points + 1.0) / size - 1.0).flip(-1).to(values)  # grid_sample wants (x, y, z), edges at -1 and 1
    return F.grid_sample(values[None], unit[None], align_corners=False, padding_mode="zeros")[0]

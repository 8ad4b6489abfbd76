"""The rays of a beam as a volume sees them: in voxel indices, crossing its slices one by one."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from xct_components.geometry import Beam, VolumeGrid
from xct_components.geometry.vectors import as_tensor

#: A detector whose axes drift less than this many voxels over its whole length counts as aligned with the voxels.
ALIGNED_DRIFT_VOXELS = 1e-4
#: Rays must advance at least this many slices per voxel sideways; flatter ones would skip voxels.
FLATTEST_RAY = 0.3


@dataclass(frozen=True)
class VoxelRays:
    """Pixel positions and source in voxel coordinates (float64, CPU), and the axis whose slices the rays cross.

    Args:
        source: (4,) homogeneous voxel coordinates of the focal spot, or of the ray direction (last entry 0).
        pixel_00: (3,) voxel coordinates of the first pixel's centre.
        row_step: (3,) voxel step from one film row to the next.
        col_step: (3,) voxel step from one film column to the next.
        rows: film rows.
        cols: film columns.
        middle: (row, column) of the film where the ray perpendicular to it arrives, wherever the film is cropped.
        depth_axis: 0, 1 or 2: the volume axis along which the rays mainly run.
        voxel_steps_mm: (3, 3) the voxel axes in mm (columns), to measure lengths along rays.
    """

    source: Tensor
    pixel_00: Tensor
    row_step: Tensor
    col_step: Tensor
    rows: int
    cols: int
    middle: tuple[float, float]
    depth_axis: int
    voxel_steps_mm: Tensor

    @classmethod
    def of(cls, beam: Beam, grid: VolumeGrid) -> VoxelRays:
        """The rays of ``beam`` in the voxels of ``grid``.

        Raises:
            ValueError: if the source lies within the volume or beyond it, or rays run flat along its slices.
        """
        voxel_from_world = grid.voxel_from_world
        source = voxel_from_world @ beam.source_homogeneous
        corner = beam.pixel_centers_mm(torch.tensor([[0, 0], [1, 0], [0, 1]]))
        pixel_00, below, right = grid.voxels_from_world(corner)
        row, col = _perpendicular_pixel(beam)
        pixel = pixel_00 + row * (below - pixel_00) + col * (right - pixel_00)
        central = pixel - source[:3] if source[3] else source[:3]
        rays = cls(
            source,
            pixel_00,
            below - pixel_00,
            right - pixel_00,
            beam.detector.rows,
            beam.detector.cols,
            (row, col),
            int(central.abs().argmax()),
            grid.affine[:3, :3],
        )
        rays._check(grid)
        return rays

    @property
    def plane_axes(self) -> tuple[int, int] | None:
        """The volume axes along which film rows and columns run, if the film is aligned with the voxels; else None."""
        axes = []
        for step, count in ((self.row_step, self.rows), (self.col_step, self.cols)):
            axis = int(step.abs().argmax())
            drift = step.abs().clone()
            drift[axis] = 0.0
            if axis == self.depth_axis or float(drift.amax()) * count > ALIGNED_DRIFT_VOXELS:
                return None
            axes.append(axis)
        return (axes[0], axes[1]) if axes[0] != axes[1] else None

    def directions(self, pixels: Tensor) -> Tensor:
        """Ray directions in voxels through pixel positions (..., 3), from the source on: (..., 3)."""
        return pixels - self.source[:3] if self.source[3] else self.source[:3].expand_as(pixels)

    def pixels(self, rows: Tensor, cols: Tensor) -> Tensor:
        """Voxel coordinates of the (fractional) film rows x columns: (R,), (C,) -> (R, C, 3)."""
        return self.pixel_00 + rows[:, None, None] * self.row_step + cols[None, :, None] * self.col_step

    def path_mm_per_slice(self, rows: Tensor, cols: Tensor) -> Tensor:
        """Length of each ray between two neighbouring slices, in mm: (R, C)."""
        direction = self.directions(self.pixels(rows, cols))
        return (direction @ self.voxel_steps_mm.T).norm(dim=-1) / direction[..., self.depth_axis].abs()

    def _check(self, grid: VolumeGrid) -> None:
        axis, count = self.depth_axis, grid.shape[self.depth_axis]
        corners = self.pixels(torch.tensor([0.0, self.rows - 1.0]), torch.tensor([0.0, self.cols - 1.0])).double().reshape(4, 3)
        direction = self.directions(corners)
        if self.source[3]:
            ahead = torch.sign(corners[:, axis] - self.source[axis])
            distance = ahead[0] * (torch.tensor([-0.5, count - 0.5]).double() - self.source[axis])
            if float(distance.amin()) <= 0.0 < float(distance.amax()):
                raise ValueError(
                    f"source_mm must lie outside the volume, got a focal spot at slice {float(self.source[axis]):.1f} of "
                    f"{count} along the rays; move the source back or crop the volume"
                )
            if float(distance.amax()) <= 0.0:
                raise ValueError(
                    "beams must point at the volume, got a volume behind the focal spot; check source_mm and affine"
                )
        slope = direction[:, axis] / direction.abs().amax(dim=-1)
        if float((slope * torch.sign(slope[0])).amin()) < FLATTEST_RAY:
            raise ValueError(
                "beams must cross the volume's slices in one direction, got rays that run flat along them; "
                "use a narrower cone or resample the volume"
            )


def _perpendicular_pixel(beam: Beam) -> tuple[float, float]:
    """(row, column) below the source; the film's middle if the source is infinitely far."""
    row, col = (beam.detector.rows - 1) / 2, (beam.detector.cols - 1) / 2
    if beam.source_homogeneous[3]:
        offset = beam.source_homogeneous[:3] - as_tensor(beam.detector_center_mm)
        row += float(offset @ as_tensor(beam.row_direction)) / beam.detector.pitch_mm[0]
        col += float(offset @ as_tensor(beam.col_direction)) / beam.detector.pitch_mm[1]
    return row, col

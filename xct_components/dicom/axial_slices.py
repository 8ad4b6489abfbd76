"""A volume as the axial slices of a scanner: head first, rows to posterior, columns to the patient's left; where each lies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from xct_components.dicom.elements import decimal
from xct_components.geometry import VolumeGrid

#: Directions in which slices, rows and columns of a slice grow.
AXIAL = "IPL"
#: Cosines between two axes up to this are rounding; a DICOM series cannot say how a sheared volume lies.
PERPENDICULAR_COSINE = 1e-4

_LPS_FROM_RAS = torch.tensor([-1.0, -1.0, 1.0], dtype=torch.float64)


@dataclass(frozen=True)
class AxialSlices:
    """Slices and their place.

    Args:
        values: (slices, rows, cols).
        grid: their lattice in RAS mm.
    """

    values: Float[np.ndarray, "s r c"]
    grid: VolumeGrid

    @property
    def orientation(self) -> list[str]:
        """ImageOrientationPatient (PS3.3 C.7.6.2.1.1): the directions along a row and down a column, LPS."""
        return [decimal(float(cosine)) for axis in (2, 1) for cosine in self._step_mm(axis) / self.grid.spacing_mm[axis]]

    @property
    def pixel_spacing(self) -> list[str]:
        """PixelSpacing: mm between rows, then between columns."""
        return [decimal(mm) for mm in self.grid.spacing_mm[1:]]

    @property
    def thickness(self) -> str:
        """SliceThickness: slices touch."""
        return decimal(self.grid.spacing_mm[0])

    @property
    def positions(self) -> list[list[str]]:
        """ImagePositionPatient of each slice: the centre of its first voxel, LPS mm."""
        slices = torch.arange(len(self.values), dtype=torch.float64)
        centers_mm = self.grid.world_from_voxels(torch.stack([slices, 0 * slices, 0 * slices], dim=-1)) * _LPS_FROM_RAS
        return [[decimal(mm) for mm in center] for center in centers_mm.tolist()]

    def _step_mm(self, axis: int) -> Tensor:
        return self.grid.affine[:3, axis] * _LPS_FROM_RAS + 0.0  # no minus zero


def axial_slices(volume: Float[Tensor, "1 d h w"], grid: VolumeGrid) -> AxialSlices:
    """The slices of a volume, whichever way its axes run; nothing is interpolated.

    Args:
        volume: (1, D, H, W).
        grid: where its voxels lie.

    Raises:
        ValueError: if the axes are not perpendicular.
    """
    from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, ornt_transform

    steps = grid.affine[:3, :3] / torch.tensor(grid.spacing_mm)
    cosine = float((steps.T @ steps - torch.eye(3)).abs().max())
    if cosine > PERPENDICULAR_COSINE:
        raise ValueError(f"grid must have perpendicular axes, got a cosine of {cosine:.2g}; resample the volume first")
    turn = ornt_transform(axcodes2ornt(tuple(grid.axis_codes)), axcodes2ornt(tuple(AXIAL)))
    values = volume[0].as_subclass(Tensor).detach().cpu().float().numpy()
    affine = grid.affine.numpy() @ inv_ornt_aff(turn, values.shape)
    turned = np.ascontiguousarray(apply_orientation(values, turn))
    return AxialSlices(turned, VolumeGrid.from_affine(turned.shape, affine))

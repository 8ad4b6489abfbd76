"""Where the voxels of a volume lie in the patient."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from xct_components.geometry.fields import required
from xct_components.geometry.vectors import (
    Matrix4,
    Vector3,
    as_count,
    as_matrix4,
    as_tensor,
    as_vector3,
    is_positive,
    matrix4_from_tensor,
)

#: Smallest accepted |det| of the direction cosines; below it two voxel axes are parallel to 1e-6.
SINGULAR_COSINE = 1e-6


@dataclass(frozen=True)
class VolumeGrid:
    """The voxel lattice of a volume: how many voxels, and where each centre lies in RAS millimetres.

    Voxel centres sit at integer indices; nothing recentres the grid silently.

    Args:
        shape: voxels along the three tensor axes (D, H, W), each at least 1.
        world_from_voxel: 4x4 affine in mm; its columns are the steps of one voxel along D, H and W.

    Raises:
        ValueError: if a count is below 1, or the affine is not 4x4, finite, invertible and affine.

    Example:
        >>> grid = VolumeGrid.chest((64, 64, 64), spacing_mm=5.0)
        >>> grid.axis_codes, grid.spacing_mm
        ('PIL', (5.0, 5.0, 5.0))
    """

    shape: tuple[int, int, int]
    world_from_voxel: Matrix4

    __no_type_check__ = True  # the constructor converts and checks its arguments itself, in words a user can act on

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", _three_counts(self.shape, "shape"))
        object.__setattr__(self, "world_from_voxel", as_matrix4(self.world_from_voxel, "world_from_voxel"))
        spacing = self.spacing_mm
        if min(spacing) <= 0.0:
            raise ValueError(f"spacing_mm must be positive, got {spacing}; read the affine from the image header")
        cosine = abs(float(torch.linalg.det(self.affine[:3, :3]))) / math.prod(spacing)
        if cosine < SINGULAR_COSINE:
            raise ValueError(
                f"world_from_voxel must be invertible, got direction cosines with determinant {cosine:.1e}; "
                "two voxel axes are parallel: check the image header"
            )

    @classmethod
    def from_affine(cls, shape: Sequence[int], affine: Any) -> VolumeGrid:
        """The grid of an image: its (D, H, W) shape and its 4x4 RAS affine (tensor, array or nested list).

        For a MONAI ``MetaTensor`` pass ``volume.shape[-3:]`` and ``volume.affine``.
        """
        return cls(tuple(shape), as_matrix4(affine, "affine"))  # type: ignore[arg-type]

    @classmethod
    def chest(
        cls, shape: Sequence[int], spacing_mm: float | Sequence[float], center_mm: Sequence[float] = (0.0, 0.0, 0.0)
    ) -> VolumeGrid:
        """The project's canonical orientation "PIL": D anterior -> posterior, H superior -> inferior, W right -> left.

        Args:
            shape: (D, H, W).
            spacing_mm: one spacing, or one per axis, in mm.
            center_mm: RAS position of the middle of the grid.
        """
        steps = (spacing_mm,) * 3 if isinstance(spacing_mm, int | float) else tuple(spacing_mm)
        if len(steps) != 3 or not all(is_positive(step) for step in steps):
            raise ValueError(f"spacing_mm must be positive, got {spacing_mm}; pass one number or three, in mm")
        affine = torch.zeros(4, 4, dtype=torch.float64)
        affine[1, 0], affine[2, 1], affine[0, 2], affine[3, 3] = -steps[0], -steps[1], -steps[2], 1.0
        at_origin = cls.from_affine(shape, affine)
        affine[:3, 3] = as_tensor(as_vector3(center_mm, "center_mm")) - as_tensor(at_origin.center_mm)
        return cls.from_affine(shape, affine)

    @property
    def affine(self) -> Tensor:
        """``world_from_voxel`` as a float64 (4, 4) tensor."""
        return torch.tensor(self.world_from_voxel, dtype=torch.float64)

    @property
    def voxel_from_world(self) -> Tensor:
        """The inverse affine, float64 (4, 4): RAS mm -> voxel index."""
        return torch.linalg.inv(self.affine)

    @property
    def spacing_mm(self) -> Vector3:
        """Distance between neighbouring voxel centres along D, H and W, in mm."""
        d, h, w = (float(n) for n in self.affine[:3, :3].norm(dim=0))
        return d, h, w

    @property
    def voxel_volume_mm3(self) -> float:
        """Volume of one voxel, in mm^3 (shear included)."""
        return abs(float(torch.linalg.det(self.affine[:3, :3])))

    @property
    def center_mm(self) -> Vector3:
        """RAS position of the middle of the grid, in mm."""
        x, y, z = self.world_from_voxels(torch.tensor([[(n - 1) / 2 for n in self.shape]]))[0].tolist()
        return x, y, z

    @property
    def extent_mm(self) -> Vector3:
        """Outer size along D, H and W, from voxel edge to voxel edge, in mm."""
        d, h, w = (n * step for n, step in zip(self.shape, self.spacing_mm, strict=True))
        return d, h, w

    @property
    def axis_codes(self) -> str:
        """Direction in which each axis grows, e.g. "PIL"; nibabel's convention for oblique and sheared axes too."""
        left, _, right = torch.linalg.svd(self.affine[:3, :3] / as_tensor(self.spacing_mm))
        nearest_rotation = (left @ right).tolist()
        codes, free = ["", "", ""], [0, 1, 2]
        clearest_first = sorted(range(3), key=lambda axis: -max(abs(row[axis]) for row in nearest_rotation))
        for axis in clearest_first:
            world = max(free, key=lambda i: abs(nearest_rotation[i][axis]))
            free.remove(world)
            codes[axis] = ("RL", "AP", "SI")[world][0 if nearest_rotation[world][axis] > 0 else 1]
        return "".join(codes)

    def world_from_voxels(self, voxel_dhw: Tensor) -> Tensor:
        """RAS mm of voxel indices: (..., 3) -> (..., 3), float64."""
        return voxel_dhw.to(torch.float64) @ self.affine[:3, :3].T + self.affine[:3, 3]

    def voxels_from_world(self, world_mm: Tensor) -> Tensor:
        """Fractional voxel indices of RAS positions: (..., 3) -> (..., 3), float64."""
        inverse = self.voxel_from_world
        return world_mm.to(torch.float64) @ inverse[:3, :3].T + inverse[:3, 3]

    def crop(self, start_dhw: Sequence[int], shape: Sequence[int]) -> VolumeGrid:
        """The grid of ``volume[..., d:d+D, h:h+H, w:w+W]`` (a tile of a larger volume)."""
        ends = [start + size for start, size in zip(start_dhw, _three_counts(shape, "shape"), strict=False)]
        if len(start_dhw) != 3 or min(start_dhw) < 0 or any(end > size for end, size in zip(ends, self.shape, strict=True)):
            raise ValueError(
                f"start_dhw and shape must lie inside {self.shape}, got {tuple(start_dhw)} and {tuple(shape)}; "
                "clip the tile to the volume"
            )
        affine = self.affine
        affine[:3, 3] = self.world_from_voxels(torch.tensor([list(start_dhw)]))[0]
        return VolumeGrid.from_affine(shape, affine)

    def resampled(self, shape: Sequence[int]) -> VolumeGrid:
        """The same field of view (edge to edge) cut into another number of voxels."""
        scale = as_tensor(self.shape) / as_tensor(_three_counts(shape, "shape"))
        affine = self.affine
        affine[:3, 3] = self.world_from_voxels(((scale - 1) / 2)[None])[0]
        affine[:3, :3] = affine[:3, :3] * scale
        return VolumeGrid.from_affine(shape, affine)

    def moved(self, world_from_world: Any) -> VolumeGrid:
        """The grid after an affine motion of the patient, given as 4x4 in mm."""
        motion = as_tensor(as_matrix4(world_from_world, "world_from_world"))
        return replace(self, world_from_voxel=matrix4_from_tensor(motion @ self.affine))

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dictionary; ``from_json`` restores an equal grid."""
        return {"shape": list(self.shape), "world_from_voxel": [list(row) for row in self.world_from_voxel]}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> VolumeGrid:
        """The grid that ``to_json`` described."""
        return cls.from_affine(*required(fields, "shape", "world_from_voxel"))


def _three_counts(shape: Any, name: str) -> tuple[int, int, int]:
    if len(shape) != 3:
        raise ValueError(f"{name} must be three voxel counts, got {tuple(shape)}; pass volume.shape[-3:]")
    d, h, w = (as_count(n, name) for n in shape)
    return d, h, w

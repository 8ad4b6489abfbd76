"""An X-ray exposure: where the detector stands and where the rays come from."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from xct_components.geometry.detector import Detector
from xct_components.geometry.fields import required
from xct_components.geometry.vectors import (
    DIRECTION_TOLERANCE,
    Vector3,
    as_matrix4,
    as_tensor,
    as_vector3,
    cross,
    dot,
    require_unit,
    shifted,
)

#: A source closer to the detector plane than this (mm), or rays flatter than this (cosine), give no film.
GRAZING = 1e-3

# Not typing.Self: beartype rejects it on methods decorated one by one, as the import hook of the tests does.
AnyBeam = TypeVar("AnyBeam", bound="Beam")


@dataclass(frozen=True)
class Beam(ABC):
    """One exposure in RAS millimetres; use ``ConeBeam`` or ``ParallelBeam``.

    Args:
        detector: the pixel array.
        detector_center_mm: RAS position of the middle of the pixel array.
        row_direction: unit vector in which the row index grows (down the film).
        col_direction: unit vector in which the column index grows (to the right of the film).

    Raises:
        ValueError: if a direction is not of length 1, or the two are not perpendicular.
    """

    detector: Detector
    detector_center_mm: Vector3
    row_direction: Vector3
    col_direction: Vector3

    __no_type_check__ = True  # the constructor converts and checks its arguments itself, in words a user can act on

    def __post_init__(self) -> None:
        for name in ("detector_center_mm", "row_direction", "col_direction"):
            object.__setattr__(self, name, as_vector3(getattr(self, name), name))
        require_unit(self.row_direction, "row_direction")
        require_unit(self.col_direction, "col_direction")
        if abs(dot(self.row_direction, self.col_direction)) > DIRECTION_TOLERANCE:
            raise ValueError(
                f"row_direction and col_direction must be perpendicular, got {self.row_direction} and "
                f"{self.col_direction}; take them from the direction cosines of the image plane"
            )

    @property
    @abstractmethod
    def source_homogeneous(self) -> Tensor:
        """(4,) float64: the focal spot (x, y, z, 1) in mm, or the ray direction at infinity (x, y, z, 0)."""

    @property
    def normal(self) -> Vector3:
        """Unit normal of the detector plane, row_direction x col_direction."""
        return cross(self.row_direction, self.col_direction)

    def pixel_centers_mm(self, row_col: Tensor) -> Tensor:
        """RAS mm of (fractional) pixel indices: (..., 2) as (row, column) -> (..., 3), float64."""
        middle = torch.tensor([(self.detector.rows - 1) / 2, (self.detector.cols - 1) / 2], dtype=torch.float64)
        steps = (row_col.to(torch.float64) - middle) * as_tensor(self.detector.pitch_mm)
        directions = as_tensor([self.row_direction, self.col_direction])
        return as_tensor(self.detector_center_mm) + steps @ directions

    def pixels_of(self, world_mm: Tensor) -> Tensor:
        """Where the rays through points meet the detector: (..., 3) RAS mm -> (..., 2) fractional row and column, float64.

        The inverse of ``pixel_centers_mm`` for points on the detector. Not finite for a point whose ray never meets it.
        """
        points, source = world_mm.to(torch.float64), self.source_homogeneous
        rays = source[:3].expand_as(points) if source[3] == 0.0 else points - source[:3]
        normal, center = as_tensor(self.normal), as_tensor(self.detector_center_mm)
        along = ((center - points) @ normal) / (rays @ normal)
        on_detector = points + along[..., None] * rays - center
        steps = torch.stack([on_detector @ as_tensor(axis) for axis in (self.row_direction, self.col_direction)], dim=-1)
        middle = torch.tensor([(self.detector.rows - 1) / 2, (self.detector.cols - 1) / 2], dtype=torch.float64)
        return steps / as_tensor(self.detector.pitch_mm) + middle

    def grown(self: AnyBeam, rows: tuple[int, int], cols: tuple[int, int]) -> AnyBeam:
        """The exposure with more pixels above and below, left and right: the inverse of ``crop``."""
        if min(*rows, *cols) < 0:
            raise ValueError(f"rows and cols must be pixels to add before and after, >= 0, got {rows} and {cols}; see crop")
        detector = self.detector
        middle = torch.tensor([(detector.rows - 1 + rows[1] - rows[0]) / 2, (detector.cols - 1 + cols[1] - cols[0]) / 2])
        center = as_vector3(self.pixel_centers_mm(middle), "detector_center_mm")
        larger = Detector(detector.rows + sum(rows), detector.cols + sum(cols), detector.pitch_mm)
        return replace(self, detector=larger, detector_center_mm=center)

    def crop(self: AnyBeam, rows: slice, cols: slice) -> AnyBeam:
        """The exposure of ``film[..., rows, cols]``: the same rays, fewer pixels."""
        starts, counts = [], []
        for name, window, available in (("rows", rows, self.detector.rows), ("cols", cols, self.detector.cols)):
            start, stop, step = window.indices(available)
            if step != 1 or stop <= start:
                raise ValueError(f"{name} must be a non-empty slice of step 1 within {available} pixels, got {window}")
            starts.append(start)
            counts.append(stop - start)
        middle = torch.tensor([start + (count - 1) / 2 for start, count in zip(starts, counts, strict=True)])
        center = as_vector3(self.pixel_centers_mm(middle), "detector_center_mm")
        return replace(self, detector=Detector(counts[0], counts[1], self.detector.pitch_mm), detector_center_mm=center)

    def resampled(self: AnyBeam, rows: int, cols: int) -> AnyBeam:
        """The same exposure read out with another number of pixels over the same area."""
        return replace(self, detector=self.detector.resampled(rows, cols))

    def moved(self: AnyBeam, world_from_world: Any) -> AnyBeam:
        """The rig after a rigid motion, given as 4x4 in mm."""
        motion = as_tensor(as_matrix4(world_from_world, "world_from_world"))
        turn = motion[:3, :3]
        error = float((turn @ turn.T - torch.eye(3, dtype=torch.float64)).abs().amax())
        if error > DIRECTION_TOLERANCE or float(torch.linalg.det(turn)) < 0.0:
            raise ValueError(
                f"world_from_world must be rigid, got {motion.tolist()}; a rig can be turned and shifted, not scaled, "
                "sheared or mirrored"
            )
        return replace(self, **self._moved_fields(motion))

    def _moved_fields(self, motion: Tensor) -> dict[str, Any]:
        turn = motion[:3, :3]
        return {
            "detector_center_mm": as_vector3(turn @ as_tensor(self.detector_center_mm) + motion[:3, 3], "detector_center_mm"),
            "row_direction": as_vector3(turn @ as_tensor(self.row_direction), "row_direction"),
            "col_direction": as_vector3(turn @ as_tensor(self.col_direction), "col_direction"),
        }

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dictionary; ``Beam.from_json`` restores an equal beam."""
        return {
            "detector": self.detector.to_json(),
            "detector_center_mm": list(self.detector_center_mm),
            "row_direction": list(self.row_direction),
            "col_direction": list(self.col_direction),
        }

    @staticmethod
    def from_json(document: Mapping[str, Any]) -> Beam:
        """The beam that ``to_json`` described.

        Raises:
            ValueError: if ``kind`` is neither "cone" nor "parallel", or a field of that beam is missing.
        """
        kinds: dict[str, type[Beam]] = {"cone": ConeBeam, "parallel": ParallelBeam}
        kind = document.get("kind")
        if kind not in kinds:
            raise ValueError(f'kind must be "cone" or "parallel", got {kind!r}; write the document with to_json()')
        detector, *vectors = required(document, *(field.name for field in fields(kinds[kind])))
        return kinds[kind](Detector.from_json(detector), *vectors)


@dataclass(frozen=True)
class ConeBeam(Beam):
    """Rays from one focal spot, as in every radiography room.

    Args:
        source_mm: RAS position of the focal spot; it must stand off the detector plane.

    Example:
        >>> film = Detector(rows=64, cols=64, pitch_mm=5.625)
        >>> pa = ConeBeam(film, (0, 200, 0), (0, 0, -1), (-1, 0, 0), source_mm=(0, -1600, 0))
        >>> pa.source_to_detector_mm
        1800.0
    """

    source_mm: Vector3

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "source_mm", as_vector3(self.source_mm, "source_mm"))
        if self.source_to_detector_mm < GRAZING:
            raise ValueError(f"source_mm must stand off the detector plane, got {self.source_mm} at distance 0 mm")

    @property
    def source_homogeneous(self) -> Tensor:
        """(x, y, z, 1): the focal spot in mm."""
        return as_tensor([*self.source_mm, 1.0])

    @property
    def source_to_detector_mm(self) -> float:
        """SID: perpendicular distance from the focal spot to the detector plane, in mm."""
        return abs(dot(self.normal, shifted(self.source_mm, (-1.0, self.detector_center_mm))))

    def magnification_at(self, point_mm: Sequence[float]) -> float:
        """How much larger a structure at ``point_mm`` appears on the detector (1 at the detector).

        Raises:
            ValueError: if the point lies in the plane of the focal spot or behind it, where no ray passes.
        """
        to_point = dot(self.normal, shifted(as_vector3(point_mm, "point_mm"), (-1.0, self.source_mm)))
        to_detector = dot(self.normal, shifted(self.detector_center_mm, (-1.0, self.source_mm)))
        depth_mm = math.copysign(1.0, to_detector) * to_point
        if depth_mm < GRAZING:
            raise ValueError(
                f"point_mm must lie in front of the source, got {tuple(point_mm)} at depth {depth_mm:g} mm; "
                "give RAS millimetres on the detector's side of the focal spot"
            )
        return abs(to_detector) / depth_mm

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dictionary; ``Beam.from_json`` restores an equal beam."""
        return {"kind": "cone", **super().to_json(), "source_mm": list(self.source_mm)}

    def _moved_fields(self, motion: Tensor) -> dict[str, Any]:
        source = motion[:3, :3] @ as_tensor(self.source_mm) + motion[:3, 3]
        return {**super()._moved_fields(motion), "source_mm": as_vector3(source, "source_mm")}


@dataclass(frozen=True)
class ParallelBeam(Beam):
    """Rays that all run one way: a focal spot at infinity.

    Args:
        ray_direction: unit vector in which the X-rays travel; it must not run along the detector plane.
    """

    ray_direction: Vector3

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "ray_direction", as_vector3(self.ray_direction, "ray_direction"))
        require_unit(self.ray_direction, "ray_direction")
        if abs(dot(self.normal, self.ray_direction)) < GRAZING:
            raise ValueError(f"ray_direction must meet the detector plane, got {self.ray_direction} along the plane")

    @property
    def source_homogeneous(self) -> Tensor:
        """(x, y, z, 0): the direction in which the rays travel."""
        return as_tensor([*self.ray_direction, 0.0])

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dictionary; ``Beam.from_json`` restores an equal beam."""
        return {"kind": "parallel", **super().to_json(), "ray_direction": list(self.ray_direction)}

    def _moved_fields(self, motion: Tensor) -> dict[str, Any]:
        direction = motion[:3, :3] @ as_tensor(self.ray_direction)
        return {**super()._moved_fields(motion), "ray_direction": as_vector3(direction, "ray_direction")}

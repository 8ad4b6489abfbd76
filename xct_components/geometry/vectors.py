"""Plain, hashable vectors and matrices: what frozen geometry is made of."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

import torch
from torch import Tensor

Vector3 = tuple[float, float, float]
Row4 = tuple[float, float, float, float]
Matrix4 = tuple[Row4, Row4, Row4, Row4]

#: Directions are accepted as unit or orthogonal within this; float32 headers are off by about 1e-7.
DIRECTION_TOLERANCE = 1e-5


def as_tensor(values: Any) -> Tensor:
    """A float64 CPU tensor of a vector or matrix given as tensor, array or nested sequence."""
    if isinstance(values, Tensor):
        return values.detach().as_subclass(Tensor).to("cpu", torch.float64)
    return torch.as_tensor(values, dtype=torch.float64)


def matrix4_from_tensor(matrix: Tensor) -> Matrix4:
    """The nested tuple of a (4, 4) tensor."""
    a, b, c, d = (_row4(row) for row in matrix.tolist())
    return a, b, c, d


def as_matrix4(values: Any, name: str) -> Matrix4:
    """A validated affine as nested tuples of floats: 4x4, finite, last row (0, 0, 0, 1)."""
    matrix = _finite(values, (4, 4))
    if matrix is None:
        raise ValueError(f"{name} must be a finite 4x4 affine in mm, got {values}; read it from the image header")
    if matrix[3].tolist() != [0.0, 0.0, 0.0, 1.0]:
        raise ValueError(f"{name} must end in the row (0, 0, 0, 1), got {matrix[3].tolist()}; pass world_from_voxel")
    return matrix4_from_tensor(matrix)


def as_vector3(values: Any, name: str) -> Vector3:
    """A validated position or direction as three finite floats."""
    vector = _finite(values, (3,))
    if vector is None:
        raise ValueError(f"{name} must be three finite numbers, got {values}; pass (x, y, z) in RAS millimetres")
    x, y, z = vector.tolist()
    return x, y, z


def is_positive(value: Any) -> bool:
    """Whether ``value`` is a real number above 0 and finite."""
    return isinstance(value, Real) and 0.0 < float(value) < math.inf


def as_count(value: Any, name: str) -> int:
    """A validated number of voxels or pixels: a whole number, at least 1."""
    if not is_positive(value) or not float(value).is_integer():
        raise ValueError(f"{name} must be a whole number >= 1, got {value!r}; take it from the shape of the image")
    return int(value)


def require_unit(vector: Vector3, name: str) -> None:
    """Raise unless ``vector`` has length 1 within ``DIRECTION_TOLERANCE``."""
    length = math.sqrt(sum(x * x for x in vector))
    if abs(length - 1.0) > DIRECTION_TOLERANCE:
        raise ValueError(f"{name} must have length 1, got {vector} of length {length:.6g}; divide it by its length")


def dot(a: Vector3, b: Vector3) -> float:
    """Scalar product."""
    return sum(x * y for x, y in zip(a, b, strict=True))


def cross(a: Vector3, b: Vector3) -> Vector3:
    """Vector product."""
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]


def shifted(point_mm: Vector3, *steps: tuple[float, Vector3]) -> Vector3:
    """``point_mm`` moved by ``length_mm`` along each given direction."""
    x, y, z = point_mm
    for length_mm, direction in steps:
        x, y, z = x + length_mm * direction[0], y + length_mm * direction[1], z + length_mm * direction[2]
    return x, y, z


def _finite(values: Any, shape: tuple[int, ...]) -> Tensor | None:
    try:
        tensor = as_tensor(values)
    except (TypeError, ValueError, RuntimeError):  # None, text, ragged lists
        return None
    return tensor if tensor.shape == shape and bool(torch.isfinite(tensor).all()) else None


def _row4(row: list[float]) -> Row4:
    a, b, c, d = row
    return a, b, c, d

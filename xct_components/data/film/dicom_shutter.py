"""What a shutter or collimator leaves of a film: rectangle, circle, polygon, or several of them (PS3.3 C.7.6.11, C.8.7.3)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from xct_components.data.film.dicom_admission import code_string

#: Of each side; edges that leave less are not in pixels (some devices give mm), or wrong: they are not used.
LEAST_SHARE = 0.5
MOST_VERTICES = 1000


@dataclass(frozen=True)
class Opening:
    """The part of a film that shows the patient.

    Args:
        rows: (from, to) of its box.
        cols: likewise.
        outside: (rows, cols) of the box, True where it is covered; None if nothing is.
    """

    rows: tuple[int, int]
    cols: tuple[int, int]
    outside: np.ndarray | None = None

    def of(self, grey: np.ndarray) -> np.ndarray:
        """The box of a film, black where it is covered."""
        box = grey[slice(*self.rows), slice(*self.cols)]
        if self.outside is None:
            return box
        return np.where(self.outside, box[~self.outside].min(), box)


def opening(dataset: Any, shape: tuple[int, int]) -> Opening | None:
    """The opening of the shutter, or else of the collimator, or None where the tags give none that can be meant.

    Args:
        dataset: the film's tags.
        shape: rows and columns of its pixels.
    """
    for kind in ("Shutter", "Collimator"):
        shapes = [code_string(name) for name in _several(dataset.get(f"{kind}Shape"))]
        found = [part for part in _parts(dataset, kind, shapes, shape) if part is not None]
        if not found:
            continue
        inside = np.logical_and.reduce(found)
        whole = _box(inside)
        if whole is not None:
            return whole
    return None


def _parts(dataset: Any, kind: str, shapes: list[str], shape: tuple[int, int]) -> Iterator[np.ndarray | None]:
    if "RECTANGULAR" in shapes:
        yield _rectangle(dataset, kind, shape)
    if "CIRCULAR" in shapes:
        yield _circle(dataset, kind, shape)
    if "POLYGONAL" in shapes:
        yield _polygon(dataset, kind, shape)


def _rectangle(dataset: Any, kind: str, shape: tuple[int, int]) -> np.ndarray | None:
    names = ("UpperHorizontal", "LowerHorizontal", "LeftVertical", "RightVertical")
    edges = [dataset.get(f"{kind}{name}Edge") for name in names]
    if any(edge is None for edge in edges):
        return None
    top, bottom, left, right = (int(edge) for edge in edges)
    inside = np.zeros(shape, bool)
    inside[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)] = True
    return inside


def _circle(dataset: Any, kind: str, shape: tuple[int, int]) -> np.ndarray | None:
    center = _several(dataset.get(f"CenterOfCircular{kind}"))
    radius = dataset.get(f"RadiusOfCircular{kind}")
    if len(center) != 2 or radius is None:
        return None
    row, col, radius = float(center[0]) - 1.0, float(center[1]) - 1.0, float(radius)  # the first pixel is (1, 1)
    rows, cols = np.ogrid[: shape[0], : shape[1]]
    return np.asarray((rows - row) ** 2 + (cols - col) ** 2 <= radius**2)


def _polygon(dataset: Any, kind: str, shape: tuple[int, int]) -> np.ndarray | None:
    from skimage.draw import polygon2mask

    numbers = [float(number) for number in _several(dataset.get(f"VerticesOfThePolygonal{kind}"))]
    if not 6 <= len(numbers) <= 2 * MOST_VERTICES or len(numbers) % 2:
        return None
    return np.asarray(polygon2mask(shape, np.array(numbers).reshape(-1, 2) - 1.0), bool)


def _several(value: Any) -> list[Any]:
    return [] if value is None else [value] if isinstance(value, str | int | float) else list(value)


def _box(inside: np.ndarray) -> Opening | None:
    """The box around what is inside; None if it leaves too little."""
    rows, cols = (np.flatnonzero(inside.any(axis)) for axis in (1, 0))
    if len(rows) <= LEAST_SHARE * inside.shape[0] or len(cols) <= LEAST_SHARE * inside.shape[1]:
        return None
    ends = [(int(index[0]), int(index[-1]) + 1) for index in (rows, cols)]
    covered = ~inside[slice(*ends[0]), slice(*ends[1])]
    return Opening(ends[0], ends[1], covered if covered.any() else None)

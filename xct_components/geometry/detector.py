"""The pixel lattice of a flat detector."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xct_components.geometry.fields import required
from xct_components.geometry.vectors import as_count, is_positive


@dataclass(frozen=True)
class Detector:
    """A flat pixel array: how many pixels, and how far apart their centres are.

    Args:
        rows: pixels from top to bottom of the film, at least 1.
        cols: pixels from left to right of the film, at least 1.
        pitch_mm: distance between pixel centres on the detector, in mm: one number, or (row pitch, column pitch).

    Raises:
        ValueError: if a count is below 1 or a pitch is not positive and finite.

    Example:
        >>> Detector(rows=512, cols=512, pitch_mm=0.7).size_mm
        (358.4, 358.4)
    """

    rows: int
    cols: int
    pitch_mm: tuple[float, float]

    __no_type_check__ = True  # the constructor converts and checks its arguments itself, in words a user can act on

    if TYPE_CHECKING:  # a type checker reads the field's type; what may be passed is wider

        def __init__(self, rows: int, cols: int, pitch_mm: float | Sequence[float]) -> None: ...

    def __post_init__(self) -> None:
        for name in ("rows", "cols"):
            object.__setattr__(self, name, as_count(getattr(self, name), name))
        pitch: Any = self.pitch_mm
        pair = tuple(pitch) if isinstance(pitch, Iterable) else (pitch, pitch)
        if len(pair) != 2 or not all(is_positive(p) for p in pair):
            raise ValueError(
                f"pitch_mm must be positive, got {self.pitch_mm}; read ImagerPixelSpacing (row, column) from the header"
            )
        object.__setattr__(self, "pitch_mm", (float(pair[0]), float(pair[1])))

    @property
    def size_mm(self) -> tuple[float, float]:
        """Outer height and width of the pixel array, in mm."""
        return self.rows * self.pitch_mm[0], self.cols * self.pitch_mm[1]

    def resampled(self, rows: int, cols: int) -> Detector:
        """The same area cut into another number of pixels."""
        height_mm, width_mm = self.size_mm
        return Detector(rows, cols, (height_mm / as_count(rows, "rows"), width_mm / as_count(cols, "cols")))

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dictionary; ``from_json`` restores an equal detector."""
        return {"rows": self.rows, "cols": self.cols, "pitch_mm": list(self.pitch_mm)}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Detector:
        """The detector that ``to_json`` described."""
        return cls(*required(fields, "rows", "cols", "pitch_mm"))

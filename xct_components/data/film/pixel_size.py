"""How large a film's pixels are on the detector, as a user says: pictures do not say it, and some files say it wrongly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from xct_components.failures import UsageFailure

if TYPE_CHECKING:
    from xct_components.data.film.source import FilmSource

#: No chest film has finer or coarser pixels, in mm.
LEAST_PIXEL_MM, MOST_PIXEL_MM = 0.02, 5.0
#: A film's file and its user may differ by this factor without a word.
SAME_SIZE = 1.01

#: One number of mm, or height and width.
PixelMm = int | float | Sequence[float]


def as_pixel_mm(pixel_mm: Any, name: str = "pixel_mm") -> tuple[float, float]:
    """Height and width in mm of a pixel on the detector: what a user gave, which may be anything.

    Raises:
        UsageFailure: for anything but one or two numbers within the limits.
    """
    both: tuple[object, ...] = tuple(pixel_mm) if isinstance(pixel_mm, Sequence) else (pixel_mm, pixel_mm)
    numbers = [mm for mm in both if isinstance(mm, int | float) and not isinstance(mm, bool)]
    if len(both) != 2 or len(numbers) != 2 or not all(LEAST_PIXEL_MM <= mm <= MOST_PIXEL_MM for mm in numbers):
        raise UsageFailure(
            f"{name} must be one number of mm, or height,width, between {LEAST_PIXEL_MM:g} and {MOST_PIXEL_MM:g}, "
            f"got {pixel_mm!r}; it is the pixel's size on the detector (DICOM: Imager Pixel Spacing)"
        )
    return float(numbers[0]), float(numbers[1])


def with_pixel_size(source: FilmSource, pixel_mm: PixelMm | None) -> FilmSource:
    """The film with the pixel size that a user tells, or as it is for None; warns where the file says another one.

    Raises:
        UsageFailure: see ``as_pixel_mm``.
    """
    if pixel_mm is None:
        return source
    told, own = as_pixel_mm(pixel_mm), source.pixel_mm
    warnings = source.warnings
    if own is not None and any(max(a, b) > SAME_SIZE * min(a, b) for a, b in zip(told, own, strict=True)):
        warnings = (*warnings, f"you say that a pixel is {_size(told)} mm, the file says {_size(own)} mm; yours is taken")
    return replace(source, pixel_mm=told, pixel_mm_source="the user", warnings=warnings)


def _size(pixel_mm: tuple[float, float]) -> str:
    return " x ".join(f"{mm:.4g}" for mm in pixel_mm)

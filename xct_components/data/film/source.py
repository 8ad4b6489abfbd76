"""A film as it was found: its grey values, and what its file says about them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32

from xct_components.failures import RefusedInput

#: Films have at least this many pixels a side, and at most this many in all.
FEWEST_SIDE_PIXELS, MOST_PIXELS = 64, 50_000_000
#: Larger files are no single film.
MOST_FILE_BYTES = 1 << 29


@dataclass(frozen=True)
class FilmSource:
    """What a film file holds.

    Args:
        pixels: (rows, cols) float32 as displayed, brighter = larger.
        format: "png", "jpeg", "tiff", "nifti", "dicom", ...
        polarity: what says that larger is more attenuation: "tags", or "unknown".
        pixel_mm: (height, width) of a pixel on the detector, or None if unknown.
        pixel_mm_source: where ``pixel_mm`` comes from, or why it is unknown.
        magnification: size on the detector / size in the patient, or None if unknown.
        view: "frontal", "lateral" or "other" if the file says so, else None.
        view_position: the file's own word for it, such as "PA", or None.
        side_known: whether the file says that the patient's right is on the viewer's left.
        facing: towards which side of a lateral picture the patient looks, if the file says so.
        line_integrals: whether the values are line integrals rather than grey values.
        facts: what else goes into the record, JSON-ready.
        concerns: reasons for refusing that the file itself gives.
        warnings: what the user should know.
    """

    pixels: Float32[np.ndarray, "rows cols"]
    format: str
    polarity: Literal["tags", "unknown"] = "unknown"
    pixel_mm: tuple[float, float] | None = None
    pixel_mm_source: str = "unknown: pictures carry no pixel size"
    magnification: float | None = None
    view: Literal["frontal", "lateral", "other"] | None = None
    view_position: str | None = None
    side_known: bool = False
    facing: Literal["left", "right"] | None = None
    line_integrals: bool = False
    facts: dict[str, Any] = field(default_factory=dict)
    concerns: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def require_film_size(rows: int, cols: int, name: str) -> None:
    """Refuse, before any pixel is decoded, what is too small or too large for a film.

    Raises:
        RefusedInput: naming both limits.
    """
    if rows * cols > MOST_PIXELS:
        raise RefusedInput(f"{name} claims {cols} x {rows} pixels, more than any film ({MOST_PIXELS // 10**6} million)")
    if min(rows, cols) < FEWEST_SIDE_PIXELS:
        raise RefusedInput(f"{name} has {cols} x {rows} pixels; a film needs at least {FEWEST_SIDE_PIXELS} a side")


def require_contrast(pixels: Float32[np.ndarray, "rows cols"], name: str) -> None:
    """Refuse a film without a finite range of grey values.

    Raises:
        RefusedInput: for NaN, infinite or constant pixels.
    """
    low, high = float(pixels.min()), float(pixels.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise RefusedInput(f"{name} holds NaN or infinite values; export it again")
    if low == high:
        raise RefusedInput(f"{name} is blank: every pixel is {low:g}")

"""What the tags say of a film's scale: pixels on the detector, and the magnification (PS3.3 10.7 and C.8.11.7)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from xct_components.data.film.dicom_admission import code_string
from xct_components.data.film.dicom_lookup import float_tag
from xct_components.data.film.pixel_size import LEAST_PIXEL_MM, MOST_PIXEL_MM

#: A chest lies at the detector: no exposure magnifies it more.
MOST_MAGNIFICATION = 2.0
#: Of a calibrated film whose tags do not give it: source to detector 1800 mm, to the middle of the chest 1600 mm.
USUAL_MAGNIFICATION = 1.125
#: Pixel spacings are decimal text; closer ones are the same.
SAME_SPACING = 1e-3


@dataclass(frozen=True)
class FilmScale:
    """The scale of a film.

    Args:
        pixel_mm: (height, width) of a pixel on the detector, or None if unknown.
        source: where it comes from, or why it is unknown.
        magnification: size on the detector / size in the patient, or None if unknown.
        warnings: what the user should know.
    """

    pixel_mm: tuple[float, float] | None
    source: str
    magnification: float | None
    warnings: tuple[str, ...] = ()


def film_scale(dataset: Any) -> FilmScale:
    """Pixel size on the detector, its source, and the magnification if the tags give one.

    A size in the patient (PixelSpacing calibrated by geometry or fiducials) is magnified; ImagerPixelSpacing is on the detector
    as it is; PixelSpacing alone is taken to be there too. A patient is never larger than the shadow on the detector: where the
    tags say so, neither is used.
    """
    magnification = _magnification(dataset)
    on_detector, spacing = _pair(dataset.get("ImagerPixelSpacing")), _pair(dataset.get("PixelSpacing"))
    calibration = code_string(dataset.get("PixelSpacingCalibrationType"))
    if spacing and calibration in ("GEOMETRY", "FIDUCIAL"):
        height_mm, width_mm = spacing
        m = magnification or USUAL_MAGNIFICATION
        source = f"PixelSpacing calibrated by {calibration}, in the patient"
        return FilmScale((height_mm * m, width_mm * m), source, m)
    if on_detector and spacing and spacing[0] > on_detector[0] * (1.0 + SAME_SPACING):
        return FilmScale(None, "unknown: PixelSpacing is larger than ImagerPixelSpacing, which cannot be", magnification)
    if on_detector is None and spacing is None:
        return FilmScale(None, "unknown: no usable ImagerPixelSpacing or PixelSpacing", magnification)
    source = "ImagerPixelSpacing" if on_detector else "PixelSpacing, taken to be on the detector"
    note = f"the tags give no magnification: {USUAL_MAGNIFICATION:g} is assumed, so lengths may be off by some per cent"
    return FilmScale(on_detector or spacing, source, magnification, () if magnification else (note,))


def _magnification(dataset: Any) -> float | None:
    """EstimatedRadiographicMagnificationFactor, or the quotient of the two distances from the source."""
    factor = float_tag(dataset, "EstimatedRadiographicMagnificationFactor") or math.nan
    sid, sod = (float_tag(dataset, f"DistanceSourceTo{what}") or math.nan for what in ("Detector", "Patient"))
    for candidate in (factor, sid / sod):
        if 1.0 < candidate <= MOST_MAGNIFICATION:
            return candidate
    return None


def _pair(value: Any) -> tuple[float, float] | None:
    if value is None or isinstance(value, str | int | float) or len(value) != 2:
        return None
    try:
        height_mm, width_mm = (float(number) for number in value)
    except (TypeError, ValueError):
        return None
    usable = all(LEAST_PIXEL_MM <= number <= MOST_PIXEL_MM for number in (height_mm, width_mm))
    return (height_mm, width_mm) if usable else None

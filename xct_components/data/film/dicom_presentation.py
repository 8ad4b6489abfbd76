"""From stored pixels to grey values as displayed: modality, window or table of values of interest, presentation (PS3.4 N.2)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from xct_components.data.film.dicom_admission import code_string
from xct_components.data.film.dicom_decoding import PixelLayout
from xct_components.data.film.dicom_lookup import float_tag, looked_up, most_of_table
from xct_components.failures import first_line

#: A window that makes more than this share of the pixels plain black or white is meant for a look, not for a film.
MOST_CLIPPED = 0.3


@dataclass
class Presented:
    """Grey values on their way to the display.

    Args:
        grey: (rows, cols) float32.
        limits: the least and the largest value that a pixel could have here, whatever this film holds.
        facts: for the record.
        warnings: for the user.
        polarity: "unknown" where the tags contradict each other.
    """

    grey: np.ndarray
    limits: tuple[float, float]
    facts: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    polarity: Literal["tags", "unknown"] = "tags"


def presented(dataset: Any, stored: np.ndarray, layout: PixelLayout) -> Presented:
    """Float32 grey values, larger = brighter on a display = more attenuation.

    Args:
        dataset: the film's tags.
        stored: (rows, cols) as ``stored_pixels`` gives them.
        layout: of the stored pixels.
    """
    padded = _padding(dataset, stored)
    shown = _with_modality(dataset, stored, layout)
    shown.facts |= {"size": list(stored.shape), "photometric_interpretation": code_string(dataset.PhotometricInterpretation)}
    shown.facts |= {"bits_stored": layout.bits_stored, "window": "none"}
    if code_string(dataset.get("PresentationIntentType")) == "FOR PROCESSING":
        _attenuation_of_raw(dataset, shown)
    else:
        _with_values_of_interest(dataset, shown, layout, padded)
        _with_presentation(dataset, shown)
    if padded is not None:
        shown.grey[padded] = shown.grey[~padded].min()
        shown.facts["padded_share"] = round(float(padded.mean()), 4)
    return shown


def _padding(dataset: Any, stored: np.ndarray) -> np.ndarray | None:
    """The pixels that are padding: of one stored value, or between two (PS3.3 C.7.5.1.1.2)."""
    value, limit = dataset.get("PixelPaddingValue"), dataset.get("PixelPaddingRangeLimit")
    if value is None:
        return None
    ends = [_as_stored(int(end), stored.dtype) for end in (value, value if limit is None else limit)]
    padded = (stored >= min(ends)) & (stored <= max(ends))
    return None if padded.all() or not padded.any() else padded


def _as_stored(value: int, dtype: np.dtype[Any]) -> int:
    """A value that was written as unsigned beside signed pixels, or the other way round."""
    info, span = np.iinfo(dtype), 1 << (8 * dtype.itemsize)
    return value - span if value > info.max else value + span if value < info.min else value


def _with_modality(dataset: Any, stored: np.ndarray, layout: PixelLayout) -> Presented:
    """Modality LUT, or rescale slope and intercept, or neither (PS3.3 C.11.1)."""
    low, high = layout.value_range
    if dataset.get("ModalityLUTSequence"):
        table = dataset.ModalityLUTSequence[0]
        return Presented(looked_up(table, dataset, stored), (0.0, most_of_table(table)))
    slope, intercept = float_tag(dataset, "RescaleSlope"), float_tag(dataset, "RescaleIntercept")
    if slope is None and intercept is None:
        return Presented(stored.astype(np.float32), (float(low), float(high)))
    slope, intercept = 1.0 if slope is None else slope, intercept or 0.0
    ends = sorted((slope * low + intercept, slope * high + intercept))
    shown = Presented((stored.astype(np.float64) * slope + intercept).astype(np.float32), (ends[0], ends[1]))
    if slope == 0.0:
        shown.warnings.append("the tags rescale every pixel to the same value; this is not done")
        return Presented(stored.astype(np.float32), (float(low), float(high)), warnings=shown.warnings)
    return shown


def _with_values_of_interest(dataset: Any, shown: Presented, layout: PixelLayout, padded: np.ndarray | None) -> None:
    """The first table or window of the tags (PS3.3 C.11.2), unless it blots out the film; a table goes before a window."""
    windows = [float_tag(dataset, f"Window{what}") for what in ("Center", "Width")]
    try:
        if dataset.get("VOILUTSequence"):
            table = dataset.VOILUTSequence[0]
            grey, limits = looked_up(table, dataset, np.rint(shown.grey).astype(np.int64)), (0.0, most_of_table(table))
        elif None not in windows:
            grey, limits = _windowed(dataset, shown.grey, layout, *windows)
        else:
            return
    except (ValueError, NotImplementedError) as error:
        shown.warnings.append(f"the window of the tags cannot be applied ({first_line(error)})")
        return
    inside = grey if padded is None else grey[~padded]
    clipped = float(((inside == inside.min()) | (inside == inside.max())).mean())
    shown.facts["window"] = {"clipped_share": round(clipped, 4), "applied": clipped <= MOST_CLIPPED}
    if clipped <= MOST_CLIPPED:
        shown.grey, shown.limits = grey, limits


def _windowed(
    dataset: Any, grey: np.ndarray, layout: PixelLayout, center: float | None, width: float | None
) -> tuple[np.ndarray, tuple[float, float]]:
    """By pydicom, on tags without the rescale: with a negative slope it would turn black and white round."""
    from pydicom.dataset import Dataset
    from pydicom.pixels.processing import apply_windowing

    window = Dataset()
    window.WindowCenter, window.WindowWidth = center, width
    window.VOILUTFunction = code_string(dataset.get("VOILUTFunction")) or "LINEAR"
    window.PhotometricInterpretation, window.PixelRepresentation, window.BitsStored = "MONOCHROME2", 0, layout.bits_stored
    return apply_windowing(grey, window).astype(np.float32), (0.0, float(2**layout.bits_stored - 1))


def _with_presentation(dataset: Any, shown: Presented) -> None:
    """Turn round what is stored as more = darker; within the limits of the values, so that no pixel depends on another."""
    reverse = code_string(dataset.PhotometricInterpretation) == "MONOCHROME1"
    shape = code_string(dataset.get("PresentationLUTShape"))
    if shape in ("INVERSE", "IDENTITY"):
        shown.facts["presentation_lut_shape"] = shape
        if (shape == "INVERSE") != reverse:
            note = f"PresentationLUTShape {shape} contradicts the photometric interpretation: black and white are not sure"
            shown.warnings.append(note)
            shown.polarity = "unknown"
        reverse = shape == "INVERSE"
    if reverse:
        shown.grey = np.float32(sum(shown.limits)) - shown.grey


def _attenuation_of_raw(dataset: Any, shown: Presented) -> None:
    """Of an image for processing the intensity relationship says what is attenuation (PS3.3 C.8.11.3.1.2), not a window.

    LIN with sign 1 counts photons: attenuation is the negative logarithm. Sign -1 has more photons where it is lower.
    """
    relation = code_string(dataset.get("PixelIntensityRelationship"))
    sign = float_tag(dataset, "PixelIntensityRelationshipSign")
    if relation not in ("LIN", "LOG") or sign not in (1.0, -1.0):
        _with_presentation(dataset, shown)
        return
    shown.facts["pixel_intensity_relationship"] = {"is": relation, "sign": int(sign)}
    low, high = shown.limits
    photons = shown.grey if sign > 0.0 else np.float32(low + high) - shown.grey
    if relation == "LOG":
        shown.grey = np.float32(low + high) - photons
        return
    count = np.maximum(photons.astype(np.float64) - min(low, 0.0), 1.0)  # no pixel counted less than one
    shown.grey = (np.log(max(high - min(low, 0.0), 1.0)) - np.log(count)).astype(np.float32)
    shown.facts["pixel_intensity_relationship"]["negative_logarithm"] = True

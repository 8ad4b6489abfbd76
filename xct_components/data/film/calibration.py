"""A chest film as line integrals on the cascade's field: placed by pixel size or anatomy, its response undone."""

from __future__ import annotations

import math
import warnings as python_warnings
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from xct_components.data.film.agreement import shrunk
from xct_components.data.film.detail import detail_reference, tamed_detail
from xct_components.data.film.grey_reference import GreyReference
from xct_components.data.film.reading import ChestFilm
from xct_components.data.film.reference import FilmReference, film_reference
from xct_components.data.film.response import fitted_response
from xct_components.data.simulate.chest_exposure import FIELD_MM
from xct_components.failures import InputWarning
from xct_components.geometry import ChestView, ConeBeam, VolumeGrid, chest_beam_covering
from xct_components.geometry.chest import SOURCE_TO_DETECTOR_MM, SOURCE_TO_PATIENT_MM

#: Pixel size on the detector / in the patient where the film does not say.
USUAL_MAGNIFICATION = SOURCE_TO_DETECTOR_MM / SOURCE_TO_PATIENT_MM
#: Anatomy and pixel size may differ by this factor before the user should know; patients differ by about 8 % (one sigma).
SIZE_DOUBT = 1.25
#: A film that leaves more than this share of the field open deserves a word.
OPEN_SHARE = 0.1


@dataclass(frozen=True)
class CalibratedFilm:
    """Line integrals of a chest on the cascade's field of 320 x 320 mm, the middle of the lungs in its middle.

    Args:
        line_integrals: (B=1, V=1, C=1, rows, cols) float32 >= 0; outside ``covered`` the nearest value of the film.
        covered: same shape, where the film shows something.
        beam: the exposure of ``VolumeGrid.chest`` that the rows and columns belong to.
        record: every decision from the file to here, JSON-ready.
    """

    line_integrals: Float[Tensor, "1 1 1 rows cols"]
    covered: Bool[Tensor, "1 1 1 rows cols"]
    beam: ConeBeam
    record: dict[str, Any]


def calibrated_film(
    film: ChestFilm, rows: int = 256, cols: int = 256, *, reference: FilmReference | None = None
) -> CalibratedFilm:
    """Line integrals of a film where a training film would have them.

    Args:
        film: from ``read_film``.
        rows: of the result, over 320 mm in the patient.
        cols: of the result, over 320 mm in the patient.
        reference: what simulated films look like; by default the shipped reference.

    Raises:
        ValueError: if the film shows too little of a chest to fit a response.
    """
    greys = (reference or film_reference()).frontal_greys
    integrals, response = own_line_integrals(film, greys)
    mm_per_pixel, placement = _placement(film)
    values, covered = on_cascade_field(integrals, film.pose.middle, mm_per_pixel, rows, cols)
    values, response = without_enhancement(film, values, covered, response, "frontal")
    record = calibration_record(film, placement, response, values, covered)
    view: ChestView = "AP" if "AP" in (film.record["view"]["user"], film.record["view"]["tags"]) else "PA"
    beam = chest_beam_covering(VolumeGrid.chest((64, 64, 64), FIELD_MM / 64), view, rows, cols)
    return CalibratedFilm(values[None, None, None], covered[None, None, None], beam, record)


def own_line_integrals(film: ChestFilm, greys: GreyReference) -> tuple[Float[Tensor, "rows cols"], dict[str, Any]]:
    """Line integrals on the film's own pixels, and how they were found.

    Raises:
        ValueError: if the film shows too little of a chest to fit a response.
    """
    pixels = film.pixels[0, 0]
    if film.line_integrals:
        return pixels.clamp_min(0.0), {"curve": None, "note": "the film already holds line integrals"}
    curve, fit = fitted_response(pixels, film.pose, greys)
    return curve.line_integrals(pixels), {"curve": curve.to_json(), "fit": fit}


def without_enhancement(
    film: ChestFilm,
    values: Float[Tensor, "rows cols"],
    covered: Bool[Tensor, "rows cols"],
    response: dict[str, Any],
    view: Literal["frontal", "lateral"],
) -> tuple[Float[Tensor, "rows cols"], dict[str, Any]]:
    """The film on the cascade's field without the detail that a display added, and the response with what was found."""
    if film.line_integrals:
        return values, response
    values, detail = tamed_detail(values, covered, detail_reference(view))
    return values, {**response, "detail": detail}


def calibration_record(
    film: ChestFilm,
    placement: dict[str, Any],
    response: dict[str, Any],
    values: Float[Tensor, "rows cols"],
    covered: Bool[Tensor, "rows cols"],
) -> dict[str, Any]:
    """The film's record with every decision of its calibration; warns of what the user should know.

    Args:
        film: what was calibrated.
        placement: scale and place, and its ``warnings``.
        response: from ``own_line_integrals``.
        values: line integrals on the field.
        covered: where the film shows the field.
    """
    open_share = 1.0 - float(covered.float().mean())
    warnings = list(placement.pop("warnings"))
    if open_share > OPEN_SHARE:
        warnings.append(f"the film leaves {open_share:.0%} of the field open; it is filled with the nearest values")
    for note in warnings:
        python_warnings.warn(f"{film.record['file']['name']}: {note}", InputWarning, stacklevel=3)
    return {
        **film.record,
        "placement": {**placement, "covered_share": round(1.0 - open_share, 4), "covered_mm": covered_mm(covered)},
        "response": response,
        "field_mm": [FIELD_MM, FIELD_MM],
        "line_integral_quantiles": [round(float(q), 3) for q in values.quantile(torch.tensor([0.01, 0.25, 0.5, 0.75, 0.99]))],
        "warnings": [*film.record["warnings"], *warnings],
    }


def covered_mm(covered: Bool[Tensor, "rows cols"]) -> list[list[float]] | None:
    """From where to where a film covers the field, down and across, in mm from its middle; None if it does not at all."""
    part = covered_part(covered)
    if part is None:
        return None
    spans = zip(part, covered.shape, strict=True)
    return [[round((edge / count - 0.5) * FIELD_MM, 3) for edge in (span.start, span.stop)] for span, count in spans]


def covered_part(covered: Bool[Tensor, "rows cols"]) -> tuple[slice, slice] | None:
    """The rows and the columns of the field that a film covers, from the first to the last; None if it covers nothing."""
    rows, cols = (covered.any(axis).nonzero()[:, 0].tolist() for axis in (1, 0))
    return (slice(rows[0], rows[-1] + 1), slice(cols[0], cols[-1] + 1)) if rows else None


def _placement(film: ChestFilm) -> tuple[tuple[float, float], dict[str, Any]]:
    """Height and width in the patient of a film pixel, and how they were found."""
    by_anatomy = film.pose.mm_per_pixel
    fit = {
        "lungs_middle_pixel": [round(i, 1) for i in film.pose.middle],
        "mm_per_pixel_by_anatomy": [round(mm, 5) for mm in by_anatomy],
        "agreement": round(film.pose.agreement, 3),
    }
    if film.pixel_mm is None:
        # Pixels are square; the width of the chest varies less with breath than its height.
        return (by_anatomy[1], by_anatomy[1]), {
            "scale_from": "anatomy: the chest is as wide as the mean chest",
            "size_known": False,
            "mm_per_pixel_in_patient": [by_anatomy[1], by_anatomy[1]],
            **fit,
            "warnings": [
                "the pixel size is unknown (pixel_mm tells it): sizes are those of a mean patient, wrong by 8 % (one sigma)"
            ],
        }
    magnification = film.magnification or USUAL_MAGNIFICATION
    height_mm, width_mm = (mm / magnification for mm in film.pixel_mm)
    ratio = by_anatomy[1] / width_mm
    warnings = []
    if not film.magnification:
        warnings.append(f"no magnification is known; {USUAL_MAGNIFICATION:g} is taken, as at 1800 and 1600 mm")
    if not 1.0 / SIZE_DOUBT < ratio < SIZE_DOUBT:
        warnings.append(f"by its pixel size the chest is {1 / ratio:.2f} times as wide as the mean chest: is the size right?")
    return (height_mm, width_mm), {
        "scale_from": film.record["pixel_mm_from"],
        "size_known": True,
        "magnification": magnification,
        "mm_per_pixel_in_patient": [height_mm, width_mm],
        "anatomy_over_pixel_size": round(ratio, 4),
        **fit,
        "warnings": warnings,
    }


def on_cascade_field(
    film: Float[Tensor, "film_rows film_cols"],
    middle: tuple[float, float],
    mm_per_pixel: tuple[float, float],
    rows: int,
    cols: int,
) -> tuple[Float[Tensor, "rows cols"], Bool[Tensor, "rows cols"]]:
    """The film around ``middle`` on rows x cols over the field, and what of it is covered; finer films are averaged first."""
    finest_mm = min(FIELD_MM / rows, FIELD_MM / cols)
    longer = math.ceil(max(film.shape) * min(1.0, 1.5 * max(mm_per_pixel) / finest_mm))
    small = shrunk(film, longer)
    axes = []
    for size, count, center, mm in zip(film.shape, (rows, cols), middle, mm_per_pixel, strict=True):
        offsets_mm = ((torch.arange(count) + 0.5) / count - 0.5) * FIELD_MM
        axes.append((2 * (center + offsets_mm / mm) + 1) / size - 1)
    grid = torch.stack(torch.broadcast_tensors(axes[1][None, :], axes[0][:, None]), dim=-1)
    values = F.grid_sample(small[None, None], grid[None], padding_mode="border", align_corners=False)[0, 0]
    return values, (grid.abs() <= 1.0).all(-1)

"""Any frontal chest film as one canonical film: upright, larger = more attenuation, the patient's right on the left."""

from __future__ import annotations

import os
import warnings as python_warnings
from dataclasses import dataclass, replace
from typing import Any

from jaxtyping import Float
from torch import Tensor

from xct_components.data.film.match import Pose
from xct_components.data.film.opened_film import opened_film
from xct_components.data.film.pixel_size import PixelMm
from xct_components.data.film.reference import FilmReference, film_reference
from xct_components.data.film.slice_check import TwoGreys, two_greys
from xct_components.data.film.source import FilmSource
from xct_components.data.film.view import ViewEvidence, view_evidence
from xct_components.failures import InputWarning, RefusedInput, UsageFailure


@dataclass(frozen=True)
class ChestFilm:
    """A chest film, and how it came about.

    Args:
        pixels: (1, 1, rows, cols) float32 in the file's units: larger = more attenuation, head up; on the left of the picture a
            frontal film shows the patient's right, a lateral one the sternum.
        pose: where the mean chest lies on it.
        pixel_mm: (height, width) of a pixel on the detector, or None if unknown.
        magnification: size on the detector / size in the patient, or None if unknown.
        line_integrals: whether the pixels already are line integrals.
        record: every decision, JSON-ready.
    """

    pixels: Float[Tensor, "1 1 rows cols"]
    pose: Pose
    pixel_mm: tuple[float, float] | None
    magnification: float | None
    line_integrals: bool
    record: dict[str, Any]


def read_film(
    path: str | os.PathLike[str],
    *,
    view: str | None = None,
    accept: bool = False,
    pixel_mm: PixelMm | None = None,
    reference: FilmReference | None = None,
) -> ChestFilm:
    """The chest film in a file.

    Args:
        path: PNG, JPEG, TIFF, NIfTI or DICOM (CR, DX).
        view: "PA" or "AP", if you have seen that it is an upright frontal chest film: a film of which the measurements are not
            sure is then taken. Tags or measurements that speak clearly against it still refuse it.
        accept: take the film whatever tags and measurements say; each reason against it becomes a warning.
        pixel_mm: how large a pixel of the file is on the detector, in mm, if you know it: one number, or height and width.
        reference: what a chest film looks like; by default the shipped reference.

    Raises:
        UnreadableInput: if the file is missing, empty, truncated or damaged.
        RefusedInput: if it is not an upright frontal chest film, with the reason.
        UsageFailure: for another view, or a size that no pixel has.

    Example:
        >>> film = read_film("tests/data/films/00000001_000.png")
        >>> film.pixels.shape[:2], film.pixel_mm, film.record["view"]["best"]["view"]
        (torch.Size([1, 1]), None, 'frontal')
    """
    if view not in (None, "PA", "AP"):
        raise UsageFailure(f"view must be PA or AP, got {view!r}; other views of the chest are not taken")
    opened = opened_film(path, pixel_mm)
    path, source, cropped = opened.path, opened.source, opened.pixels
    evidence = view_evidence(cropped, reference or film_reference())
    greys = two_greys(-cropped if evidence.best.reversed_grey else cropped, evidence.frontal.pose)
    reasons, warnings = _reasons(source, evidence, greys, view)
    reverse = source.polarity == "unknown" and evidence.best.upright_frontal and evidence.best.reversed_grey
    if reverse:
        cropped = cropped.max() - cropped
        warnings.append("the grey scale was reversed (bones black); it was turned round")
    if reasons and not accept:
        raise RefusedInput(f"{path.name} refused: {'; '.join(reasons)}. {_way_out(evidence)}")
    for note in (*warnings, *reasons):
        python_warnings.warn(f"{path.name}: {note}", InputWarning, stacklevel=2)
    record = {
        **opened.record(reversed_grey=reverse),
        "view": {"tags": source.view_position, "user": view, "side_from_tags": source.side_known, **evidence.to_json()},
        "greys": greys.to_json(),
        "accepted_despite": reasons,
        "warnings": [*warnings],
    }
    return ChestFilm(
        pixels=cropped[None, None],
        pose=replace(evidence.frontal.pose, agreement=abs(evidence.frontal.pose.agreement)),
        pixel_mm=source.pixel_mm,
        magnification=source.magnification,
        line_integrals=source.line_integrals,
        record=record,
    )


def _reasons(source: FilmSource, evidence: ViewEvidence, greys: TwoGreys, view: str | None) -> tuple[list[str], list[str]]:
    """Why the film should be refused, and what the user should know if it is not."""
    reasons, warnings = list(source.concerns), list(source.warnings)
    best = evidence.best
    if source.view in ("lateral", "other"):
        reasons.append(f"the file says view {source.view_position or source.view}, not PA or AP")
    elif not evidence.is_frontal and evidence.is_chest and not best.upright_frontal:
        reasons.append(f"it looks like another view: {best.describe()} (agreement {abs(best.pose.agreement):.2f})")
    elif not evidence.is_frontal and view is None and source.view != "frontal":
        reasons.append(f"it does not look like an upright frontal chest film ({_weakness(evidence)})")
    elif not evidence.is_frontal:
        warnings.append(f"taken for frontal on the word of the {'user' if view else 'tags'}: {_weakness(evidence)}")
    if view and source.view_position and source.view_position != view:
        warnings.append(f"you say {view}, the file says {source.view_position}")
    if best.upright_frontal:
        _judge_sides_and_polarity(source, evidence, reasons, warnings)
    if best.upright_frontal and source.format != "dicom":  # a DICOM CR or DX is known to be a film
        _judge_greys(greys, reasons, warnings)
    return reasons, warnings


def _judge_sides_and_polarity(source: FilmSource, evidence: ViewEvidence, reasons: list[str], warnings: list[str]) -> None:
    """Add what an upright frontal film says against its tags or its sides."""
    if source.polarity == "tags" and evidence.best.reversed_grey:
        reasons.append("bones look black although the tags say they are white")
    right = "right" if evidence.heart_shift_mm > 0.0 else "left"
    farther = f"{abs(evidence.heart_shift_mm):.0f} mm farther to the picture's {right}"
    margin = f"(the heart reaches {farther}, likeness {evidence.side_margin:+.2f})"
    if evidence.side == "mirrored":
        known = "although the tags say it is not" if source.side_known else "or the patient has dextrocardia"
        reasons.append(f"it looks mirrored left to right, {known} {margin}")
    elif evidence.side == "unsure":
        warnings.append(f"left and right cannot be told from the picture {margin}: check the marker")


def _judge_greys(greys: TwoGreys, reasons: list[str], warnings: list[str]) -> None:
    """Add what the greys say against a film."""
    if greys.is_slice:
        reasons.append(
            f"it looks like a slice of a CT, not a film: only {greys.halfway_share:.0%} of the chest is of a grey between "
            "those of lung and of soft tissue"
        )
    elif greys.lungs_are_black:
        warnings.append("the lungs are plain black: is it a slice of a CT, or a film in too narrow a window?")


def _weakness(evidence: ViewEvidence) -> str:
    return (
        f"agreement {abs(evidence.frontal.pose.agreement):.2f}, margin over other views {evidence.margin:+.2f}, "
        f"symmetry {evidence.symmetry:.2f}"
    )


def _way_out(evidence: ViewEvidence) -> str:
    if evidence.is_chest and evidence.best.kind == "frontal" and evidence.best.pose.quarter_turns:
        return "Turn it upright, or --accept it as it is"
    if evidence.is_chest and evidence.best.upright_lateral:
        return "Give the frontal film first and this one as --lateral; if it is a frontal one, --accept it as it is"
    return "If it is an upright frontal chest film, say --view PA (or AP) or --accept it as it is"

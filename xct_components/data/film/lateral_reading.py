"""Any lateral chest film as one canonical film: upright, larger = more attenuation, the patient looking to the left."""

from __future__ import annotations

import os
import warnings as python_warnings
from dataclasses import replace
from typing import Any

from xct_components.data.film.lateral_view import LateralEvidence, lateral_evidence
from xct_components.data.film.match import turned
from xct_components.data.film.opened_film import opened_film
from xct_components.data.film.pixel_size import PixelMm
from xct_components.data.film.reading import ChestFilm
from xct_components.data.film.reference import FilmReference, film_reference
from xct_components.data.film.source import FilmSource
from xct_components.data.film.view import Hypothesis
from xct_components.failures import InputWarning, RefusedInput

#: The side at the detector where the file does not say: by custom the left, which keeps the heart small.
USUAL_SIDE = "LL"


def read_lateral(
    path: str | os.PathLike[str],
    *,
    accept: bool = False,
    pixel_mm: PixelMm | None = None,
    reference: FilmReference | None = None,
) -> ChestFilm:
    """The lateral chest film in a file.

    Args:
        path: PNG, JPEG, TIFF, NIfTI or DICOM (CR, DX).
        accept: take the film whatever tags and measurements say; each reason against it becomes a warning.
        pixel_mm: see ``read_film``.
        reference: what a chest film looks like; by default the shipped reference.

    Returns:
        The film with the sternum on the left, whichever way it was shown. ``record["view"]["side_at_detector"]`` is "LL" or
        "RL".

    Raises:
        UnreadableInput: if the file is missing, empty, truncated or damaged.
        RefusedInput: if it is not an upright lateral chest film, with the reason.
        UsageFailure: for a size that no pixel has.
    """
    opened = opened_film(path, pixel_mm)
    source, pixels, name = opened.source, opened.pixels, opened.path.name
    evidence = lateral_evidence(pixels, reference or film_reference())
    reasons, warnings = _reasons(source, evidence)
    reverse = source.polarity == "unknown" and evidence.lateral.reversed_grey
    if reverse:
        pixels = pixels.max() - pixels
        warnings.append("the grey scale was reversed (bones black); it was turned round")
    if reasons and not accept:
        raise RefusedInput(f"{name} refused as a lateral film: {'; '.join(reasons)}. {_way_out(evidence)}")
    for note in (*warnings, *reasons):
        python_warnings.warn(f"{name}: {note}", InputWarning, stacklevel=2)
    pose = _reading(source, evidence).pose
    record = {
        **opened.record(reversed_grey=reverse),
        "view": {"tags": source.view_position, **_side(source), **evidence.to_json(), "turned_to_the_left": pose.mirrored},
        "accepted_despite": reasons,
        "warnings": warnings,
    }
    return ChestFilm(
        pixels=turned(pixels, 0, pose.mirrored)[None, None],
        pose=replace(pose, agreement=abs(pose.agreement), mirrored=False),
        pixel_mm=source.pixel_mm,
        magnification=source.magnification,
        line_integrals=source.line_integrals,
        record=record,
    )


def _reading(source: FilmSource, evidence: LateralEvidence) -> Hypothesis:
    """The upright lateral reading that is taken: where the picture leaves it open, the tags say which way the patient looks."""
    if evidence.facing == "unsure" and source.facing is not None:
        return evidence.left if source.facing == "left" else evidence.right
    return evidence.lateral


def _side(source: FilmSource) -> dict[str, Any]:
    if source.view_position in ("LL", "RL"):
        return {"side_at_detector": source.view_position, "side_from": "tags"}
    return {"side_at_detector": USUAL_SIDE, "side_from": "custom: the left side; the picture does not tell"}


def _reasons(source: FilmSource, evidence: LateralEvidence) -> tuple[list[str], list[str]]:
    """Why the film should be refused, and what the user should know if it is not."""
    reasons, warnings = list(source.concerns), list(source.warnings)
    best = evidence.best
    if source.view in ("frontal", "other"):
        reasons.append(f"the file says view {source.view_position or source.view}, not a lateral one")
    elif evidence.is_chest and not best.upright_lateral:
        reasons.append(f"it looks like another view: {best.describe()} (agreement {abs(best.pose.agreement):.2f})")
    elif not evidence.is_lateral:
        reasons.append(f"it does not look like an upright lateral chest film ({_weakness(evidence)})")
    elif not evidence.is_sure:
        warnings.append(f"taken for lateral on your word: {_weakness(evidence)}")
    if source.polarity == "tags" and evidence.lateral.reversed_grey:
        reasons.append("bones look black although the tags say they are white")
    margin = f"(likeness {evidence.facing_margin:+.2f} for looking to the picture's left)"
    if evidence.facing == "unsure" and source.facing is None:
        reasons.append(f"front and back cannot be told {margin}")
    elif source.facing is not None and evidence.facing not in (source.facing, "unsure"):
        reasons.append(f"the tags say that the patient looks to the picture's {source.facing}, which it does not {margin}")
    return reasons, warnings


def _weakness(evidence: LateralEvidence) -> str:
    return f"agreement {abs(evidence.lateral.pose.agreement):.2f}, margin over other views {evidence.margin:+.2f}"


def _way_out(evidence: LateralEvidence) -> str:
    if evidence.is_chest and evidence.best.kind == "frontal":
        return "Give the frontal film first and the lateral one as --lateral"
    if evidence.is_chest and evidence.best.pose.quarter_turns:
        return "Turn it upright, or --accept it as it is"
    return "Leave --lateral out, or --accept it as it is"

"""Lateral films as they arrive: what is accepted, and how far calibrated ones are from the truth.

`python -m benchmarks.lateral_films --cts DIR [DIR]` displays the lateral film of every CT, without the scanner's table, in
several curves, turned, mirrored, reversed, and the frontal film as if it were lateral. Each CT is judged by a reference
made of the *other* CTs. It prints the decisions, with whether front and back were told right, and the error of calibrated line
integrals against the CT's own. What lateral films do to a volume: ``benchmarks.displayed_films``.

Errors: `response` compares the fitted curve with the truth on the film's own pixels; the others compare the whole result with
the prepared CT's film on the cascade's field, by what is known of pixel sizes: where anatomy alone puts the film, and where it
shows the same heights as the frontal film.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.film_cases import ARRIVALS, CURVES, FIELD_PIXELS, LATERAL_CURVES, CtCase, ct_cases, with_size
from benchmarks.markdown_table import markdown_table
from xct_components.data.film.calibration import calibrated_film
from xct_components.data.film.height_match import field_heights
from xct_components.data.film.lateral_calibration import calibrated_lateral
from xct_components.data.film.lateral_reading import read_lateral
from xct_components.data.film.reading import ChestFilm, read_film
from xct_components.data.film.reference import FilmReference, reference_of
from xct_components.data.film.response import fitted_response
from xct_components.failures import Failure

#: What is less than this is air beside the patient, of which no error is counted.
BODY_INTEGRAL = 0.3
FRONTAL_SIZED, UNSIZED, SIZED = "frontal's size known", "no size known", "both sizes known"
SENSES = ("response", *(f"{size}, {by}" for size in (FRONTAL_SIZED, UNSIZED, SIZED) for by in ("by anatomy", "by heights")))


def decision(grey: np.ndarray, reference: FilmReference) -> tuple[str, str, ChestFilm | None]:
    """("accepted", "turned round" or "refused"; reason; the film) for a picture that is saved as PNG and given as lateral."""
    from skimage.io import imsave

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / "film.png"
        imsave(path, grey, check_contrast=False)
        try:
            film = read_lateral(path, reference=reference)
        except Failure as failure:
            return "refused", str(failure).partition("film: ")[2] or str(failure), None
    return "turned round" if film.record["polarity"]["reversed"] else "accepted", "", film


def frontal_of(case: CtCase, reference: FilmReference) -> ChestFilm:
    """The CT's frontal film in a linear display, accepted whatever its sides."""
    from skimage.io import imsave

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / "film.png"
        imsave(path, case.grey("PA", CURVES["linear"], "upright"), check_contrast=False)
        return read_film(path, accept=True, reference=reference)


def rows_of(case: CtCase, reference: FilmReference) -> list[dict[str, Any]]:
    """One row per film of a CT."""
    frontal = frontal_of(case, reference)
    arrivals = [("LL", curve, "upright") for curve in LATERAL_CURVES]
    arrivals += [("LL", "linear", arrival) for arrival in ARRIVALS if arrival != "upright"] + [("PA", "linear", "upright")]
    rows: list[dict[str, Any]] = []
    for view, curve, arrival in arrivals:
        grey = case.grey("LL" if view == "LL" else "PA", LATERAL_CURVES[curve], arrival)
        outcome, reason, film = decision(grey, reference)
        row: dict[str, Any] = {"ct": case.name, "view": view, "curve": curve, "arrival": arrival}
        row |= {"decision": outcome, "reason": reason}
        if film is not None:
            row["faces"] = film.record["view"]["facing"]
        if film is not None and view == "LL" and arrival == "upright":
            row |= _errors(case, film, frontal, reference)
        rows.append(row)
    return rows


def _errors(case: CtCase, film: ChestFilm, frontal: ChestFilm, reference: FilmReference) -> dict[str, float]:
    """Relative errors in the senses of the module's docstring."""
    crop = film.record["crop"]
    truth = case.lateral.line_integrals[slice(*crop["rows"]), slice(*crop["cols"])]
    curve, _ = fitted_response(film.pixels[0, 0], film.pose, reference.lateral_greys)
    found = {"response": _relative(curve.line_integrals(film.pixels[0, 0]), truth, truth > BODY_INTEGRAL)}
    sized_frontal = with_size(frontal, case.exposure)
    size = (FIELD_PIXELS, FIELD_PIXELS)
    pairs = {
        FRONTAL_SIZED: (sized_frontal, film),
        UNSIZED: (frontal, film),
        SIZED: (sized_frontal, with_size(film, case.lateral_exposure)),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name, (one, other) in pairs.items():
            seen = calibrated_film(one, *size, reference=reference)
            heights = field_heights(seen.line_integrals[0, 0, 0], seen.record["placement"])
            for by, profile in (("by anatomy", None), ("by heights", heights)):
                result = calibrated_lateral(other, seen.record, *size, heights=profile, reference=reference)
                judged = case.lateral_scanned & (case.lateral_training_film > BODY_INTEGRAL) & result.covered[0, 0, 0]
                found[f"{name}, {by}"] = _relative(result.line_integrals[0, 0, 0], case.lateral_training_film, judged)
                pixel_mm = result.record["placement"]["mm_per_pixel_in_patient"][0]
                if name == FRONTAL_SIZED:
                    found[f"scale {by}"] = pixel_mm / case.lateral_exposure.pixel_in_patient_mm[0] - 1.0
    return found


def _relative(found: Tensor, truth: Tensor, where: Tensor) -> float:
    return float((found - truth)[where].norm() / truth[where].norm())


def decision_table(rows: Sequence[dict[str, Any]]) -> str:
    """Films by kind and decision, and how often front and back were told right."""
    kinds = {"lateral upright": ("LL", "upright"), **{f"lateral {a}": ("LL", a) for a in ARRIVALS if a != "upright"}}
    kinds["frontal"] = ("PA", "upright")
    lines = []
    for name, (view, arrival) in kinds.items():
        own = [row for row in rows if (row["view"], row["arrival"]) == (view, arrival)]
        counts = Counter(row["decision"] for row in own)
        faces = "right" if arrival == "mirrored" else "left"
        told = sum(row.get("faces") == faces for row in own)
        lines.append([name, *(counts[outcome] for outcome in ("accepted", "turned round", "refused")), told])
    return markdown_table(["film given as lateral", "accepted", "turned round", "refused", "front and back right"], lines)


def error_table(rows: Sequence[dict[str, Any]]) -> str:
    """Mean and worst error per display curve."""
    lines = []
    for curve in LATERAL_CURVES:
        measured = [row for row in rows if row["curve"] == curve and "response" in row]
        cells = [f"{np.mean([r[s] for r in measured]):.3f} ({max(r[s] for r in measured):.3f})" for s in SENSES if measured]
        scales = [f"{np.std([r[f'scale {by}'] for r in measured]):.3f}" for by in ("by anatomy", "by heights") if measured]
        lines.append([curve, len(measured), *cells, *scales])
    scales = ["scale by anatomy, sigma", "by heights"]
    return markdown_table(["display", "films", *(f"{sense}, mean (worst)" for sense in SENSES), *scales], lines)


def main(arguments: list[str]) -> None:
    """Judge, measure and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lateral_films", description=__doc__.split("\n\n")[0])
    parser.add_argument("--cts", type=Path, nargs="+", required=True, help="folders; every file or DICOM folder is one CT")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    cases = list(ct_cases(options.cts, table=False))
    if len(cases) < 2:
        parser.error(f"--cts must hold at least two CTs, got {len(cases)}: each is judged by the others")
    rows = []
    for case in cases:
        rows += rows_of(case, reference_of([other.films for other in cases if other is not case], {}))
        print(f"lateral films of {case.name}", file=sys.stderr, flush=True)
    print(decision_table(rows) + "\n\n" + error_table(rows) + "\n")
    for row in rows:
        if (row["decision"] == "refused") == (row["view"] == "LL" and not row["arrival"].startswith("turned")):
            print(f"{row['ct']} {row['view']} {row['curve']} {row['arrival']}: {row['decision']} {row['reason']}")


if __name__ == "__main__":
    main(sys.argv[1:])

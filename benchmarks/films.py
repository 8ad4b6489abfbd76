"""Chest films as they arrive: what is accepted, what is refused, and how far calibrated films are from the truth.

`python -m benchmarks.films --films DIR --cts DIR [DIR] --output DIR` reads every film below the first folder and, for every CT
of the others, films simulated from it as they would be displayed: of several display curves, turned, mirrored, reversed and
lateral. Each CT's films are judged by a reference made of the *other* CTs. It prints the decision on each film, the confusion
table, also for films of random phantoms and for coronal slices of the CTs saved as pictures, the error of calibrated line
integrals against the CT's own, and the histogram distance of real films to simulated ones before and after calibration, beside
that of each simulated film to the others; it writes a contact sheet and a JSON with every record.

Errors: `response` compares the fitted curve with the truth on the film's own pixels; `placed` compares the whole
result with the prepared CT's film on the cascade's field, by anatomy alone and with the pixel size known.
"""

from __future__ import annotations

import argparse
import json
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

from benchmarks.film_cases import ARRIVALS, CURVES, FIELD_PIXELS, LATERAL_CURVE, CtCase, ct_cases, with_size
from benchmarks.film_contact_sheet import contact_sheet
from benchmarks.film_controls import coronal_slices, phantom_films
from benchmarks.markdown_table import markdown_table
from xct_components.data.film.borders import borderless
from xct_components.data.film.calibration import calibrated_film
from xct_components.data.film.reading import ChestFilm, read_film
from xct_components.data.film.reference import FilmReference, reference_of
from xct_components.data.film.response import fitted_response
from xct_components.data.film.source import FilmSource
from xct_components.failures import Failure

#: What is less than this is air beside the patient, of which no error is counted.
BODY_INTEGRAL = 0.3
FILM_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".dcm", ".nii", ".gz")


def decision(path: Path, reference: FilmReference | None = None) -> tuple[str, str, ChestFilm | None]:
    """("accepted", "side unsure", "turned round" or "refused"; reason; the film)."""
    with warnings.catch_warnings(record=True) as noticed:
        warnings.simplefilter("always")
        try:
            film = read_film(path, reference=reference)
        except Failure as failure:
            return "refused", str(failure).partition("refused: ")[2] or str(failure), None
    notes = "; ".join(str(note.message).partition(": ")[2] for note in noticed)
    if film.record["polarity"]["reversed"]:
        return "turned round", notes, film
    return ("side unsure" if film.record["view"]["side"] == "unsure" else "accepted"), notes, film


def simulated_rows(case: CtCase, reference: FilmReference) -> tuple[list[dict[str, Any]], Tensor | None]:
    """One row per simulated film of a CT, and its calibrated upright film."""
    rows, calibrated = [], None
    arrivals = [("PA", curve, "upright") for curve in CURVES]
    arrivals += [("PA", "linear", arrival) for arrival in ARRIVALS if arrival != "upright"] + [("LL", "lateral", "upright")]
    for view, curve, arrival in arrivals:
        grey = case.grey("PA" if view == "PA" else "LL", CURVES.get(curve, LATERAL_CURVE), arrival)
        outcome, reason, film = _decision_on(grey, reference)
        row: dict[str, Any] = {
            "ct": case.name,
            "view": view,
            "curve": curve,
            "arrival": arrival,
            "decision": outcome,
            "reason": reason,
        }
        if view == "PA" and arrival == "upright" and film is not None:
            row |= _errors(case, film, reference)
            calibrated = calibrated if calibrated is not None else calibrated_film(film, 256, 256, reference=reference)
        rows.append(row)
    return rows, None if calibrated is None else calibrated.line_integrals[0, 0, 0]


def _decision_on(grey: np.ndarray, reference: FilmReference | None) -> tuple[str, str, ChestFilm | None]:
    """The decision on a picture that is saved as PNG."""
    from skimage.io import imsave

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.png"
        imsave(path, grey, check_contrast=False)
        return decision(path, reference)


def control_rows(folders: list[Path], phantoms: int) -> list[dict[str, Any]]:
    """One row per film of a phantom, mirrored and not, and per coronal slice of a CT; judged by the shipped reference."""
    pictures = [("phantom", f"phantom {seed}", grey) for seed, grey in phantom_films(phantoms)]
    pictures += [("mirrored phantom", name, np.ascontiguousarray(grey[:, ::-1])) for _, name, grey in pictures]
    pictures += [(f"CT slice, {window}", name, grey) for name, window, grey in coronal_slices(folders)]
    rows = []
    for kind, name, grey in pictures:
        outcome, reason, _ = _decision_on(grey, None)
        outcome = "questioned" if outcome != "refused" and "slice of a CT" in reason else outcome
        rows.append({"kind": kind, "name": name, "decision": outcome, "reason": reason})
    return rows


def control_table(rows: Sequence[dict[str, Any]]) -> str:
    """Phantoms and slices by kind and decision."""
    outcomes = ("accepted", "side unsure", "questioned", "refused")
    kinds = dict.fromkeys(row["kind"] for row in rows)
    lines = [
        [kind, *(sum(r["kind"] == kind and r["decision"] == outcome for r in rows) for outcome in outcomes)] for kind in kinds
    ]
    return markdown_table(["picture (shipped reference)", *outcomes], lines)


def spread_of_patients(cases: Sequence[CtCase]) -> list[float]:
    """Histogram distance of each CT's true training film to those of the others: what no calibration can undercut."""
    levels = (torch.arange(256) + 0.5) / 256
    found = []
    for case in cases:
        others = torch.cat([other.training_film[other.scanned] for other in cases if other is not case])
        found.append(histogram_distance(case.training_film[case.scanned], others.quantile(levels)))
    return found


def _errors(case: CtCase, film: ChestFilm, reference: FilmReference) -> dict[str, float]:
    """Relative error ||calibrated - true|| / ||true|| within the body, in the three senses of the module's docstring."""
    crop = film.record["crop"]
    truth = case.frontal.line_integrals[slice(*crop["rows"]), slice(*crop["cols"])]
    curve, _ = fitted_response(film.pixels[0, 0], film.pose, reference.frontal_greys)
    found = {"response": _relative(curve.line_integrals(film.pixels[0, 0]), truth, truth > BODY_INTEGRAL)}
    known = with_size(film, case.exposure)
    for name, variant in (("placed by anatomy", film), ("placed by pixel size", known)):
        result = calibrated_film(variant, FIELD_PIXELS, FIELD_PIXELS, reference=reference)
        judged = case.scanned & (case.training_film > BODY_INTEGRAL) & result.covered[0, 0, 0]
        found[name] = _relative(result.line_integrals[0, 0, 0], case.training_film, judged)
    true_width_mm = case.exposure.pixel_in_patient_mm[1]
    found["width"] = film.pose.mm_per_pixel[1] / true_width_mm - 1.0
    return found


def _relative(found: Tensor, truth: Tensor, where: Tensor) -> float:
    return float((found - truth)[where].norm() / truth[where].norm())


def histogram_distance(values: Tensor, quantiles: Tensor) -> float:
    """First Wasserstein distance to the distribution whose quantiles are given, in line integrals."""
    levels = (torch.arange(len(quantiles)) + 0.5) / len(quantiles)
    return float((values.flatten().quantile(levels) - quantiles).abs().mean())


def real_rows(films: Path, simulated: Tensor) -> tuple[list[dict[str, Any]], dict[str, tuple[np.ndarray, Tensor | None, str]]]:
    """One row per film of a folder, and (grey, calibrated, caption) of each for the contact sheet."""
    from xct_components.data.film.pixels import film_from_file

    rows, pictures = [], {}
    for path in sorted(path for path in films.rglob("*") if path.name.lower().endswith(FILM_SUFFIXES)):
        outcome, reason, film = decision(path)
        source: FilmSource = film_from_file(path)
        row: dict[str, Any] = {"film": path.name, "decision": outcome, "reason": reason}
        calibrated = None
        if film is not None:
            result = calibrated_film(film)
            calibrated = torch.where(result.covered, result.line_integrals, torch.nan)[0, 0, 0]
            row |= {"record": result.record, **_distances(film, calibrated, simulated)}
        inside = source.pixels[borderless(source.pixels)]
        pictures[path.name] = (inside, calibrated, f"{outcome}: {reason}" if reason else outcome)
        rows.append(row)
    return rows, pictures


def _distances(film: ChestFilm, calibrated: Tensor, simulated: Tensor) -> dict[str, float]:
    """Before: the grey values stretched from 0 to the largest simulated value. After: calibrated."""
    grey = film.pixels[0, 0]
    stretched = (grey - grey.min()) / (grey.max() - grey.min()) * simulated.max()
    shown = torch.nn.functional.interpolate(stretched[None, None], size=(256, 256), mode="area")
    return {
        "before": histogram_distance(shown, simulated),
        "after": histogram_distance(calibrated[calibrated.isfinite()], simulated),
    }


def confusion(rows: Sequence[dict[str, Any]]) -> str:
    """Simulated films by kind and decision."""
    kinds = {"PA upright": ("PA", "upright"), **{f"PA {a}": ("PA", a) for a in ARRIVALS if a != "upright"}}
    kinds["lateral"] = ("LL", "upright")
    outcomes = ("accepted", "side unsure", "turned round", "refused")
    lines = []
    for name, kind in kinds.items():
        counts = Counter(row["decision"] for row in rows if (row["view"], row["arrival"]) == kind)
        lines.append([name, *(counts[outcome] for outcome in outcomes)])
    return markdown_table(["simulated film (reference of the other CTs)", *outcomes], lines)


def error_table(rows: Sequence[dict[str, Any]]) -> str:
    """Mean and worst error per display curve."""
    senses = ("response", "placed by anatomy", "placed by pixel size")
    lines = []
    for curve in CURVES:
        measured = [row for row in rows if row["curve"] == curve and "response" in row]
        cells = [f"{np.mean([r[s] for r in measured]):.3f} ({max(r[s] for r in measured):.3f})" for s in senses if measured]
        width = f"{np.std([r['width'] for r in measured]):.3f}" if measured else "-"
        lines.append([curve, len(measured), *cells, width])
    return markdown_table(["display", "films", *(f"{sense}, mean (worst)" for sense in senses), "width, sigma"], lines)


def main(arguments: list[str]) -> None:
    """Judge, measure, print the tables, and write the contact sheet and the records."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.films", description=__doc__.split("\n\n")[0])
    parser.add_argument("--films", type=Path, required=True, help="folder of real films, searched with its subfolders")
    parser.add_argument("--cts", type=Path, nargs="+", required=True, help="folders; every file or DICOM folder is one CT")
    parser.add_argument("--output", type=Path, required=True, help="folder for the contact sheet and the records")
    parser.add_argument("--phantoms", type=int, default=20, help="how many random phantoms are judged too")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    cases = list(ct_cases(options.cts))
    if len(cases) < 2:
        parser.error(f"--cts must hold at least two CTs, got {len(cases)}: each is judged by the others")
    rows, films = [], []
    for case in cases:
        reference = reference_of([other.films for other in cases if other is not case], {})
        own_rows, calibrated = simulated_rows(case, reference)
        rows += own_rows
        films.append((case.name, case.grey("PA", CURVES["linear"], "upright"), case.training_film, calibrated))
        print(f"simulated films of {case.name}", file=sys.stderr, flush=True)
    pooled = torch.cat([case.training_film[case.scanned] for case in cases])
    simulated = pooled.quantile((torch.arange(256) + 0.5) / 256)
    real, pictures = real_rows(options.films, simulated)
    print(markdown_table(["film", "decision", "reason or warning"], [[r["film"], r["decision"], r["reason"]] for r in real]))
    print("\n" + confusion(rows) + "\n\n" + error_table(rows) + "\n")
    accepted = [row for row in real if "after" in row]
    distances = [[row["film"], row["before"], row["after"]] for row in accepted]
    print(markdown_table(["histogram distance to simulated films (line integrals)", "before", "after"], distances))
    spread = spread_of_patients(cases)
    print(f"\nsimulated films to each other: mean {np.mean(spread):.2f}, {min(spread):.2f} to {max(spread):.2f}\n")
    controls = control_rows(options.cts, options.phantoms)
    print(control_table(controls))
    wrong = [row for row in rows if (row["decision"] == "refused") == (row["view"] == "PA" and row["arrival"] == "upright")]
    for row in wrong:
        print(f"{row['ct']} {row['view']} {row['curve']} {row['arrival']}: {row['decision']} {row['reason']}")
    options.output.mkdir(parents=True, exist_ok=True)
    contact_sheet(options.output / "films.png", pictures, films)
    records = {"real": real, "simulated": rows, "controls": controls}
    (options.output / "films.json").write_text(json.dumps(records, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])

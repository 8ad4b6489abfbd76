"""What the record of a run says, as tables: the film, its calibration, the stages with their weights, the software."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from xct_components.report_page.calibration_plot import calibration_plot
from xct_components.report_page.markup import escaped, table

_CURVE = "line integral = max(0, {offset:g} + {gain:g} g^{exponent:g}), g = (value - {black:g}) / ({white:g} - {black:g})"
_FIT = "fitted so that the greys of the organs (dots) meet those of simulated films; RMS misfit {misfit:g}"


def warnings_of(record: dict[str, Any]) -> list[str]:
    """What the user should know before looking, said once each; of a second film, that it is of that."""
    films = [("", record["film"]), ("second film: ", record["film"].get("second_film", {}))]
    noticed = [f"{of}{warning}" for of, film in films for warning in film.get("warnings", [])]
    accepted = [f"{of}accepted despite: {reason}" for of, film in films for reason in film.get("accepted_despite", [])]
    return list(dict.fromkeys(noticed + accepted))


def film_table(film: dict[str, Any]) -> str:
    """Where a film comes from and how it was read."""
    file, view, placement = film.get("file", {}), film.get("view", {}), film.get("placement", {})
    best, crop = view.get("best", {}), film.get("crop")
    rows: dict[str, object] = {
        "file": file.get("name"),
        "format": file.get("format"),
        "pixels": " x ".join(map(str, file.get("size", []))),
        "SHA-256": file.get("sha256"),
        "part used": _crop(crop),
        "pixel on the detector": _millimetres(film.get("pixel_mm_on_detector")),
        "pixel size from": film.get("pixel_mm_from"),
        "looks like": _view(best),
        "view by tags, by user": _pair(view.get("tags"), view.get("user")),
        "patient's sides": view.get("side"),
        "grey scale": "reversed, turned round" if film.get("polarity", {}).get("reversed") else "as expected",
        "scale from": placement.get("scale_from"),
        "pixel in the patient": _millimetres(placement.get("mm_per_pixel_in_patient")),
        "heights beside the frontal film": _heights(placement.get("heights")),
        "field covered by the film": _percent(placement.get("covered_share")),
        "geometry from": film.get("geometry_from"),
    }
    return table([(name, value) for name, value in rows.items() if value not in (None, "")])


def _heights(match: dict[str, Any] | None) -> str | None:
    """How a lateral film was moved to show the same heights as the frontal one."""
    if match is None:
        return None
    agreement = f"agreement {match['agreement']:.2f}"
    moved = f"moved by {match['shift_mm']:.0f} mm, {match['size']:.2f} times as large"
    return f"{moved} ({agreement})" if match["taken"] else f"left as anatomy has them ({agreement})"


def calibration(film: dict[str, Any], *, exact: bool) -> str:
    """The response curve with its formula, or why there is none."""
    response = film.get("response") or {}
    if not response.get("curve"):
        known = "exact line integrals of a simulated film" if exact else "no curve fitted: the film says its own scale"
        return f"<p>{escaped(response.get('note', known))}</p>"
    misfit = response.get("fit", {}).get("rms_misfit")
    said = _CURVE.format(**response["curve"])
    fitted = f"<p>{escaped(_FIT.format(misfit=misfit))}</p>" if misfit is not None else ""
    detail = _detail(response.get("detail") or {})
    return f"<figure>{calibration_plot(response)}<figcaption><code>{escaped(said)}</code>{fitted}{detail}</figcaption></figure>"


def _detail(detail: dict[str, Any]) -> str:
    """What was taken off the film's detail, band by band."""
    if "gain" not in detail:
        return ""
    edges = [0.0, *detail["bands_mm"]]
    kept = [
        f"{gain:.0%} of what is {'finer than' if low == 0.0 else f'{low:g} to'} {high:g} mm"
        for (low, high), gain in zip(pairwise(edges), detail["gain"], strict=True)
        if gain < 1.0
    ]
    said = f"Sharpened by its display: kept {', '.join(kept)}." if kept else "No more detail than films of CTs have: all kept."
    return f"<p>{escaped(said)}</p>"


def stage_table(record: dict[str, Any]) -> str:
    """Each stage with its error, time and weights."""
    heads = "".join(
        f"<th scope=col>{name}</th>" for name in ("stage", "voxels", "mm", "film error", "seconds", "weights, SHA-256")
    )
    weights = {str(one.get("bundle", "")).removeprefix("stage"): one for one in record["weights"]}
    lines = []
    for stage in record["stages"]:
        errors = ", ".join(f"{error:.1%}" for error in stage["film_error"])
        sha = weights.get(str(stage["stage"]), {}).get("sha256", "")
        numbers = (
            stage["stage"],
            " x ".join(map(str, stage["voxels"])),
            f"{stage['spacing_mm'][0]:g}",
            errors,
            stage["seconds"],
        )
        cells = "".join(f"<td>{escaped(number)}</td>" for number in numbers)
        lines.append(f"<tr>{cells}<td><code>{escaped(sha)}</code></td></tr>")
    return f'<div class="wide"><table><thead><tr>{heads}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'


def settings_table(record: dict[str, Any]) -> str:
    """What was asked for, and what computed it."""
    settings = {name.replace("_", " "): value for name, value in record["settings"].items() if value is not None}
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    machine = ", ".join(f"{name} {what}" for name, what in record["machine"].items())
    deviation = [("standard deviation", text)] if (text := _deviation(record.get("deviation"))) else []
    about = [("software", record["software"]), ("versions", versions), ("machine", machine)]
    return table([*about, *settings.items(), *deviation])


def _deviation(how: dict[str, Any] | None) -> str | None:
    """How the standard deviation came about; None without one."""
    if how is None:
        return None
    told_by = [f"how {how['bent_cts']} CTs of other patients differ once bent to the film"] if how["bent_cts"] else []
    told_by += [f"how {how['samples']} samples differ"] if how["samples"] else []
    scale = (
        f"times {how['factor']:.2f}: as wide as the errors of {how['patients']} patients"
        if how["patients"]
        else ("not held against errors")
    )
    return f"from {' and '.join(told_by)}, {scale}"


def _view(best: dict[str, Any]) -> str | None:
    if not best:
        return None
    turned = f", turned by {best['turned_clockwise_deg']}°" if best.get("turned_clockwise_deg") else ""
    mirrored = ", mirrored" if best.get("mirrored") else ""
    return f"{best.get('view')}{turned}{mirrored}, agreement {best.get('agreement')}"


def _crop(crop: dict[str, Any] | None) -> str | None:
    return f"rows {crop['rows']}, columns {crop['cols']} of {crop['of']}" if crop else None


def _pair(first: object, second: object) -> str | None:
    return f"{first or '-'}, {second or '-'}" if first or second else None


def _millimetres(pixel_mm: object) -> str | None:
    if not isinstance(pixel_mm, list | tuple) or not pixel_mm:
        return None
    return " x ".join(f"{float(mm):.3f}" for mm in pixel_mm) + " mm"


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{share:.0%}"

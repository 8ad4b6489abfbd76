"""``xct film``: any chest film as line integrals on the cascade's field, with a preview and every decision in a JSON."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from xct_components.data.atomic_files import require_folder_for, written_together
from xct_components.failures import CannotWrite, RefusedInput, UsageFailure

if TYPE_CHECKING:
    from xct_components.data.film.calibration import CalibratedFilm

SUFFIXES = (".nii.gz", ".nii")
SCHEMA, SCHEMA_VERSION = "xct-calibrated-film", 1
#: Line integrals shown as black and white in the preview.
PREVIEW_WINDOW = (0.0, 6.5)
MOST_SIDE_PIXELS = 4096


def film(
    film: str,
    *,
    output: str,
    view: str | None = None,
    accept: bool = False,
    pixel_mm: float | tuple[float, float] | None = None,
    rows: int = 256,
    cols: int = 256,
    overwrite: bool = False,
) -> list[Path]:
    """Calibrate a chest film: line integrals where the cascade expects them, a preview and a record.

    What is not an upright chest film of the view is refused with the reason. Research only, not for diagnosis.

    Args:
        film: a .png, .jpg, .tif, .dcm, .nii or .nii.gz file.
        output: film.nii.gz (line integrals, float32); film.png and film.json are written beside it.
        view: PA or AP, if you have seen that it is an upright frontal film and the program is not sure; LATERAL for a lateral
            film, which xct generate takes beside a frontal one.
        accept: take the film whatever speaks against it.
        pixel_mm: how large a pixel of the film file is on the detector, in mm, if you know it and the file does not: one
            number, or HEIGHT,WIDTH.
        rows: pixels from top to bottom, over 320 mm in the patient.
        cols: pixels from left to right, over 320 mm in the patient.
        overwrite: replace files that exist.

    Returns:
        The line integrals, the preview and the record.
    """
    targets = _free_targets(Path(output), Path(film), overwrite=overwrite)
    for name, count in (("rows", rows), ("cols", cols)):
        if not 1 <= count <= MOST_SIDE_PIXELS:
            raise UsageFailure(f"{name} must lie between 1 and {MOST_SIDE_PIXELS}, got {count}")
    calibrated = _calibrated(film, view.upper() if view else None, rows, cols, accept=accept, pixel_mm=pixel_mm)
    _write(targets, calibrated)
    return targets


def _calibrated(
    film: str, view: str | None, rows: int, cols: int, *, accept: bool, pixel_mm: float | tuple[float, float] | None
) -> "CalibratedFilm":
    from xct_components.data.film.calibration import calibrated_film
    from xct_components.data.film.lateral_calibration import calibrated_lateral
    from xct_components.data.film.lateral_reading import read_lateral
    from xct_components.data.film.reading import read_film

    settings: dict[str, Any] = {"accept": accept, "pixel_mm": pixel_mm}
    chest = read_lateral(film, **settings) if view == "LATERAL" else read_film(film, view=view, **settings)
    try:
        return calibrated_lateral(chest, None, rows, cols) if view == "LATERAL" else calibrated_film(chest, rows, cols)
    except ValueError as error:
        raise RefusedInput(f"{Path(film).name} cannot be calibrated: {error}") from error


def _free_targets(target: Path, source: Path, *, overwrite: bool) -> list[Path]:
    """Line integrals, preview and record, once it is clear that nothing is lost by writing them."""
    suffix = next((suffix for suffix in SUFFIXES if target.name.lower().endswith(suffix)), "")
    stem = target.name[: -len(suffix)] if suffix else ""
    if not stem:
        raise UsageFailure(f"output must end in .nii.gz or .nii, got {target.name!r}")
    targets = [target, target.with_name(f"{stem}.png"), target.with_name(f"{stem}.json")]
    require_folder_for(target)
    for path in targets:
        if path.exists() and (path.is_dir() or (source.exists() and path.samefile(source))):
            raise CannotWrite(f"cannot write {path}: it is a folder, or the film itself; choose another name")
        if path.exists() and not overwrite:
            raise CannotWrite(f"{path} exists; choose another name, or add --overwrite")
    return targets


def _write(targets: list[Path], calibrated: "CalibratedFilm") -> None:
    from xct_components.data.readable_json import readable_json
    from xct_components.data.simulate.film_files import write_nifti_line_integrals, write_png_line_integrals
    from xct_components.physics.display_curve import DisplayCurve

    integrals = calibrated.line_integrals[0, 0, 0]
    with written_together(*targets) as (film_draft, preview_draft, record_draft):
        write_nifti_line_integrals(film_draft, integrals, calibrated.beam, "CALIBRATED")
        write_png_line_integrals(preview_draft, integrals, DisplayCurve(window=PREVIEW_WINDOW))
        record_draft.write_text(readable_json(_document(calibrated)), encoding="utf-8")


def _document(calibrated: "CalibratedFilm") -> dict[str, Any]:
    from xct_components import __version__

    return {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "software": f"xct-components {__version__}",
        "notice": "Line integrals estimated from a displayed film. Research only, not for diagnosis.",
        "beam": calibrated.beam.to_json(),
        **calibrated.record,
    }

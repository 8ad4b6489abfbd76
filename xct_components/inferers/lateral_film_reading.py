"""The second film: a lateral one of the same patient, simulated from the same CT or calibrated beside the frontal film."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from xct_components.data.film.calibration import CalibratedFilm, covered_part
from xct_components.data.film.height_match import field_heights
from xct_components.data.film.lateral_calibration import calibrated_lateral
from xct_components.data.film.lateral_reading import read_lateral
from xct_components.data.film.pixel_size import PixelMm
from xct_components.failures import RefusedInput, UsageFailure
from xct_components.inferers.cascade_film import CALIBRATED, CascadeFilm
from xct_components.inferers.frontal_first import FrontalFirst
from xct_components.inferers.simulated_geometry import geometry_facts, measured_film, simulated_geometry

LATERAL = ("LL", "RL")


def read_lateral_film(
    path: str | Path, frontal: CascadeFilm, *, accept: bool = False, pixel_mm: PixelMm | None = None
) -> CascadeFilm:
    """A lateral film of the patient of ``frontal``: both simulated from one CT, or both calibrated.

    Args:
        path: a film made by ``xct simulate`` with its JSON beside it, or any lateral chest film that ``read_lateral`` takes.
        frontal: the frontal film.
        accept: take a calibrated film whatever speaks against it.
        pixel_mm: how large a pixel is on the detector; see ``read_film``.

    Raises:
        UnreadableInput: if the file, or the JSON beside it, is missing or damaged.
        RefusedInput: if it is no lateral chest film, cannot be calibrated, was simulated from another CT, or if one film knows
            its geometry and the other does not: then nobody knows how the two lie to each other.
        UsageFailure: for a size that no pixel has, or any size of a film whose JSON says it.
    """
    path = Path(path)
    geometry = simulated_geometry(path)
    if geometry is not None:
        if pixel_mm is not None:
            raise UsageFailure(f"lateral_pixel_mm must be left out, got {pixel_mm}: the JSON beside {path.name} says it")
        return _simulated(path, geometry, frontal)
    if frontal.record.get("geometry_from") != CALIBRATED:
        raise RefusedInput(
            f"{path.name} has no geometry, but the frontal film has ({frontal.record.get('geometry_from')}): how the two lie "
            "to each other is unknown; give two films that xct simulate made of one CT, or two real films of one patient"
        )
    chest = read_lateral(path, accept=accept, pixel_mm=pixel_mm)
    rows, cols = frontal.line_integrals.shape[-2:]
    try:
        heights = field_heights(frontal.line_integrals[0, 0, 0], frontal.record["placement"])
        film = calibrated_lateral(chest, frontal.record, rows, cols, heights=heights)
    except ValueError as error:
        raise RefusedInput(f"{path.name} cannot be calibrated: {error}") from error
    return shown_part(film)


def _simulated(path: Path, geometry: dict[str, Any], frontal: CascadeFilm) -> CascadeFilm:
    if frontal.record.get("ct_sha256") is None:
        raise RefusedInput(
            f"{path.name} was simulated from a CT, the frontal film was not: they cannot be films of one patient; leave "
            "--lateral out, or give the film that was taken with the frontal one"
        )
    if geometry["view"] not in LATERAL:
        raise RefusedInput(f"{path.name} is a {geometry['view']} film, not a lateral one (LL or RL)")
    if geometry["ct"]["voxels_sha256"] != frontal.record["ct_sha256"]:
        raise RefusedInput(f"{path.name} was simulated from another CT than the frontal film")
    values, beam, exact = measured_film(path, geometry)
    return CascadeFilm(values, (beam,), exact=exact, record=geometry_facts(geometry, path))


def shown_part(film: CalibratedFilm) -> CascadeFilm:
    """The film without the part of the field that it does not show: what was filled in there was not measured."""
    part = covered_part(film.covered[0, 0, 0])
    if part is None:
        raise RefusedInput("the lateral film shows nothing of the chest's field; crop it less")
    rows, cols = part
    shown = CascadeFilm(film.line_integrals[..., rows, cols], (film.beam.crop(rows, cols),))
    believed = {"consistency_if_auto": {"the frontal film has the last word": asdict(FrontalFirst())}}
    return replace(shown, record={**film.record, "geometry_from": CALIBRATED, **believed})

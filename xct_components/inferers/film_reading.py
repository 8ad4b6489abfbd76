"""From a file to what the cascade is given: films that know their geometry keep it, others are calibrated."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from xct_components.data.film.calibration import CalibratedFilm, calibrated_film
from xct_components.data.film.one_patient import require_one_patient
from xct_components.data.film.pixel_size import PixelMm
from xct_components.data.film.reading import ChestFilm, read_film
from xct_components.data.simulate.chest_exposure import FIELD_MM
from xct_components.failures import RefusedInput, UsageFailure
from xct_components.geometry import Beam, ConeBeam, VolumeGrid, chest_beam_covering
from xct_components.geometry.vectors import as_tensor, as_vector3
from xct_components.inferers.cascade_film import CALIBRATED, CascadeFilm
from xct_components.inferers.lateral_film_reading import read_lateral_film
from xct_components.inferers.simulated_geometry import geometry_facts, measured_film, simulated_geometry

FRONTAL = ("PA", "AP")
#: Rows and columns at which a real film is read, over 320 mm: 0.625 mm, as fine as the finest volume.
CALIBRATED_PIXELS = 512
#: The middle of the lungs is not sought further than this from the middle of a simulated film, in mm.
MOST_SHIFT_MM = 80.0


def read_cascade_film(
    path: str | Path, *, view: str | None = None, accept: bool = False, pixel_mm: PixelMm | None = None
) -> CascadeFilm:
    """A frontal film.

    Args:
        path: a film made by ``xct simulate`` with its JSON beside it, or any chest film that ``read_film`` takes.
        view: "PA" or "AP", if you have seen that it is an upright frontal film.
        accept: take the film whatever speaks against it.
        pixel_mm: how large a pixel is on the detector; see ``read_film``.

    Raises:
        UnreadableInput: if the file, or the JSON beside it, is missing or damaged.
        RefusedInput: if it is not a frontal chest film, cannot be calibrated, or the JSON is that of another film.
        UsageFailure: for a size that no pixel has, or any size of a film whose JSON says it.
    """
    path = Path(path)
    geometry = simulated_geometry(path)
    if geometry is not None and pixel_mm is not None:
        raise UsageFailure(f"pixel_mm is for films whose size nobody knows; the JSON beside {path.name} says it: leave it out")
    chest = read_film(path, view=view, accept=accept, pixel_mm=pixel_mm)
    if geometry is not None:
        return _with_geometry(chest, geometry, path)
    try:
        film = calibrated_film(chest, CALIBRATED_PIXELS, CALIBRATED_PIXELS)
    except ValueError as error:
        raise RefusedInput(f"{path.name} cannot be calibrated: {error}") from error
    return CascadeFilm(film.line_integrals, (film.beam,), record={**film.record, "geometry_from": CALIBRATED})


def as_cascade_film(
    xray: str | os.PathLike[str] | Tensor | CalibratedFilm | CascadeFilm,
    *,
    lateral: str | os.PathLike[str] | None = None,
    view: str | None = None,
    accept: bool = False,
    pixel_mm: PixelMm | None = None,
    lateral_pixel_mm: PixelMm | None = None,
) -> CascadeFilm:
    """Whatever a user calls a film.

    Args:
        xray: a file (see ``read_cascade_film``), a calibrated film, or line integrals (rows, cols) of a PA film that shows
            exactly the cascade's own field; they count as exact.
        lateral: a second film of the same patient; see ``read_lateral_film``.
        view: see ``read_cascade_film``.
        accept: likewise, for both films.
        pixel_mm: likewise, for the frontal film, of a file alone.
        lateral_pixel_mm: the same for the lateral film.

    Raises:
        UsageFailure: for a tensor of another shape, or a size of pixels that cannot be meant.
        UnreadableInput: see ``read_cascade_film`` and ``read_lateral_film``.
        RefusedInput: likewise, and for DICOM films of two patients.
    """
    _require_films_of(pixel_mm, lateral_pixel_mm, file=isinstance(xray, str | os.PathLike), lateral=lateral is not None)
    if isinstance(xray, CascadeFilm):
        film = xray
    elif isinstance(xray, CalibratedFilm):
        film = CascadeFilm(xray.line_integrals, (xray.beam,), record={**xray.record, "geometry_from": CALIBRATED})
    elif isinstance(xray, Tensor):
        film = _from_tensor(xray)
    else:
        film = read_cascade_film(os.fspath(xray), view=view, accept=accept, pixel_mm=pixel_mm)
    if lateral is None:
        return film
    if isinstance(xray, str | os.PathLike):
        require_one_patient(Path(xray), Path(lateral))
    return film.with_view(read_lateral_film(os.fspath(lateral), film, accept=accept, pixel_mm=lateral_pixel_mm))


def _require_films_of(pixel_mm: PixelMm | None, lateral_pixel_mm: PixelMm | None, *, file: bool, lateral: bool) -> None:
    if pixel_mm is not None and not file:
        raise UsageFailure("pixel_mm is for a film file, got a film that is read already; leave it out")
    if lateral_pixel_mm is not None and not lateral:
        raise UsageFailure("lateral_pixel_mm belongs to a lateral film; give that as lateral, or leave it out")


def _from_tensor(line_integrals: Tensor) -> CascadeFilm:
    if line_integrals.ndim < 2 or line_integrals.numel() != line_integrals.shape[-2] * line_integrals.shape[-1]:
        raise UsageFailure(f"xray must be one film (rows, cols) of line integrals, got the shape {tuple(line_integrals.shape)}")
    rows, cols = line_integrals.shape[-2:]
    beam = chest_beam_covering(VolumeGrid.chest((64, 64, 64), FIELD_MM / 64), "PA", rows, cols)
    plain = line_integrals.as_subclass(Tensor).detach().float().reshape(1, 1, 1, rows, cols)
    return CascadeFilm(plain, (beam,), exact=True, record={"geometry_from": "the cascade's own PA exposure"})


def _with_geometry(chest: ChestFilm, geometry: dict[str, Any], path: Path) -> CascadeFilm:
    if geometry["view"] not in FRONTAL:
        raise RefusedInput(f"{path.name} is a {geometry['view']} film; give the frontal film first, this one as --lateral")
    if chest.record["polarity"]["reversed"]:
        raise RefusedInput(f"{path.name} has a reversed grey scale; its JSON is that of another film: move it away")
    values, beam, exact = measured_film(path, geometry)
    center_mm, center_from = _center(chest, beam, geometry)
    record = {**chest.record, **geometry_facts(geometry, path), "crop": None, "field_center_from": center_from}
    return CascadeFilm(values, (beam,), center_mm, exact, record)


def _center(chest: ChestFilm, beam: Beam, geometry: dict[str, Any]) -> tuple[tuple[float, float, float], str]:
    """The middle of the lungs as in training, in the depth of the body's middle."""
    middle = as_vector3(geometry["isocenter_mm"], "isocenter_mm")
    crop = chest.record["crop"]
    row, col = chest.pose.middle
    on_film = beam.pixel_centers_mm(torch.tensor([crop["rows"][0] + row, crop["cols"][0] + col]))
    if isinstance(beam, ConeBeam):
        source = as_tensor(beam.source_mm)
        on_film = source + (on_film - source) / beam.magnification_at(middle)
    normal = as_tensor(beam.normal)
    shift = on_film - as_tensor(middle)
    shift = shift - (shift @ normal) * normal
    if chest.record["view"]["best"]["view"] != "frontal" or math.hypot(*shift.tolist()) > MOST_SHIFT_MM:
        return middle, "the middle of the body: the lungs are not clearly seen"
    return as_vector3(
        as_tensor(middle) + shift, "center_mm"
    ), "the middle of the lungs on the film, in the depth of the body's middle"

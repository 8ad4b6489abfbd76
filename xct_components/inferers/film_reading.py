"""From a file to what the cascade is given: films that know their geometry keep it, others are calibrated."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from xct_components.data.film.calibration import CalibratedFilm, calibrated_film
from xct_components.data.film.pixels import film_from_file
from xct_components.data.film.reading import ChestFilm, read_film
from xct_components.data.simulate.chest_exposure import FIELD_MM
from xct_components.data.simulate.film_files import WHITE
from xct_components.data.simulate.film_geometry import SCHEMA
from xct_components.failures import RefusedInput, UnreadableInput, UsageFailure
from xct_components.geometry import Beam, ConeBeam, VolumeGrid, chest_beam_covering
from xct_components.geometry.vectors import as_tensor, as_vector3
from xct_components.inferers.cascade_film import CascadeFilm
from xct_components.physics.attenuation import FILM_ENERGY_KEV

#: A simulated film has one of these endings, and its geometry in a JSON of the same name.
FILM_SUFFIXES = (".nii.gz", ".nii", ".png", ".dcm")
FRONTAL, LATERAL = ("PA", "AP"), ("LL", "RL")
#: Rows and columns at which a real film is read, over 320 mm: 0.625 mm, as fine as the finest volume.
CALIBRATED_PIXELS = 512
#: A picture with more than this share of plain white pixels has lost the line integrals of its densest parts.
MOST_CUT_OFF = 0.002
#: The middle of the lungs is not sought further than this from the middle of a simulated film, in mm.
MOST_SHIFT_MM = 80.0


def read_cascade_film(path: str | Path, *, view: str | None = None, accept: bool = False) -> CascadeFilm:
    """A frontal film.

    Args:
        path: a film made by ``xct simulate`` with its JSON beside it, or any chest film that ``read_film`` takes.
        view: "PA" or "AP", if you have seen that it is an upright frontal film.
        accept: take the film whatever speaks against it.

    Raises:
        UnreadableInput: if the file, or the JSON beside it, is missing or damaged.
        RefusedInput: if it is not a frontal chest film, cannot be calibrated, or the JSON is that of another film.
    """
    path = Path(path)
    geometry = simulated_geometry(path)
    chest = read_film(path, view=view, accept=accept)
    if geometry is not None:
        return _with_geometry(chest, geometry, path)
    try:
        film = calibrated_film(chest, CALIBRATED_PIXELS, CALIBRATED_PIXELS)
    except ValueError as error:
        raise RefusedInput(f"{path.name} cannot be calibrated: {error}") from error
    return CascadeFilm(film.line_integrals, (film.beam,), record={**film.record, "geometry_from": "calibration"})


def read_lateral_film(path: str | Path, frontal: CascadeFilm) -> CascadeFilm:
    """A lateral film of the patient of ``frontal``.

    Raises:
        RefusedInput: unless both films were simulated from the same CT: without geometry nobody knows how the two lie.
    """
    path = Path(path)
    geometry = simulated_geometry(path)
    if geometry is None or frontal.record.get("ct_sha256") is None:
        raise RefusedInput(
            f"{path.name if geometry is None else 'the frontal film'} has no geometry: how a real lateral film lies to the "
            "frontal one cannot be calibrated; leave --lateral out"
        )
    if geometry["view"] not in LATERAL:
        raise RefusedInput(f"{path.name} is a {geometry['view']} film, not a lateral one (LL or RL)")
    if geometry["ct"]["voxels_sha256"] != frontal.record["ct_sha256"]:
        raise RefusedInput(f"{path.name} was simulated from another CT than the frontal film")
    values, beam, exact = _measured(path, geometry)
    return CascadeFilm(values, (beam,), exact=exact, record=_facts(geometry, path))


def as_cascade_film(
    xray: str | os.PathLike[str] | Tensor | CalibratedFilm | CascadeFilm,
    *,
    lateral: str | os.PathLike[str] | None = None,
    view: str | None = None,
    accept: bool = False,
) -> CascadeFilm:
    """Whatever a user calls a film.

    Args:
        xray: a file (see ``read_cascade_film``), a calibrated film, or line integrals (rows, cols) of a PA film that shows
            exactly the cascade's own field; they count as exact.
        lateral: see ``read_lateral_film``.
        view: see ``read_cascade_film``.
        accept: likewise.

    Raises:
        UsageFailure: for a tensor of another shape.
    """
    if isinstance(xray, CascadeFilm):
        film = xray
    elif isinstance(xray, CalibratedFilm):
        film = CascadeFilm(xray.line_integrals, (xray.beam,), record={**xray.record, "geometry_from": "calibration"})
    elif isinstance(xray, Tensor):
        film = _from_tensor(xray)
    else:
        film = read_cascade_film(os.fspath(xray), view=view, accept=accept)
    return film if lateral is None else film.with_view(read_lateral_film(os.fspath(lateral), film))


def _from_tensor(line_integrals: Tensor) -> CascadeFilm:
    if line_integrals.ndim < 2 or line_integrals.numel() != line_integrals.shape[-2] * line_integrals.shape[-1]:
        raise UsageFailure(f"xray must be one film (rows, cols) of line integrals, got the shape {tuple(line_integrals.shape)}")
    rows, cols = line_integrals.shape[-2:]
    beam = chest_beam_covering(VolumeGrid.chest((64, 64, 64), FIELD_MM / 64), "PA", rows, cols)
    plain = line_integrals.as_subclass(Tensor).detach().float().reshape(1, 1, 1, rows, cols)
    return CascadeFilm(plain, (beam,), exact=True, record={"geometry_from": "the cascade's own PA exposure"})


def simulated_geometry(path: Path) -> dict[str, Any] | None:
    """The JSON that ``xct simulate`` wrote beside a film; None if there is none.

    Raises:
        UnreadableInput: if there is one, but damaged.
    """
    suffix = next((suffix for suffix in FILM_SUFFIXES if path.name.lower().endswith(suffix)), None)
    if suffix is None:
        return None
    beside = path.with_name(path.name[: -len(suffix)] + ".json")
    try:
        document = json.loads(beside.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UnreadableInput(
            f"{beside.name} beside {path.name} cannot be read; move it away or simulate the film again"
        ) from error
    return document if isinstance(document, dict) and document.get("schema") == SCHEMA else None


def _with_geometry(chest: ChestFilm, geometry: dict[str, Any], path: Path) -> CascadeFilm:
    if geometry["view"] not in FRONTAL:
        raise RefusedInput(f"{path.name} is a {geometry['view']} film; give the frontal film first, this one as --lateral")
    if chest.record["polarity"]["reversed"]:
        raise RefusedInput(f"{path.name} has a reversed grey scale; its JSON is that of another film: move it away")
    values, beam, exact = _measured(path, geometry)
    center_mm, center_from = _center(chest, beam, geometry)
    record = {**chest.record, **_facts(geometry, path), "crop": None, "field_center_from": center_from}
    return CascadeFilm(values, (beam,), center_mm, exact, record)


def _measured(path: Path, geometry: dict[str, Any]) -> tuple[Tensor, Beam, bool]:
    """The whole film with its air borders, which say as much as the rest: values (1, 1, 1, rows, cols), beam, exactness."""
    source = film_from_file(path)
    pixels = torch.from_numpy(source.pixels)
    beam = _beam(geometry, source.pixels.shape, path)
    values = _line_integrals(pixels, source.line_integrals, geometry)
    return values[None, None, None], beam, _exact(pixels, source.line_integrals, geometry)


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


def _beam(geometry: dict[str, Any], shape: tuple[int, ...], path: Path) -> Beam:
    beam = Beam.from_json(geometry["beam"])
    expected = (beam.detector.rows, beam.detector.cols)
    if tuple(shape) != expected:
        raise RefusedInput(
            f"{path.name} has {shape[1]} x {shape[0]} pixels, its JSON is of a film of {expected[1]} x {expected[0]}; "
            "move it away, or simulate the film again"
        )
    return beam


def _line_integrals(pixels: Tensor, are_integrals: bool, geometry: dict[str, Any]) -> Tensor:
    """The film's own line integrals, or those that its grey values stand for; black is nothing at all."""
    if are_integrals:
        return pixels.float().clamp_min(0.0)
    low, high = geometry["display"]["window"]
    return torch.where(pixels > 0.0, low + pixels.float() / WHITE * (high - low), 0.0)


def _exact(pixels: Tensor, are_integrals: bool, geometry: dict[str, Any]) -> bool:
    """Whether the values are line integrals at the cascade's energy: without film formation, and not cut off at white."""
    physics = geometry["physics"]
    cut_off = 0.0 if are_integrals else float((pixels >= WHITE).float().mean())
    return cut_off <= MOST_CUT_OFF and physics["film_formation"] is None and physics["energy_kev"] == FILM_ENERGY_KEV


def _facts(geometry: dict[str, Any], path: Path) -> dict[str, Any]:
    return {
        "geometry_from": f"the JSON of {path.name}, written by {geometry['software']}",
        "simulated_view": geometry["view"],
        "ct_sha256": geometry["ct"]["voxels_sha256"],
        "physics": geometry["physics"],
    }

"""What ``xct simulate`` wrote beside a film: its exposure in the world of its CT, and how exact its values are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from xct_components.data.film.pixels import film_from_file
from xct_components.data.simulate.film_files import WHITE
from xct_components.data.simulate.film_geometry import SCHEMA
from xct_components.failures import RefusedInput, UnreadableInput
from xct_components.geometry import Beam
from xct_components.physics.attenuation import FILM_ENERGY_KEV

#: A simulated film has one of these endings, and its geometry in a JSON of the same name.
FILM_SUFFIXES = (".nii.gz", ".nii", ".png", ".dcm")
#: A picture with more than this share of plain white pixels has lost the line integrals of its densest parts.
MOST_CUT_OFF = 0.002


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


def measured_film(path: Path, geometry: dict[str, Any]) -> tuple[Tensor, Beam, bool]:
    """The whole film with its air borders, which say as much as the rest: values (1, 1, 1, rows, cols), beam, exactness."""
    source = film_from_file(path)
    pixels = torch.from_numpy(source.pixels)
    beam = _beam(geometry, source.pixels.shape, path)
    values = _line_integrals(pixels, source.line_integrals, geometry)
    return values[None, None, None], beam, _exact(pixels, source.line_integrals, geometry)


def geometry_facts(geometry: dict[str, Any], path: Path) -> dict[str, Any]:
    """What the record says of a film whose geometry is known."""
    return {
        "geometry_from": f"the JSON of {path.name}, written by {geometry['software']}",
        "simulated_view": geometry["view"],
        "ct_sha256": geometry["ct"]["voxels_sha256"],
        "physics": geometry["physics"],
    }


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

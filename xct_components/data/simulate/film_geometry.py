"""The JSON beside a simulated film: everything that lays it, or a volume made from it, over the CT it came from."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from xct_components import __version__
from xct_components.data.simulate.chest_exposure import ChestExposure
from xct_components.data.simulate.simulated_film import SimulatedFilm

SCHEMA = "xct-film-geometry"
SCHEMA_VERSION = 1

#: A CT that fills less than this share of the film's height or width is worth a warning; air beside the patient is usual.
FILLED_SHARE = 0.9


def film_geometry(
    film: SimulatedFilm,
    exposure: ChestExposure,
    *,
    ct: dict[str, Any],
    physics: dict[str, Any],
    display: dict[str, Any],
    warnings: Sequence[str] = (),
) -> dict[str, Any]:
    """The JSON-ready description; lengths and positions in mm, in the CT's world frame (RAS+).

    Args:
        film: the film; its ``beam`` is the exposure's.
        exposure: view, beam and isocentre.
        ct: name and fingerprint of the CT; no path, which may name a patient.
        physics: how the pixel values came about.
        display: how they became grey values.
        warnings: what the user should know.
    """
    beam, coverage_mm = exposure.beam, exposure.coverage_mm(film.grid)
    return {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "software": f"xct-components {__version__}",
        "notice": "SIMULATED film computed from a CT. Research only, not for diagnosis.",
        "world_frame": "RAS+ millimetres: +x = patient right, +y = anterior, +z = superior",
        "view": exposure.view,
        "beam": beam.to_json(),
        "isocenter_mm": list(exposure.isocenter_mm),
        "source_to_detector_mm": beam.source_to_detector_mm,
        "source_to_patient_mm": exposure.source_to_patient_mm,
        "pixel_size_mm": {"detector": list(beam.detector.pitch_mm), "patient": list(exposure.pixel_in_patient_mm)},
        "field": {
            "size_in_patient_mm": list(exposure.field_mm),
            "on_detector": _field_mm(exposure, 1.0),
            "in_patient": _field_mm(exposure, 1.0 / exposure.magnification),
        },
        "coverage_mm": list(coverage_mm),
        "ct": {**ct, "axes": "slice, row, column (the file's array order, slowest first)", "grid": film.grid.to_json()},
        "physics": physics,
        "display": display,
        "warnings": [*warnings, *_coverage_warnings(exposure, coverage_mm)],
    }


def voxels_sha256(ct_hu: Float[Tensor, "1 1 d h w"]) -> str:
    """Fingerprint of a CT: SHA-256 of its HU as little-endian float32; the same CT in another file format has the same."""
    values = ct_hu.contiguous().numpy().astype("<f4", copy=False)
    return hashlib.sha256(values.data).hexdigest()


def _field_mm(exposure: ChestExposure, share_of_distance: float) -> dict[str, list[float]]:
    """Centre and outer corners of the film, pulled towards the source to a share of the detector's distance."""
    rows, cols = exposure.beam.detector.rows, exposure.beam.detector.cols
    places = {
        "center_mm": ((rows - 1) / 2, (cols - 1) / 2),
        "top_left_mm": (-0.5, -0.5),
        "top_right_mm": (-0.5, cols - 0.5),
        "bottom_left_mm": (rows - 0.5, -0.5),
        "bottom_right_mm": (rows - 0.5, cols - 0.5),
    }
    source = torch.tensor(exposure.beam.source_mm, dtype=torch.float64)
    on_detector = exposure.beam.pixel_centers_mm(torch.tensor(list(places.values())))
    points = source + (on_detector - source) * share_of_distance
    return dict(zip(places, points.tolist(), strict=True))


def _coverage_warnings(exposure: ChestExposure, coverage_mm: tuple[float, float]) -> list[str]:
    height_mm, width_mm = exposure.field_mm
    if coverage_mm[0] >= FILLED_SHARE * height_mm and coverage_mm[1] >= FILLED_SHARE * width_mm:
        return []
    filled, film = f"{coverage_mm[0]:.0f} x {coverage_mm[1]:.0f}", f"{height_mm:.0f} x {width_mm:.0f}"
    return [f"the CT fills {filled} of the film's {film} mm; the rest is air"]

"""Displayed films of CTs whose line integrals are known, turned and reversed in every way that a film can arrive in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.folder_of_cts import read_cts
from xct_components.data.film.reading import ChestFilm
from xct_components.data.film.reference import ChestFilms
from xct_components.data.film.reference_case import chest_films
from xct_components.data.prepare.chest_grid import cascade_grid
from xct_components.data.prepare.prepared_case import patient_only
from xct_components.data.prepare.resampling import resampled
from xct_components.data.simulate.chest_exposure import ChestExposure, chest_exposure_for
from xct_components.data.simulate.film_files import display_pixels
from xct_components.data.simulate.simulated_film import SimulatedFilm, simulate_film
from xct_components.geometry import ChestView, VolumeGrid, chest_beam_covering
from xct_components.physics.attenuation import hu_to_mu_per_mm
from xct_components.physics.display_curve import DisplayCurve
from xct_components.physics.projector import project

#: The displays that `xct simulate` writes, and harder ones.
CURVES = {
    "linear": DisplayCurve(window=(0.5, 6.5)),
    "S-shaped": DisplayCurve(window=(0.5, 6.5), contrast=6.0),
    "gamma 0.6": DisplayCurve(window=(0.0, 6.5), gamma=0.6),
    "gamma 1.6": DisplayCurve(window=(0.0, 6.5), gamma=1.6),
}
LATERAL_CURVE = DisplayCurve(window=(0.5, 8.5))
#: The same displays for lateral films, whose rays are longer.
LATERAL_CURVES = {
    "linear": LATERAL_CURVE,
    "S-shaped": DisplayCurve(window=(0.5, 8.5), contrast=6.0),
    "gamma 0.6": DisplayCurve(window=(0.0, 8.5), gamma=0.6),
    "gamma 1.6": DisplayCurve(window=(0.0, 8.5), gamma=1.6),
}
#: How a film may arrive: quarter turns, mirrored, reversed grey.
ARRIVALS = {
    "upright": (0, False, False),
    "turned 90": (1, False, False),
    "turned 180": (2, False, False),
    "turned 270": (3, False, False),
    "mirrored": (0, True, False),
    "reversed grey": (0, False, True),
}
#: Rows and columns of the truth over the cascade's field.
FIELD_PIXELS = 128


@dataclass(frozen=True)
class CtCase:
    """One CT: its films as `xct simulate` makes them, and the training film it would give.

    Args:
        name: of the CT.
        films: its part in a film reference.
        frontal: PA film with the body in the middle; the CT's table is in it unless the cases were asked for without.
        lateral: left lateral film, likewise.
        exposure: of the frontal film.
        lateral_exposure: of the lateral film.
        training_film: (128, 128) line integrals of the prepared CT on the cascade's field.
        scanned: (128, 128), whether a pixel's rays cross the CT.
        lateral_training_film: as ``training_film``, left lateral.
        lateral_scanned: as ``scanned``, left lateral.
        prepared_hu: (1, 1, 64, 64, 64) HU of the prepared CT.
    """

    name: str
    films: ChestFilms
    frontal: SimulatedFilm
    lateral: SimulatedFilm
    exposure: ChestExposure
    lateral_exposure: ChestExposure
    training_film: Tensor
    scanned: Tensor
    lateral_training_film: Tensor
    lateral_scanned: Tensor
    prepared_hu: Tensor

    def grey(self, view: ChestView, curve: DisplayCurve, arrival: str) -> np.ndarray:
        """(rows, cols) uint16 as displayed, in one of ARRIVALS."""
        turns, mirrored, reverse = ARRIVALS[arrival]
        grey = display_pixels(self.frontal if view == "PA" else self.lateral, curve)
        grey = grey[:, ::-1] if mirrored else grey
        grey = np.rot90(grey, turns)
        return np.ascontiguousarray(65535 - grey if reverse else grey)


def with_size(film: ChestFilm, exposure: ChestExposure) -> ChestFilm:
    """The film as it would be read if its file said how large its pixels are."""
    return replace(film, pixel_mm=exposure.beam.detector.pitch_mm, magnification=exposure.magnification)


def ct_cases(folders: list[Path], *, table: bool = True) -> Iterator[CtCase]:
    """Every CT in the folders; what is not a CT is named on stderr and left out.

    Args:
        folders: of CTs.
        table: whether the displayed films show the scanner's table, as those of ``xct simulate`` do and real films do not.
    """
    return (_ct_case(name, ct_hu, grid, table) for name, ct_hu, grid in read_cts(folders))


def _ct_case(name: str, ct_hu: Tensor, grid: VolumeGrid, table: bool) -> CtCase:
    exposures = {view: chest_exposure_for(ct_hu, grid, view) for view in ("PA", "LL")}
    patient = patient_only(ct_hu, grid)
    field = cascade_grid(patient.ct, patient.center_hdw, 64)
    views: tuple[ChestView, ...] = ("PA", "LL")
    beams = [chest_beam_covering(field, view, FIELD_PIXELS, FIELD_PIXELS) for view in views]
    alone = torch.from_numpy(patient.ct.hu).float()[None, None]
    shown = (ct_hu, grid) if table else (alone, patient.ct.grid)
    truths = project(hu_to_mu_per_mm(alone), patient.ct.grid, beams)[0, :, 0]
    scanned = project(torch.ones_like(alone), patient.ct.grid, beams)[0, :, 0] > 0.0
    return CtCase(
        name=name,
        films=chest_films(name, ct_hu, grid),
        frontal=simulate_film(*shown, exposures["PA"].beam),
        lateral=simulate_film(*shown, exposures["LL"].beam),
        exposure=exposures["PA"],
        lateral_exposure=exposures["LL"],
        training_film=truths[0],
        scanned=scanned[0],
        lateral_training_film=truths[1],
        lateral_scanned=scanned[1],
        prepared_hu=torch.from_numpy(resampled(patient.ct, patient.center_hdw, field)).float()[None, None],
    )

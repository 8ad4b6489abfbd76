"""Radiographs as different rooms would take them: distances and film formation, chosen first, applied later."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from xct_components.data.cases.random_draws import below, between, happens, seed_of
from xct_components.data.simulate.simulated_film import simulate_film
from xct_components.geometry import ChestView, ConeBeam, VolumeGrid, chest_beam_covering
from xct_components.physics.attenuation import FILM_ENERGY_KEV, hu_to_mu_per_mm
from xct_components.physics.film_formation import FilmFormation
from xct_components.physics.projector import project

#: Share of films without any film formation: the line integrals themselves.
PLAIN_SHARE = 0.3


@dataclass(frozen=True)
class TrainingExposure:
    """How a film is taken; the default is the cascade's own exposure.

    Args:
        source_to_detector_mm: SID.
        patient_to_detector_mm: middle of the chest to the detector.
        film_formation: what the detector makes of the rays; everything off by default.
        noise_seed: which quantum noise.
    """

    source_to_detector_mm: float = 1800.0
    patient_to_detector_mm: float = 200.0
    film_formation: FilmFormation = field(default_factory=FilmFormation)
    noise_seed: int = 0

    def beam(self, grid: VolumeGrid, view: ChestView, rows: int, cols: int) -> ConeBeam:
        """The exposure of ``grid``'s field from one side; see ``chest_beam_covering``."""
        return chest_beam_covering(
            grid,
            view,
            rows,
            cols,
            source_to_detector_mm=self.source_to_detector_mm,
            source_to_patient_mm=self.source_to_detector_mm - self.patient_to_detector_mm,
        )

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dictionary; ``from_json`` restores an equal exposure."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> TrainingExposure:
        """The exposure that ``to_json`` described."""
        return cls(**{**fields, "film_formation": FilmFormation.from_json(fields["film_formation"])})


class TrainingFilm(NamedTuple):
    """A film and what it should have shown.

    ``film``: (1, V, 1, rows, cols) what the detector made of the rays, in line-integral units.
    ``line_integrals``: (1, V, 1, rows, cols) at 60 keV, without film formation: what physics losses compare with.
    ``beams``: the V exposures.
    """

    film: Float[Tensor, "1 v 1 rows cols"]
    line_integrals: Float[Tensor, "1 v 1 rows cols"]
    beams: list[ConeBeam]


def draw_training_exposure(generator: torch.Generator) -> TrainingExposure:
    """A random exposure within what guidelines and surveys find.

    SID 1400-2000 mm: European Guidelines on Quality Criteria for Diagnostic Radiographic Images (EUR 16260), chest 180
    (140-200) cm. Film formation: the ranges of ``FilmFormation``.
    """
    sid_mm, gap_mm = between(generator, 1400.0, 2000.0), between(generator, 150.0, 250.0)
    seed = seed_of(generator)
    if happens(generator, PLAIN_SHARE):
        return TrainingExposure(sid_mm, gap_mm, FilmFormation(), seed)
    formation = FilmFormation(
        tube_kvp=(100, 120, 140)[below(generator, 3)],
        water_linearized=happens(generator, 0.5),
        scatter_to_primary=between(generator, 0.1, 0.6) if happens(generator, 0.8) else None,
        scatter_sigma_mm=between(generator, 15.0, 60.0),
        photons_per_mm2=between(generator, 4e5, 2e6),
        blur_sigma_mm=between(generator, 0.12, 0.19),
    )
    return TrainingExposure(sid_mm, gap_mm, formation, seed)


def take_film(
    ct_hu: Float[Tensor, "1 1 d h w"],
    grid: VolumeGrid,
    exposure: TrainingExposure,
    *,
    views: tuple[ChestView, ...] = ("PA",),
    rows: int,
    cols: int,
) -> TrainingFilm:
    """The films of one volume in a chosen exposure, on its device; the same exposure gives the same film on every device."""
    beams = [exposure.beam(grid, view, rows, cols) for view in views]
    line_integrals = project(hu_to_mu_per_mm(ct_hu, FILM_ENERGY_KEV), grid, beams)
    if exposure.film_formation == FilmFormation():
        return TrainingFilm(line_integrals, line_integrals, beams)
    generator = torch.Generator().manual_seed(exposure.noise_seed)
    films = [simulate_film(ct_hu, grid, beam, exposure.film_formation, generator).line_integrals for beam in beams]
    return TrainingFilm(torch.stack(films)[None, :, None], line_integrals, beams)

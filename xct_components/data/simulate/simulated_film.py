"""A chest film from a CT: its line integrals, or what a detector makes of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from xct_components.geometry import Beam, VolumeGrid
from xct_components.physics.attenuation import FILM_ENERGY_KEV, hu_to_materials, hu_to_mu_per_mm
from xct_components.physics.film_formation import FilmFormation, form_film
from xct_components.physics.projection_operator import FootprintName
from xct_components.physics.projector import project


@dataclass(frozen=True)
class SimulatedFilm:
    """A film, and how it lies in the CT's world.

    Args:
        line_integrals: (rows, cols) float32, dimensionless: -ln of the intensity relative to the open beam.
        beam: source and detector in the CT's RAS frame.
        grid: voxels of the CT it shows.
    """

    line_integrals: Float[Tensor, "rows cols"]
    beam: Beam
    grid: VolumeGrid


def simulate_film(
    ct_hu: Float[Tensor, "1 1 d h w"],
    grid: VolumeGrid,
    beam: Beam,
    film_formation: FilmFormation | None = None,
    generator: torch.Generator | None = None,
    *,
    energy_kev: float = FILM_ENERGY_KEV,
    footprint: FootprintName = "area",
) -> SimulatedFilm:
    """The film that ``beam`` takes of a CT.

    Args:
        ct_hu: (1, 1, D, H, W) HU.
        grid: where its voxels lie.
        beam: the exposure.
        film_formation: spectrum, scatter, noise and blur; None for exact line integrals at ``energy_kev``.
        generator: the randomness of the noise, if ``film_formation`` has any.
        energy_kev: photon energy of the line integrals; without effect on ``film_formation``, which has its own beam.
        footprint: "area" averages over each pixel, "ray" follows its centre.

    Raises:
        ValueError: if no ray meets the CT, the source lies within it, or an energy is outside the tables.
    """
    if film_formation is None:
        film = project(hu_to_mu_per_mm(ct_hu, energy_kev), grid, [beam], footprint=footprint)[0, 0, 0]
        return SimulatedFilm(film, beam, grid)
    soft_mm, bone_mm = (project(density, grid, [beam], footprint=footprint)[0, 0, 0] for density in hu_to_materials(ct_hu))
    film = form_film(soft_mm, bone_mm, beam.detector.pitch_mm, film_formation, generator)
    return SimulatedFilm(film, beam, grid)

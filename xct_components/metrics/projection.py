"""How far a volume is from a film: of the view that was given, and of one that nobody was given."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from xct_components.geometry import Beam, ChestView, VolumeGrid, chest_beam_covering
from xct_components.physics.attenuation import hu_to_mu_per_mm
from xct_components.physics.consistency import relative_film_error
from xct_components.physics.projector import project


@dataclass(frozen=True, eq=False)
class TrueFilm:
    """What the true CT shows from one side.

    Args:
        beam: the exposure.
        line_integrals: (1, 1, 1, rows, cols), dimensionless.
    """

    beam: Beam
    line_integrals: Float[Tensor, "1 1 1 rows cols"]


def true_film(truth_hu: Float[Tensor, "1 1 d h w"], grid: VolumeGrid, view: ChestView) -> TrueFilm:
    """The exact film of a CT in the cascade's own room, a pixel as wide in the patient as a voxel.

    Args:
        truth_hu: the CT.
        grid: where it lies, axes P, I, L.
        view: "PA" or "AP" for frontal, "LL" or "RL" for lateral.
    """
    depth, rows, width = grid.shape
    beam = chest_beam_covering(grid, view, rows, width if view in ("PA", "AP") else depth)
    return TrueFilm(beam, project(hu_to_mu_per_mm(truth_hu), grid, [beam]))


def film_error(volume_hu: Float[Tensor, "1 1 d h w"], grid: VolumeGrid, film: TrueFilm) -> float:
    """||DRR(volume) - film|| / ||film||, at 60 keV: 0 is best, 1 is what an empty volume gets.

    Of the film that was given it is nearly nothing for whatever went through consistency, however wrong in depth; the film of
    a view that nobody was given measures the depth.
    """
    return float(relative_film_error(hu_to_mu_per_mm(volume_hu), film.line_integrals, grid, [film.beam]))

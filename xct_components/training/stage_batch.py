"""One training batch of a stage, complete: films, truth, prior, and every random choice already made."""

from __future__ import annotations

from dataclasses import dataclass, field

from jaxtyping import Float
from torch import Tensor

from xct_components.geometry import Beam, VolumeGrid
from xct_components.networks.stage_conditions import Column


@dataclass(frozen=True)
class StageBatch:
    """B cases, V films; the volume axes are those of the stage's field.

    N is B, or B times the number of columns: first the first column of every case.

    Args:
        film: (B, V, 1, rows, cols) what the network sees, in line-integral units.
        line_integrals: (B, V, 1, rows, cols) what the film should have shown: the physics loss compares with it.
        fields: the whole field, one grid per case.
        beams: V exposures per case.
        truth_hu: (B, 1, D, H, W).
        prior_hu: (B, 1, D, H, W) what the stage starts from.
        coarse_noise: (B,) how much noise the previous stage's volume was given, 0 to 1.
        film_present: (B,) 0 where the network must do without the film.
        noise: (N, 1, D, H, W), of the columns if there are any.
        time: (N,) diffusion time.
        columns: the full-depth columns that are trained on, those of every case; none for the whole volume.
    """

    film: Float[Tensor, "b v 1 rows cols"]
    line_integrals: Float[Tensor, "b v 1 rows cols"]
    fields: list[VolumeGrid]
    beams: list[list[Beam]]
    truth_hu: Float[Tensor, "b 1 d h w"]
    prior_hu: Float[Tensor, "b 1 d h w"]
    coarse_noise: Float[Tensor, " b"]
    film_present: Float[Tensor, " b"]
    noise: Float[Tensor, "n 1 nd nh nw"]
    time: Float[Tensor, " n"]
    columns: list[Column] = field(default_factory=list)

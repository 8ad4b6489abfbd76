"""One training batch of a stage, complete: films, truth, prior, and every random choice already made."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from xct_components.geometry import Beam, VolumeGrid
from xct_components.networks.stage_conditions import Column


@dataclass(frozen=True)
class StageBatch:
    """B cases, V films; the volume axes are those of the stage's field.

    Args:
        film: (B, V, 1, rows, cols) what the network sees, in line-integral units.
        line_integrals: (B, V, 1, rows, cols) what the film should have shown: the physics loss compares with it.
        fields: the whole field, one grid per case.
        beams: V exposures per case.
        truth_hu: (B, 1, D, H, W).
        prior_hu: (B, 1, D, H, W) what the stage starts from.
        coarse_noise: (B,) how much noise the previous stage's volume was given, 0 to 1.
        film_present: (B,) 0 where the network must do without the film.
        noise: (B, 1, D, H, W), of the column if there is one.
        time: (B,) diffusion time.
        column: the full-depth column that is trained on; None for the whole volume.
    """

    film: Float[Tensor, "b v 1 rows cols"]
    line_integrals: Float[Tensor, "b v 1 rows cols"]
    fields: list[VolumeGrid]
    beams: list[list[Beam]]
    truth_hu: Float[Tensor, "b 1 d h w"]
    prior_hu: Float[Tensor, "b 1 d h w"]
    coarse_noise: Float[Tensor, " b"]
    film_present: Float[Tensor, " b"]
    noise: Float[Tensor, "b 1 nd nh nw"]
    time: Float[Tensor, " b"]
    column: Column | None = None

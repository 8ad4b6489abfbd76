"""What the losses of one training step look at."""

from __future__ import annotations

from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

from xct_components.physics.projector import Beams, Grids


class StageTerms(NamedTuple):
    """One batch of predictions beside its truth; B samples, V films.

    ``clean_prediction``, ``clean``: (B, C, D, H, W) normalised residual, as diffused. ``time``: (B,) 0 (clean) to 1 (noise).
    ``volume_hu``, ``truth_hu``: (B, 1, D, H, W) HU of the predicted volume before consistency, and of the CT.
    ``mu_per_mm``: (B, 1, D, H, W) attenuation of the predicted volume before consistency.
    ``line_integrals``: (B, V, 1, rows, cols) films without noise. ``grids``, ``beams``: as ``project`` takes them.
    ``log_mass``, ``target_mass``: (B, V, G, K, h, w), ``region_mass``: (B, V, G, 3, h, w), as ``DepthPriorLoss`` takes them;
    None when depth lifting is off.
    """

    clean_prediction: Float[Tensor, "b c d h w"]
    clean: Float[Tensor, "b c d h w"]
    time: Float[Tensor, " b"]
    volume_hu: Float[Tensor, "b 1 d h w"]
    truth_hu: Float[Tensor, "b 1 d h w"]
    mu_per_mm: Float[Tensor, "b 1 d h w"]
    line_integrals: Float[Tensor, "b v 1 rows cols"]
    grids: Grids
    beams: Beams
    log_mass: Float[Tensor, "b v g k rh rw"] | None = None
    target_mass: Float[Tensor, "b v g k rh rw"] | None = None
    region_mass: Float[Tensor, "b v g 3 rh rw"] | None = None

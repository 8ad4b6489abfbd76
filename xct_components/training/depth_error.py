"""How far, along the rays, the attenuation that depth lifting predicts lies from where the CT has it."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

#: Keeps 0 / 0 at 0 for rays through air.
TINY = 1e-12


def depth_error_mm(
    log_mass: Float[Tensor, "b v g k rows cols"], target_mass: Float[Tensor, "b v g k rows cols"], bin_mm: float
) -> Float[Tensor, " b"]:
    """The earth mover's distance of the two depth distributions, mean over the rays, each weighed by its line integral.

    In one dimension it is the area between the cumulative distributions (Vallender 1974). A distribution that lies 10 mm too
    deep everywhere scores 10 mm.

    Args:
        log_mass: log of the predicted share of each ray in tissue g and depth bin k; adds up to 1 per ray.
        target_mass: measured attenuation in tissue g and bin k.
        bin_mm: thickness of a bin.
    """
    predicted, measured = log_mass.float().exp().sum(2), target_mass.float().sum(2)
    ray = measured.sum(2)
    gap = (predicted - measured / ray[:, :, None].clamp_min(TINY)).cumsum(2).abs().sum(2) * bin_mm
    return torch.where(ray > 0.0, gap * ray, 0.0).flatten(1).sum(1) / ray.flatten(1).sum(1).clamp_min(TINY)

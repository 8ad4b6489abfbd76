"""The depth of the chest in three soft regions: anterior quarter, middle half, posterior quarter."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

#: Names of the regions, from the sternum to the back.
REGIONS = ("anterior", "middle", "posterior")
#: Where one region passes into the next, as a share of the depth.
ANTERIOR_END, POSTERIOR_START = 0.25, 0.75


def region_partition(bins: int, softness: float = 0.03) -> Float[Tensor, "3 bins"]:
    """How much each depth bin belongs to each region: between 0 and 1, adding up to 1 over the regions.

    Borders are sigmoids in the share of the depth, not in bins, so every number of bins describes the same regions.

    Args:
        bins: depth bins, at least 1; bin k is centred at (k + 0.5) / bins of the depth, 0 = anterior.
        softness: width of the sigmoids as a share of the depth, > 0.

    Raises:
        ValueError: for fewer than 1 bin or a softness that is not positive.

    Example:
        >>> region_partition(64).mean(dim=1).mul(100).round()
        tensor([25., 50., 25.])
    """
    if bins < 1:
        raise ValueError(f"bins must be at least 1, got {bins}; use the depth of the volume, e.g. 64")
    if not softness > 0.0:
        raise ValueError(f"softness must be positive, got {softness}; 0.001 is as good as a hard border")
    depth = (torch.arange(bins, dtype=torch.float64) + 0.5) / bins
    behind_front = torch.sigmoid((depth - ANTERIOR_END) / softness)
    behind_middle = torch.sigmoid((depth - POSTERIOR_START) / softness)
    return torch.stack([1.0 - behind_front, behind_front - behind_middle, behind_middle]).float()

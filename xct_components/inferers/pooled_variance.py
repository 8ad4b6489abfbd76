"""A variance that few volumes tell badly, pooled over each voxel's neighbourhood."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from monai.networks.layers.convutils import gaussian_1d
from monai.networks.layers.simplelayers import separable_filtering
from torch import Tensor


def pooled_variance(
    variance_hu2: Float[Tensor, "b 1 d h w"], spacing_mm: Sequence[float], width_mm: float
) -> Float[Tensor, "b 1 d h w"]:
    """The mean variance around each voxel: over cells of ``width_mm``, then a Gaussian as wide, then interpolated.

    Args:
        variance_hu2: (B, 1, D, H, W) variances, >= 0; not changed.
        spacing_mm: of the voxels along D, H and W; along an axis of voxels larger than ``width_mm`` hardly anything is pooled.
        width_mm: side of the cells, and standard deviation of the Gaussian.

    Returns:
        (B, 1, D, H, W) in HU squared, >= 0.
    """
    shape = variance_hu2.shape[2:]
    cells = [min(n, max(1, round(n * mm / width_mm))) for n, mm in zip(shape, spacing_mm, strict=True)]
    variance = F.interpolate(variance_hu2, size=cells, mode="area")
    sigmas = [width_mm * count / (n * mm) for count, n, mm in zip(cells, shape, spacing_mm, strict=True)]
    kernels = [gaussian_1d(torch.tensor(sigma), normalize=True).to(variance) for sigma in sigmas]
    smooth = separable_filtering(variance, kernels, mode="replicate")
    return F.interpolate(smooth, size=shape, mode="trilinear").clamp_min_(0.0)

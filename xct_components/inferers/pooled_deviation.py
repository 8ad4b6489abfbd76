"""What is stated of the error: the deviation of few samples, pooled over each voxel's neighbourhood, times a factor."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from monai.networks.layers.convutils import gaussian_1d
from monai.networks.layers.simplelayers import separable_filtering
from torch import Tensor

from xct_components.geometry import VolumeGrid

#: Width of the pooling. Four samples tell a voxel's deviation to 40 %, and that of its neighbours is about the same; measured
#: best of 0, 2.5, 5, 10 and 15 mm (docs/results.md, "How sure").
POOLED_MM = 5.0


def stated_deviations(
    variance_hu2: Float[Tensor, "b 1 d h w"], fields: Sequence[VolumeGrid], factor: float = 1.0
) -> Float[Tensor, "b 1 d h w"]:
    """``pooled_deviation`` of each sample on its own field, times ``factor`` (``DeviationFactors.at``); in HU."""
    pairs = zip(variance_hu2.split(1), fields, strict=True)
    pooled = [pooled_deviation(one, field.spacing_mm) for one, field in pairs]
    stated = pooled[0] if len(pooled) == 1 else torch.cat(pooled)
    return stated.mul_(factor)


def pooled_deviation(
    variance_hu2: Float[Tensor, "b 1 d h w"], spacing_mm: Sequence[float], width_mm: float = POOLED_MM
) -> Float[Tensor, "b 1 d h w"]:
    """The root of the mean variance around each voxel: over cells of ``width_mm``, then a Gaussian as wide, then interpolated.

    Args:
        variance_hu2: (B, 1, D, H, W) variances, >= 0; not changed.
        spacing_mm: of the voxels along D, H and W; along an axis of voxels larger than ``width_mm`` hardly anything is pooled.
        width_mm: side of the cells, and standard deviation of the Gaussian.

    Returns:
        (B, 1, D, H, W) standard deviations in HU, >= 0.
    """
    shape = variance_hu2.shape[2:]
    cells = [min(n, max(1, round(n * mm / width_mm))) for n, mm in zip(shape, spacing_mm, strict=True)]
    variance = F.interpolate(variance_hu2, size=cells, mode="area")
    sigmas = [width_mm * count / (n * mm) for count, n, mm in zip(cells, shape, spacing_mm, strict=True)]
    kernels = [gaussian_1d(torch.tensor(sigma), normalize=True).to(variance) for sigma in sigmas]
    smooth = separable_filtering(variance, kernels, mode="replicate")
    return F.interpolate(smooth, size=shape, mode="trilinear").clamp_min_(0.0).sqrt_()

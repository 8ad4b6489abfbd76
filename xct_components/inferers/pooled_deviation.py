"""The standard deviation of few samples, pooled over the neighbourhood of each voxel."""

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


def pooled_deviations(std_hu: Float[Tensor, "b 1 d h w"], fields: Sequence[VolumeGrid]) -> Float[Tensor, "b 1 d h w"]:
    """``pooled_deviation`` of each sample on its own field."""
    pairs = zip(std_hu.split(1), fields, strict=True)
    pooled = [pooled_deviation(one, field.spacing_mm) for one, field in pairs]
    return pooled[0] if len(pooled) == 1 else torch.cat(pooled)


def pooled_deviation(
    std_hu: Float[Tensor, "b 1 d h w"], spacing_mm: Sequence[float], width_mm: float = POOLED_MM
) -> Float[Tensor, "b 1 d h w"]:
    """The root of the mean variance around each voxel: over cells of ``width_mm``, then a Gaussian as wide, then interpolated.

    Args:
        std_hu: (B, 1, D, H, W) standard deviations, >= 0.
        spacing_mm: of the voxels along D, H and W; along an axis of voxels larger than ``width_mm`` hardly anything is pooled.
        width_mm: side of the cells, and standard deviation of the Gaussian.

    Returns:
        (B, 1, D, H, W) in the same unit, >= 0.
    """
    shape = std_hu.shape[2:]
    cells = [min(n, max(1, round(n * mm / width_mm))) for n, mm in zip(shape, spacing_mm, strict=True)]
    variance = F.interpolate(std_hu.square(), size=cells, mode="area")
    sigmas = [width_mm * count / (n * mm) for count, n, mm in zip(cells, shape, spacing_mm, strict=True)]
    kernels = [gaussian_1d(torch.tensor(sigma), normalize=True).to(variance) for sigma in sigmas]
    smooth = separable_filtering(variance, kernels, mode="replicate")
    return F.interpolate(smooth, size=shape, mode="trilinear").clamp_min_(0.0).sqrt_()

"""What is stated of the error: how far other patients' bent CTs lie from the volume, and how far samples scatter.

    std = factor sqrt( pooled[(1 + 1/K) s^2 + (m - volume)^2] + pooled[variance of the samples] )

Mean m and variance s^2 are of K CTs that the films have bent to themselves: were the patient one more of them, his CT would lie
so far from the volume on average. What samples add is what the network draws that those do not tell. Both parts are measured
beside errors in docs/results.md, "How sure".
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from xct_components.geometry import VolumeGrid
from xct_components.inferers.pooled_variance import pooled_variance
from xct_components.inferers.resampled_volume import on_field
from xct_components.networks.multi_atlas import BentCts

#: Width of the pooling of bent CTs: best of 0 to 7 mm on voxels of 5 mm.
BENT_POOLED_MM = 3.0
#: Likewise of samples: four tell a voxel's variance to 80 %, and that of its neighbours is about the same; best of 0 to 15 mm.
SAMPLES_POOLED_MM = 5.0
#: One bent CT does not tell how far another would lie from it.
FEWEST_CTS = 2


def stated_deviation(
    volume_hu: Float[Tensor, "1 1 d h w"],
    field: VolumeGrid,
    *,
    bent: BentCts | None = None,
    variance_hu2: Float[Tensor, "1 1 d h w"] | None = None,
    factor: float = 1.0,
) -> Float[Tensor, "1 1 d h w"] | None:
    """The standard deviation of the error of a volume, as far as bent CTs and samples tell it.

    Args:
        volume_hu: on ``field``.
        field: where its voxels lie.
        bent: the CTs that its films bent.
        variance_hu2: of the samples, on ``field``.
        factor: what errors of other patients ask for, see ``DeviationFactors``.

    Returns:
        (1, 1, D, H, W) in HU, >= 0; None if neither fewer than two bent CTs nor samples tell anything.
    """
    told = [] if bent is None or bent.patients < FEWEST_CTS else [variance_of_bent(volume_hu, field, bent)]
    if variance_hu2 is not None:
        told.append(pooled_variance(variance_hu2, field.spacing_mm, SAMPLES_POOLED_MM))
    if not told:
        return None
    total = told[0] if len(told) == 1 else told[0].add_(told[1])
    return total.sqrt_().mul_(factor)


def variance_of_bent(
    volume_hu: Float[Tensor, "1 1 d h w"], field: VolumeGrid, bent: BentCts, pooled_mm: float = BENT_POOLED_MM
) -> Float[Tensor, "1 1 d h w"]:
    """Mean square of how far one more bent CT would lie from the volume, on the volume's voxels, in HU squared.

    Args:
        volume_hu: on ``field``.
        field: where its voxels lie.
        bent: at least two.
        pooled_mm: how wide to pool.
    """
    shape = _voxels_of(field, bent.grid.spacing_mm)
    coarse_hu = F.interpolate(volume_hu, size=shape, mode="area")
    there_hu = F.interpolate(on_field(coarse_hu, field.resampled(shape), bent.grid), size=bent.grid.shape, mode="trilinear")
    scatter_hu2 = (1.0 + 1.0 / bent.patients) * bent.variance_hu2
    expected_hu2 = scatter_hu2 + (bent.mean_hu - there_hu).square()
    pooled = pooled_variance(expected_hu2, bent.grid.spacing_mm, pooled_mm)
    return F.interpolate(on_field(pooled, bent.grid, field), size=field.shape, mode="trilinear")


def _voxels_of(field: VolumeGrid, spacing_mm: Sequence[float]) -> list[int]:
    """Voxels along D, H and W that make a field about so coarse, and not finer than it is."""
    sides = zip(field.shape, field.extent_mm, spacing_mm, strict=True)
    return [min(n, max(1, round(mm / step))) for n, mm, step in sides]

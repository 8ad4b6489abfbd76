"""Neighbouring patches faded into each other, so that a volume made of patches shows no blocks."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def blended(volume: Float[Tensor, "b c d h w"], patch: int) -> Float[Tensor, "b c d h w"]:
    """A triangular mean along each axis, ``2 * patch - 1`` voxels wide: as overlapping patches with linear weights would give.

    Constants stay, and straight ramps away from the borders; detail finer than a patch is damped. As products with banded
    matrices, which takes a fifth of the time of a convolution on a processor.

    Args:
        volume: any float type; computed in float32.
        patch: voxels per patch along each axis; 1 changes nothing.
    """
    with torch.autocast(volume.device.type, enabled=False):
        x = volume.float()
        deep, high, wide = (_triangle(n, patch, x.device) for n in x.shape[-3:])
        x = high @ (x @ wide.mT)
        return (deep @ x.flatten(-2)).view(x.shape)


def _triangle(count: int, patch: int, device: torch.device) -> Tensor:
    """(count, count): each row a triangle around the diagonal, of sum 1 also at the borders."""
    places = torch.arange(count, device=device, dtype=torch.float32)
    weights = (patch - (places[:, None] - places[None, :]).abs()).clamp_min(0.0)
    return weights / weights.sum(1, keepdim=True)

"""Which voxels lie inside a body, seen along the rays: those with denser tissue before and behind, and dense ones."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from xct_components.physics.attenuation import FILM_ENERGY_KEV, water_mu_per_mm

#: A voxel is enclosed when the tissue before it and that behind it are both denser by this part of water's attenuation.
VALLEY_OF_WATER = 0.3
#: Attenuation, in parts of water's, from which tissue begins to count as enclosed by itself, and above which it does.
SOLID_OF_WATER = (0.75, 0.95)


def enclosure(
    mu_per_mm: Float[Tensor, "b c d h w"],
    axis: int,
    before: Float[Tensor, "b c #d #h #w"] | None = None,
    behind: Float[Tensor, "b c #d #h #w"] | None = None,
) -> Float[Tensor, "b c d h w"]:
    """0 where attenuation only rises from the air outside, as in the blurred border of a body; 1 inside.

    Fill every valley of the attenuation along a line, up to the lower of its two rims: the depth of what was filled in, in
    parts of ``VALLEY_OF_WATER``, is the enclosure. Lung is a deep valley; solid tissue counts as enclosed at any depth.

    Args:
        mu_per_mm: (B, C, D, H, W) attenuation per mm; may be a slab of a volume.
        axis: 0, 1 or 2 of D, H, W: along the rays.
        before: the highest attenuation before the slab, with 1 along the axis; None where nothing is.
        behind: likewise behind it.

    Returns:
        (B, C, D, H, W) between 0 and 1, differentiable.
    """
    water = water_mu_per_mm(FILM_ENERGY_KEV)
    rim = torch.minimum(_running_maximum(mu_per_mm, axis, before), _running_maximum(mu_per_mm, axis, behind, backwards=True))
    valley = (rim - mu_per_mm) / (VALLEY_OF_WATER * water)
    solid, sure = (part * water for part in SOLID_OF_WATER)
    return torch.maximum(valley, (mu_per_mm - solid) / (sure - solid)).clamp(0.0, 1.0)


def highest_along(mu_per_mm: Float[Tensor, "b c d h w"], axis: int) -> Float[Tensor, "b c #d #h #w"]:
    """The highest attenuation of every line along ``axis``, which keeps one voxel."""
    return mu_per_mm.amax(axis + 2, keepdim=True)


def _running_maximum(mu: Tensor, axis: int, start: Tensor | None, *, backwards: bool = False) -> Tensor:
    """The highest value up to each voxel, itself included."""
    if mu.requires_grad:
        return _differentiable_maximum(mu, axis, start, backwards=backwards)
    dim, highest = axis + 2, torch.empty_like(mu)
    last = mu.narrow(dim, mu.shape[dim] - 1 if backwards else 0, 1) if start is None else start
    for k in reversed(range(mu.shape[dim])) if backwards else range(mu.shape[dim]):
        last = torch.maximum(last, mu.narrow(dim, k, 1), out=highest.narrow(dim, k, 1))
    return highest


def _differentiable_maximum(mu: Tensor, axis: int, start: Tensor | None, *, backwards: bool) -> Tensor:
    """The same by ``torch.cummax``, which also notes where each maximum lies and takes ten times as long."""
    dim = axis + 2
    highest = mu.flip(dim).cummax(dim).values.flip(dim) if backwards else mu.cummax(dim).values
    return highest if start is None else torch.maximum(highest, start)

"""Volumes of the cascade made to explain their films, and the range of CT numbers it works in."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from xct_components.geometry import Beam, VolumeGrid
from xct_components.physics.attenuation import hu_to_mu_per_mm, mu_per_mm_to_hu
from xct_components.physics.consistency import Consistency
from xct_components.physics.in_slabs import apply_in_slabs

#: The range of CT numbers the cascade works in.
LOWEST_HU, HIGHEST_HU = -1024.0, 1500.0


def explained_hu(
    volume_hu: Tensor,
    film: Tensor,
    fields: Sequence[VolumeGrid],
    beams: Sequence[Sequence[Beam]],
    consistency: Sequence[Consistency],
    *,
    out: Tensor | None = None,
) -> Tensor:
    """The volume (B, 1, D, H, W) in HU, made consistent with the films (B, V, 1, rows, cols), sample by sample.

    ``out``, under ``torch.no_grad`` alone: where the result is written; it may be ``volume_hu`` itself, and then the work takes
    next to no memory.
    """
    if out is None:
        return explained_mu_as_hu(hu_to_mu_per_mm(volume_hu), film, fields, beams, consistency)
    apply_in_slabs(hu_to_mu_per_mm, volume_hu, out=out)
    for mu, one_film, field, views, explain in zip(out.split(1), film.split(1), fields, beams, consistency, strict=True):
        explain(mu, one_film, field, list(views), out=mu)
    return apply_in_slabs(_cascade_hu, out, out=out)


def explained_mu_as_hu(
    mu_per_mm: Tensor,
    film: Tensor,
    fields: Sequence[VolumeGrid],
    beams: Sequence[Sequence[Beam]],
    consistency: Sequence[Consistency],
) -> Tensor:
    """Likewise for a volume (B, 1, D, H, W) in attenuation per mm; the result is in HU, within the cascade's range."""
    samples = zip(mu_per_mm.split(1), film.split(1), fields, beams, consistency, strict=True)
    explained = [explain(mu, one_film, field, list(views)) for mu, one_film, field, views, explain in samples]
    mu = explained[0] if len(explained) == 1 else torch.cat(explained)
    return _cascade_hu(mu) if torch.is_grad_enabled() else apply_in_slabs(_cascade_hu, mu, out=torch.empty_like(mu))


def _cascade_hu(mu_per_mm: Tensor) -> Tensor:
    return mu_per_mm_to_hu(mu_per_mm).clamp(LOWEST_HU, HIGHEST_HU)

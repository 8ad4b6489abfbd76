"""Depth lifting: where along each ray the film's attenuation lies, and in which tissue.

For every ray a categorical distribution over (tissue group, depth bin). It starts at a measured atlas; what the film shows
moves it: log p = log p_atlas + regions + learned residual. Times the film it is an attenuation volume that re-projects to the
film by construction; times film features it is how 2-D features enter the 3-D network. Lift-Splat (Philion & Fidler, ECCV
2020) has one such distribution a pixel; a chest ray needs one a tissue, as X-rays see through all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from xct_components.geometry import Beam, VolumeGrid
from xct_components.networks.voxel_layers import zeroed
from xct_components.physics.depth_regions import region_partition
from xct_components.physics.ray_space import from_ray_space, to_ray_space
from xct_components.physics.tissue_groups import TISSUE_GROUPS

#: Share of a ray's attenuation that the atlas gives to every bin and group whatever it measured, so that none is impossible.
EVERYWHERE = 0.02


class LiftedDepth(NamedTuple):
    """Ray space of B samples, V films, G tissue groups, K depth bins.

    ``log_mass``: (B, V, G, K, rows, cols) log share of the ray's attenuation; its exponential sums to 1 over G and K.
    ``region_mass``: (B, V, G, 3, rows, cols) what the atlas gives to the anterior, middle and posterior region of each group.
    """

    log_mass: Tensor
    region_mass: Tensor


class DepthLifting(nn.Module):
    """The distribution from film features.

    Args:
        channels: of the film features.
        depth_bins: K, edge to edge of the field.
        hidden: width of the layer before the logits.
    """

    regions: Tensor  # (3, depth bins)

    def __init__(self, channels: int, depth_bins: int = 64, hidden: int = 64) -> None:
        super().__init__()
        self.depth_bins = depth_bins
        groups = len(TISSUE_GROUPS)
        self.residual = nn.Sequential(
            nn.Conv2d(channels, hidden, 3, padding=1), nn.SiLU(), zeroed(nn.Conv2d(hidden, groups * depth_bins, 1))
        )
        self.region_logits = nn.Parameter(torch.zeros(groups, 3))
        self.register_buffer("regions", region_partition(depth_bins).float(), persistent=False)

    def forward(
        self, features: Tensor, atlas_mu_per_mm: Tensor, fields: Sequence[VolumeGrid], beams: Sequence[Sequence[Beam]]
    ) -> LiftedDepth:
        """From (B, V, C, rows, cols) features and the (1, G, D, H, W) atlas on the field."""
        rows, cols = features.shape[-2:]
        mass = to_ray_space(atlas_mu_per_mm, fields, beams, bins=self.depth_bins, rows=rows, cols=cols)
        share = mass / mass.sum((2, 3), keepdim=True).clamp_min(1e-6)
        share = torch.lerp(share, torch.full_like(share, 1.0 / (share.shape[2] * share.shape[3])), EVERYWHERE)
        logits = self.residual(features.flatten(0, 1)).float().view_as(share)
        logits = logits + (self.region_logits @ self.regions)[..., None, None] + share.log()
        log_mass = logits.flatten(2, 3).log_softmax(2).view_as(share)
        return LiftedDepth(log_mass, _region_mass(share, self.regions))


def lifted_mu_per_mm(
    lifted: LiftedDepth,
    film: Tensor,
    fields: Sequence[VolumeGrid],
    beams: Sequence[Sequence[Beam]],
    grids: Sequence[VolumeGrid],
) -> Tensor:
    """The attenuation volume that the distribution makes of the films: (B, 1, D, H, W) per mm, the mean over the views.

    Args:
        lifted: from ``DepthLifting``.
        film: (B, V, 1, rows, cols) line integrals, of the distribution's size.
        fields: the whole fields, one per sample.
        beams: V exposures per sample.
        grids: the voxels to fill, one per sample.
    """
    share = lifted.log_mass.exp().sum(2, keepdim=True)  # (B, V, 1, K, rows, cols)
    mass = share * film.clamp_min(0.0)[:, :, :, None]
    bins, (rows, cols) = share.shape[3], share.shape[-2:]
    unit = torch.ones(1, 1, *fields[0].shape, device=film.device)
    path_mm = to_ray_space(unit, fields, beams, bins=bins, rows=rows, cols=cols)
    return from_ray_space(mass / path_mm.clamp_min(1e-3), fields, beams, grids).mean(1)


def _region_mass(share: Tensor, regions: Tensor) -> Tensor:
    """(B, V, G, K, rows, cols) -> (B, V, G, 3, rows, cols), 1 over the regions."""
    mass = torch.einsum("bvgkrc,nk->bvgnrc", share, regions)
    return mass / mass.sum(3, keepdim=True).clamp_min(1e-6)

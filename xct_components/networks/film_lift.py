"""Film features placed in depth: what a film shows at a pixel, spread along its ray by the lifted distribution."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from xct_components.geometry import Beam, VolumeGrid
from xct_components.networks.depth_lifting import LiftedDepth
from xct_components.physics.depth_regions import region_partition
from xct_components.physics.projector import sample_along_rays
from xct_components.physics.ray_space import from_ray_space
from xct_components.physics.tissue_groups import TISSUE_GROUPS


class FilmLift(nn.Module):
    """Features of one level of the encoder at the voxels of one level of the network.

    A voxel gets content(pixel) * (gain * K p(depth | pixel) + region(depth)), group by group: K p has mean 1 along the ray, the
    region term lets features pass where the distribution sees nothing. Several films are weighed by attention, voxel by voxel.

    Args:
        film_channels: of the encoder's level.
        channels: of the result, a multiple of the number of tissue groups.
        by_depth: whether it will be given a depth distribution; without one there is no gain to learn.

    Raises:
        ValueError: if the channels do not divide by the tissue groups.
    """

    def __init__(self, film_channels: int, channels: int, *, by_depth: bool = True) -> None:
        super().__init__()
        groups = len(TISSUE_GROUPS)
        if channels % groups:
            raise ValueError(f"channels must be a multiple of the {groups} tissue groups, got {channels}")
        self.content = nn.Conv2d(film_channels, channels + 1, 1)  # the last one weighs the views against each other
        self.gain = nn.Parameter(torch.full((groups,), 0.5)) if by_depth else None
        self.region = nn.Parameter(torch.full((channels, 3), 0.5))
        self.mix = nn.Conv3d(channels, channels, 1)

    def forward(
        self,
        film_map: Tensor,
        lifted: LiftedDepth | None,
        fields: Sequence[VolumeGrid],
        beams: Sequence[Sequence[Beam]],
        grids: Sequence[VolumeGrid],
    ) -> Tensor:
        """From (B, V, C, rows, cols) features to (B, channels, D, H, W) at the voxels of ``grids``.

        Without ``lifted`` a feature reaches all depths of its ray, up to the region term.
        """
        rows, cols = film_map.shape[-2:]
        views = [[beam.resampled(rows, cols) for beam in sample] for sample in beams]
        maps = self.content(film_map.flatten(0, 1)).float().unflatten(0, film_map.shape[:2])
        at_voxels = sample_along_rays(maps, list(grids), views)  # (B, V, channels + 1, D, H, W)
        content, score = at_voxels[:, :, :-1], at_voxels[:, :, -1:]
        content = content * (self._regions(fields, grids) if lifted is None else self._depth(lifted, fields, beams, grids))
        return self.mix((content * score.softmax(dim=1)).sum(1))

    def _depth(
        self,
        lifted: LiftedDepth,
        fields: Sequence[VolumeGrid],
        beams: Sequence[Sequence[Beam]],
        grids: Sequence[VolumeGrid],
    ) -> Tensor:
        if self.gain is None:
            raise ValueError("lifted must be None for a FilmLift built with by_depth=False, got a depth distribution")
        share = lifted.log_mass - lifted.log_mass.logsumexp(3, keepdim=True)
        relative = from_ray_space(share.exp() * share.shape[3], fields, beams, grids)  # (B, V, G, D, H, W), mean 1 along rays
        spread = relative * self.gain[:, None, None, None]
        return spread.repeat_interleave(len(self.region) // len(self.gain), dim=2) + self._regions(fields, grids)

    def _regions(self, fields: Sequence[VolumeGrid], grids: Sequence[VolumeGrid]) -> Tensor:
        """(B, 1, channels, D, 1, 1): the share of the anterior, middle and posterior region in every slice."""
        looks = []
        for field, grid in zip(fields, grids, strict=True):
            slices = depth_fraction(field, grid).to(self.region)
            partition = region_partition(256).to(self.region)  # fine enough to be read by nearest bin
            looks.append(self.region @ partition[:, (slices * 256).long().clamp(0, 255)])
        return torch.stack(looks)[:, None, :, :, None, None]


def depth_fraction(field: VolumeGrid, grid: VolumeGrid) -> Tensor:
    """Where the slices of ``grid`` lie in the depth of ``field``: (D,), 0 at its anterior edge, 1 at its posterior edge."""
    slices = torch.zeros(grid.shape[0], 3, dtype=torch.float64)
    slices[:, 0] = torch.arange(grid.shape[0])
    return (field.voxels_from_world(grid.world_from_voxels(slices))[:, 0] + 0.5) / field.shape[0]

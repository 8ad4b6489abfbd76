"""Many thin tubes at once: vessels, bronchi, ribs. Each touches only the voxels around it.

A tube thinner than a voxel keeps its cross-section: the occupied shares add up to its true area.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from xct_components.geometry import VolumeGrid

#: Voxels looked at in one go: bounds the memory to about 100 MB.
CHUNK = 1_000_000


@dataclass(frozen=True)
class Tubes:
    """Straight pieces of tube, float64 tensors.

    Args:
        start_mm: (n, 3) where each piece begins.
        end_mm: (n, 3) where it ends.
        start_radius_mm: (n,) radius (of a flat tube: its half width) at the beginning.
        end_radius_mm: (n,) likewise at the end.
        thin_direction: (n, 3) unit vectors in which a flat tube is thin; unused where ``flatness`` is 1.
        flatness: thickness over width of the cross-section, at most 1.
    """

    start_mm: Tensor
    end_mm: Tensor
    start_radius_mm: Tensor
    end_radius_mm: Tensor
    thin_direction: Tensor
    flatness: float = 1.0

    def scaled(self, radius_factor: float = 1.0, less_mm: float = 0.0) -> Tubes:
        """The same tubes, wider or narrower; ``less_mm`` is taken off the radius (off both radii of a flat tube)."""
        thick = self.flatness * self.start_radius_mm.mean().item()
        wide = self.start_radius_mm.mean().item()
        return replace(
            self,
            start_radius_mm=(self.start_radius_mm * radius_factor - less_mm).clamp_min(0.05),
            end_radius_mm=(self.end_radius_mm * radius_factor - less_mm).clamp_min(0.05),
            flatness=max(0.05, (thick - less_mm) / (wide - less_mm)) if self.flatness < 1.0 and less_mm else self.flatness,
        )


def tubes_along(knots_mm: Tensor, radii_mm: Tensor, thin_direction: Tensor | None = None, flatness: float = 1.0) -> Tubes:
    """Tubes through (..., n, 3) knots, every leading index a curve of its own, with (..., n) radii."""
    starts, ends = knots_mm[..., :-1, :].reshape(-1, 3), knots_mm[..., 1:, :].reshape(-1, 3)
    radii = radii_mm.expand(knots_mm.shape[:-1])
    thin = torch.zeros_like(starts) if thin_direction is None else thin_direction[..., :-1, :].reshape(-1, 3)
    return Tubes(starts, ends, radii[..., :-1].reshape(-1), radii[..., 1:].reshape(-1), thin, flatness)


def joined(*tubes: Tubes) -> Tubes:
    """One set of round tubes from several."""
    return Tubes(
        torch.cat([one.start_mm for one in tubes]),
        torch.cat([one.end_mm for one in tubes]),
        torch.cat([one.start_radius_mm for one in tubes]),
        torch.cat([one.end_radius_mm for one in tubes]),
        torch.cat([one.thin_direction for one in tubes]),
    )


def tube_occupancy(tubes: Tubes, grid: VolumeGrid, edge_mm: float, device: torch.device) -> Tensor:
    """Share of each voxel inside any of the tubes (the largest, where tubes meet): (D, H, W) float32 on ``device``."""
    occupied = torch.zeros(
        grid.shape[0] * grid.shape[1] * grid.shape[2] + 1, device=device
    )  # the last takes what falls outside
    tubes = _near(tubes, grid, edge_mm)
    which, middle_mm, reach = _samples(tubes, grid, edge_mm)
    for radius in reach.unique().tolist():
        chosen = reach == radius
        window = torch.cartesian_prod(*(torch.arange(-radius, radius + 1),) * 3)
        batch = max(1, CHUNK // len(window))
        for part, center in zip(which[chosen].split(batch), middle_mm[chosen].split(batch), strict=True):
            _splat(occupied, tubes, part, center, window=window, grid=grid, edge_mm=edge_mm)
    return occupied[:-1].view(grid.shape)


def _near(tubes: Tubes, grid: VolumeGrid, edge_mm: float) -> Tubes:
    """Without the pieces that lie outside the grid."""
    reach = (torch.maximum(tubes.start_radius_mm, tubes.end_radius_mm) + edge_mm)[:, None] / min(grid.spacing_mm)
    ends = torch.stack([grid.voxels_from_world(tubes.start_mm), grid.voxels_from_world(tubes.end_mm)])
    upper = torch.tensor(grid.shape, dtype=torch.float64) - 1
    kept = ((ends.amin(0) - reach <= upper) & (ends.amax(0) + reach >= 0)).all(-1)
    names = ("start_mm", "end_mm", "start_radius_mm", "end_radius_mm", "thin_direction")
    return replace(tubes, **{name: getattr(tubes, name)[kept] for name in names})


def _samples(tubes: Tubes, grid: VolumeGrid, edge_mm: float) -> tuple[Tensor, Tensor, Tensor]:
    """Points along the tubes close enough that windows around them cover every tube: tube, position, window radius."""
    radius = torch.maximum(tubes.start_radius_mm, tubes.end_radius_mm)
    step = torch.maximum(radius, torch.full_like(radius, max(grid.spacing_mm)))
    length = (tubes.end_mm - tubes.start_mm).norm(dim=-1)
    count = (length / step).ceil().clamp_min(1).long()
    which = torch.repeat_interleave(torch.arange(len(count)), count)
    rank = torch.arange(len(which)) - (count.cumsum(0) - count)[which]
    share = ((rank + 0.5) / count[which].double())[:, None]
    middle = torch.lerp(tubes.start_mm[which], tubes.end_mm[which], share)
    covered = radius + edge_mm / 2 + length / count / 2
    return which, middle, (covered / min(grid.spacing_mm) + 0.5).floor().clamp_min(1).long()[which]


def _splat(
    occupied: Tensor, tubes: Tubes, which: Tensor, middle_mm: Tensor, *, window: Tensor, grid: VolumeGrid, edge_mm: float
) -> None:
    device, (d, h, w) = occupied.device, grid.shape
    nearest = grid.voxels_from_world(middle_mm).round().long()
    from_start = (grid.world_from_voxels(nearest) - tubes.start_mm[which]).float().to(device)
    offset = (window.double() @ grid.affine[:3, :3].T).float().to(device)
    share = _share_inside(tubes, which, from_start, offset, edge_mm)
    index = (nearest[:, None] + window).to(device)
    inside = ((index >= 0) & (index < torch.tensor(grid.shape, device=device))).all(-1)
    flat = torch.where(inside, (index[..., 0] * h + index[..., 1]) * w + index[..., 2], d * h * w)
    occupied.scatter_reduce_(0, flat.flatten(), share.flatten(), "amax")


def _share_inside(tubes: Tubes, which: Tensor, from_start: Tensor, offset: Tensor, edge_mm: float) -> Tensor:
    """(samples, window) share of voxels at ``from_start + offset`` from the start of their tube."""
    device = from_start.device
    step = (tubes.end_mm - tubes.start_mm).float().to(device)[which]
    radius, end_radius = (r.float().to(device)[which, None] for r in (tubes.start_radius_mm, tubes.end_radius_mm))
    length2 = (step * step).sum(-1, keepdim=True) + 1e-6
    # |w - t s|^2 expanded, so that no (samples, window, 3) tensor is needed
    along = ((from_start * step).sum(-1, keepdim=True) + step @ offset.T) / length2
    square = (from_start**2).sum(-1, keepdim=True) + 2 * from_start @ offset.T + (offset**2).sum(-1)
    share = along.clamp(0.0, 1.0)
    square = (square - length2 * share * (2 * along - share)).clamp_min_(0.0)
    radius = torch.lerp(radius.expand_as(share), end_radius.expand_as(share), share)
    if tubes.flatness == 1.0:
        return _kept_area(radius, edge_mm) * (0.5 + (radius - square.sqrt()) / edge_mm).clamp_(0.0, 1.0)
    thin = tubes.thin_direction.float().to(device)[which]
    across = (from_start * thin).sum(-1, keepdim=True) + thin @ offset.T - share * (step * thin).sum(-1, keepdim=True)
    flat2, wide2 = across * across, (square - across * across).clamp_min_(0.0)
    narrow = radius * tubes.flatness
    level = (flat2 / narrow**2 + wide2 / radius**2).sqrt()
    slope = (flat2 / narrow**4 + wide2 / radius**4).sqrt() + 1e-6
    return _kept_area(narrow, edge_mm) * (0.5 - level * (level - 1.0) / slope / edge_mm).clamp_(0.0, 1.0)


def _kept_area(radius_mm: Tensor, edge_mm: float) -> Tensor:
    """Factor that gives a tube of linear edges its true area: integral of the ramp profile over the plane, inverted."""
    thin = 3.0 * edge_mm * radius_mm**2 / (radius_mm + edge_mm / 2) ** 3
    thick = radius_mm**2 / (radius_mm**2 + edge_mm**2 / 12)
    return torch.where(radius_mm < edge_mm / 2, thin, thick)

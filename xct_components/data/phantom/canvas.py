"""A volume being painted: HU and labels, later paint over earlier paint, edges mixed by the share of the voxel."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from xct_components.data.phantom.body_frame import BodyFrame
from xct_components.data.phantom.labels import AIR_HU, LABELS
from xct_components.data.phantom.shapes import Points, occupancy
from xct_components.data.phantom.tubes import Tubes, tube_occupancy
from xct_components.geometry import VolumeGrid

Window = tuple[slice, slice, slice]
Corner = tuple[float, float, float]
#: Corners of a box around a body, and its distance.
Body = tuple[Corner, Corner, Callable[[Points], Tensor]]
#: Distances are right up to this far from a body, mm: wider than any sheath with its fillet.
MARGIN_MM = 18.0
FAR_MM = 60.0


@dataclass(frozen=True)
class Canvas:
    """One tile of a volume on one device; ``hu`` and ``labels`` are painted in place.

    Args:
        grid: voxels of the tile.
        frame: of the person.
        points: reference mm of the voxels, float32, broadcasting.
        edge_mm: width over which an edge is spread, reference mm: voxel and point response together.
        hu: (D, H, W) float32.
        labels: (D, H, W) uint8.
    """

    grid: VolumeGrid
    frame: BodyFrame
    points: Points
    edge_mm: float
    hu: Tensor
    labels: Tensor

    def occupancy(self, distance_mm: Tensor) -> Tensor:
        """Share of each voxel within a distance of 0."""
        return occupancy(distance_mm, self.edge_mm)

    def fill(self, share: Tensor, value_hu: float | Tensor, label: str) -> None:
        """Paint ``value_hu`` over a share of each voxel; the label goes where it is at least a half."""
        self.hu.add_(share * (value_hu - self.hu))
        self.labels.masked_fill_(share >= 0.5, LABELS[label])

    def fill_body(self, distance_mm: Tensor, value_hu: float | Tensor, label: str) -> None:
        """Paint a body given by its distance."""
        self.fill(self.occupancy(distance_mm), value_hu, label)

    def tubes(self, tubes: Tubes) -> Tensor:
        """Share of each voxel inside tubes given in reference mm."""
        scale = self.frame.mean_scale
        in_world = replace(
            tubes,
            start_mm=self.frame.world_from_reference(tubes.start_mm),
            end_mm=self.frame.world_from_reference(tubes.end_mm),
            start_radius_mm=tubes.start_radius_mm * scale,
            end_radius_mm=tubes.end_radius_mm * scale,
        )
        return tube_occupancy(in_world, self.grid, self.edge_mm * scale, self.hu.device)

    def window(self, low_mm: Corner, high_mm: Corner) -> Window | None:
        """The voxels around a box in reference mm, or None where it misses the canvas."""
        steps = torch.linspace(0.0, 1.0, 3, dtype=torch.float64)
        low, high = torch.tensor(low_mm, dtype=torch.float64), torch.tensor(high_mm, dtype=torch.float64)
        box = low + (high - low) * torch.cartesian_prod(steps, steps, steps)
        voxels = self.grid.voxels_from_world(self.frame.world_from_reference(box))
        first = (voxels.amin(0).floor().long() - 1).clamp_min(0).tolist()
        last = (voxels.amax(0).ceil().long() + 2).tolist()
        stops = [min(stop, size) for stop, size in zip(last, self.grid.shape, strict=True)]
        if any(stop <= start for start, stop in zip(first, stops, strict=True)):
            return None
        d, h, w = (slice(start, stop) for start, stop in zip(first, stops, strict=True))
        return d, h, w

    def nearest(self, bodies: Iterable[Body]) -> Tensor:
        """Distance to the nearest of several bodies, each computed only around itself; ``FAR_MM`` elsewhere."""
        nearest = torch.full_like(self.hu, FAR_MM)
        for low_mm, high_mm, distance in bodies:
            window = self.window(_moved(low_mm, -MARGIN_MM), _moved(high_mm, MARGIN_MM))
            if window is not None:
                part = nearest[window]
                torch.minimum(part, distance(self.cut(window).points), out=part)
        return nearest

    def cut(self, window: Window) -> Canvas:
        """The part of the canvas in a window of voxels; it shares memory with the whole."""
        start = [part.start for part in window]
        shape = [part.stop - part.start for part in window]
        points = Points(*(part_of(coordinate, window) for coordinate in self.points))
        return replace(self, grid=self.grid.crop(start, shape), points=points, hu=self.hu[window], labels=self.labels[window])


def part_of(values: Tensor, window: Window) -> Tensor:
    """The window of a tensor that broadcasts over the volume."""
    return values[tuple(part if size > 1 else slice(None) for part, size in zip(window, values.shape, strict=True))]


def _moved(corner: Corner, by_mm: float) -> Corner:
    x, y, z = corner
    return x + by_mm, y + by_mm, z + by_mm


def blank_canvas(grid: VolumeGrid, frame: BodyFrame, kernel_fwhm_mm: float, device: torch.device) -> Canvas:
    """Air, with the coordinates of every voxel."""
    edge_world_mm = (grid.voxel_volume_mm3 ** (2 / 3) + kernel_fwhm_mm**2) ** 0.5
    return Canvas(
        grid,
        frame,
        frame.reference_from_world(_world_points(grid, device)),
        edge_world_mm / frame.mean_scale,
        torch.full(grid.shape, AIR_HU, device=device),
        torch.zeros(grid.shape, dtype=torch.uint8, device=device),
    )


def _world_points(grid: VolumeGrid, device: torch.device) -> Points:
    """World mm of the voxels; a coordinate extends only along the axes on which it changes."""
    rows = grid.affine.tolist()[:3]
    coordinates = []
    for row in rows:
        value = torch.full((1, 1, 1), row[3], dtype=torch.float64)
        for axis, step in enumerate(row[:3]):
            if abs(step) > 1e-9:
                shape = [1, 1, 1]
                shape[axis] = grid.shape[axis]
                value = value + (torch.arange(grid.shape[axis], dtype=torch.float64) * step).view(shape)
        coordinates.append(value.float().to(device))
    return Points(*coordinates)

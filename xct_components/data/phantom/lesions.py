"""Fluid, nodules, consolidation and emphysema: which part of the lungs they take.

Everything is decided on a fixed cloud of points in the lungs, so that it does not depend on the grid that is rendered.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from xct_components.data.phantom.parameters import ThoraxParameters
from xct_components.data.phantom.randomness import detail, normal, uniform
from xct_components.data.phantom.shapes import Ellipsoid, Points
from xct_components.data.phantom.texture import texture_at

#: Spread of nodule diameters around their median (standard deviation of the logarithm).
_NODULE_SPREAD = 0.3
#: Emphysema prefers the upper lung by this much of the field's deviation per mm (centrilobular; general knowledge).
_UPPER_LOBE_PER_MM = 0.006
#: How ragged a consolidation is, as a share of its radius.
_RAGGED = 0.16


@dataclass(frozen=True)
class LungCloud:
    """Points spread evenly over both lungs.

    Args:
        points_mm: (n, 3) reference mm.
        depth_mm: (n,) distance to the lungs' surface, negative.
        level: (n,) 0 in the middle of each half of the cage, 1 at its wall.
        point_ml: volume of the person's lung that one point stands for.
    """

    points_mm: Tensor
    depth_mm: Tensor
    level: Tensor
    point_ml: float

    def of_side(self, side: float) -> LungCloud:
        """The points of one lung; +1 is right."""
        kept = self.points_mm[:, 0] * side > 0
        return LungCloud(self.points_mm[kept], self.depth_mm[kept], self.level[kept], self.point_ml)

    @property
    def volume_ml(self) -> float:
        """Volume of the lungs in the cloud."""
        return len(self.points_mm) * self.point_ml


@dataclass(frozen=True)
class Lesions:
    """Thresholds and bodies in reference mm; a threshold of infinity means none."""

    fluid_above_mm: tuple[float, float]
    nodules: tuple[Ellipsoid, ...]
    consolidation: tuple[Tensor, float] | None
    emphysema_above: float


def place_lesions(parameters: ThoraxParameters, cloud: LungCloud, lattice: Tensor) -> Lesions:
    """The lesions that have the volumes the parameters ask for."""
    both = (cloud.of_side(1.0), cloud.of_side(-1.0))
    wanted = (parameters.right_effusion_ml, parameters.left_effusion_ml)
    right, left = (_fluid_level(parameters.upright, lung, ml) for lung, ml in zip(both, wanted, strict=True))
    return Lesions(
        (right, left), _nodules(parameters, cloud), _consolidation(parameters, both), _emphysema(parameters, cloud, lattice)
    )


def fluid_depth(points: Points, level: Tensor, upright: bool) -> Tensor:
    """How early fluid reaches a place, mm: it sinks to the base when upright, to the back when supine, and climbs the wall."""
    climb = 22.0 * level.clamp(0.0, 1.0) ** 8
    return climb - points.z - 0.12 * points.y if upright else climb - points.y - 0.22 * points.z


def emphysema_score(coarse: Tensor, z_mm: Tensor) -> Tensor:
    """Where the lung is destroyed first: patches, more in the upper lung."""
    return coarse + _UPPER_LOBE_PER_MM * z_mm


def _fluid_level(upright: bool, lung: LungCloud, wanted_ml: float) -> float:
    share = wanted_ml / max(lung.volume_ml, 1e-6)
    if share <= 0.0:
        return float("inf")
    depth = fluid_depth(Points(*lung.points_mm.unbind(-1)), lung.level, upright)
    return float(torch.quantile(depth, 1.0 - min(share, 0.85)))


def _nodules(parameters: ThoraxParameters, cloud: LungCloud) -> tuple[Ellipsoid, ...]:
    generator = detail(parameters.seed, "nodules")
    order = torch.randperm(len(cloud.points_mm), generator=generator)
    radii = 0.5 * parameters.nodule_diameter_mm * torch.exp(_NODULE_SPREAD * normal(generator, 20))
    bodies = []
    for radius in radii[: parameters.nodule_count].tolist():
        # the next place deep enough for most of the nodule
        order = order[cloud.depth_mm[order] < -0.7 * radius] if bool((cloud.depth_mm[order] < -0.7 * radius).any()) else order
        center = cloud.points_mm[order[0]].tolist()
        a, b, c = (radius * stretch for stretch in (1.0 + 0.1 * normal(generator, 3)).tolist())
        bodies.append(Ellipsoid((center[0], center[1], center[2]), (a, b, c)))
        order = order[1:]
    return tuple(bodies)


def _consolidation(parameters: ThoraxParameters, both: tuple[LungCloud, LungCloud]) -> tuple[Tensor, float] | None:
    """Centre and radius of the patch."""
    if parameters.consolidation_fraction <= 0.0:
        return None
    generator = detail(parameters.seed, "consolidation")
    lung = both[int(uniform(generator) > 0.55)]
    outer = lung.points_mm[(lung.depth_mm < -6.0) & (lung.depth_mm > -30.0)]
    center = outer[int(uniform(generator) * len(outer))]
    distance = (lung.points_mm - center).norm(dim=-1)
    return center, float(torch.quantile(distance, parameters.consolidation_fraction))


def consolidation_distance(patch: tuple[Tensor, float], points: Points, fine: Tensor) -> Tensor:
    """Distance to the ragged surface of the patch, mm."""
    center, radius = patch
    x, y, z = (coordinate - middle for coordinate, middle in zip(points, center.tolist(), strict=True))
    return (x * x + y * y + z * z).sqrt() - radius * (1.0 + _RAGGED * fine)


def _emphysema(parameters: ThoraxParameters, cloud: LungCloud, lattice: Tensor) -> float:
    if parameters.emphysema_fraction <= 0.0:
        return float("inf")
    coarse = texture_at(lattice, Points(*cloud.points_mm.unbind(-1)))[1]
    return float(torch.quantile(emphysema_score(coarse, cloud.points_mm[:, 2]), 1.0 - parameters.emphysema_fraction))

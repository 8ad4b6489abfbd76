"""Distances between the surfaces of two masks: normalised surface Dice and the 95th percentile Hausdorff distance."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from xct_components.metrics.lungs import Spacing


@dataclass(frozen=True, eq=False)
class Surface:
    """The outermost voxels of a mask.

    Args:
        points_mm: voxel centres, (n, 3).
        diagonal_mm: of the whole field, edge to edge: no distance in it is larger.
    """

    points_mm: Float[np.ndarray, "n 3"]
    diagonal_mm: float

    @cached_property
    def tree(self) -> Any:
        """For nearest neighbours; it is built once for a truth that many predictions are held against."""
        from scipy.spatial import KDTree

        return KDTree(self.points_mm, balanced_tree=False, compact_nodes=False)


def surface_of(mask: Bool[np.ndarray, "d h w"], spacing_mm: Spacing) -> Surface:
    """The voxels of a mask that have a neighbour (of 6) outside it.

    Where the field cuts through the body there is no surface: both volumes end there, and agree for nothing.
    """
    from scipy import ndimage

    rim = mask & ~ndimage.binary_erosion(mask, border_value=1)
    points = np.argwhere(rim) * np.asarray(spacing_mm)
    return Surface(points, float(np.linalg.norm(np.asarray(mask.shape) * spacing_mm)))


@dataclass(frozen=True, eq=False)
class SurfaceDistances:
    """Two surfaces held against each other; an empty one is as bad as can be.

    Args:
        from_predicted_mm: distance of each predicted surface voxel to the true surface.
        from_truth_mm: the other way round.
        diagonal_mm: of the field.
    """

    from_predicted_mm: Float[np.ndarray, " p"]
    from_truth_mm: Float[np.ndarray, " t"]
    diagonal_mm: float

    @property
    def _nothing_to_compare(self) -> bool:
        return 0 in (self.from_predicted_mm.size, self.from_truth_mm.size)

    def surface_dice(self, tolerance_mm: float) -> float:
        """Share of both surfaces that lies within the tolerance of the other: 1 is best, 0 for an empty mask.

        Nikolov 2021, J Med Internet Res 23:e26151, counted in surface voxels as MONAI's ``compute_surface_dice`` does.
        """
        if self._nothing_to_compare:
            return 0.0
        near = sum(int((one <= tolerance_mm).sum()) for one in (self.from_predicted_mm, self.from_truth_mm))
        return near / (self.from_predicted_mm.size + self.from_truth_mm.size)

    @property
    def hausdorff_95_mm(self) -> float:
        """The larger of the two 95th percentiles, as MONAI's ``compute_hausdorff_distance``: 0 is best.

        The field's diagonal, which nothing exceeds, for an empty mask.
        """
        if self._nothing_to_compare:
            return self.diagonal_mm
        return max(float(np.percentile(one, 95.0)) for one in (self.from_predicted_mm, self.from_truth_mm))


def surface_distances(predicted: Surface, truth: Surface) -> SurfaceDistances:
    """Every voxel's distance to the other surface, mm; empty where either surface is."""
    if 0 in (len(predicted.points_mm), len(truth.points_mm)):
        return SurfaceDistances(np.empty(0), np.empty(0), truth.diagonal_mm)
    to_truth, to_predicted = truth.tree.query(predicted.points_mm)[0], predicted.tree.query(truth.points_mm)[0]
    return SurfaceDistances(to_truth, to_predicted, truth.diagonal_mm)

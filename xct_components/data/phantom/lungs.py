"""What is lung: the cavity above the diaphragm that the mediastinum leaves free."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from xct_components.data.phantom.cage import Cage, Cavity, above_diaphragm
from xct_components.data.phantom.great_vessels import GreatVessels
from xct_components.data.phantom.heart import Heart
from xct_components.data.phantom.shapes import Ellipsoid, Points, ellipsoid_distance, smooth_max, smooth_min
from xct_components.data.phantom.spine import Spine

#: Fat and pleura around the tubes of the mediastinum, mm.
_SHEATH = {"aorta": 3.0, "arch_branches": 4.0, "pulmonary_artery": 2.0, "vein": 3.5, "airway": 3.0, "oesophagus": 3.0}
#: Fillet of the mediastinal surface, mm.
_FILLET = 10.0
#: Pleura between lung and ribs, and the roundness of the costophrenic edge, mm.
_PLEURA, _RECESS = 1.5, 4.0
#: Where the lungs stop being separated by tissue of their own: fat in front of the great vessels.
_THYMIC_FAT = Ellipsoid((-3.0, 42.0, 46.0), (23.0, 34.0, 50.0))
#: Fat, nodes and small vessels between the great vessels: without it the outline would be scalloped.
_CORE = Ellipsoid((-1.0, 8.0, 30.0), (30.0, 36.0, 66.0))


@dataclass(frozen=True)
class Chest:
    """Everything that bounds the lungs of one person, reference mm."""

    cage: Cage
    heart: Heart
    vessels: GreatVessels
    spine: Spine
    heart_fat_mm: float


def mediastinum_distance(chest: Chest, points: Points, heart: Tensor, tubes: Mapping[str, Tensor]) -> Tensor:
    """Distance to the mediastinum with its fat: heart, great vessels, airway, spine and the septum before and behind, mm.

    Args:
        chest: of the person.
        points: where to measure.
        heart: distance to the heart there.
        tubes: distance to the great vessels of every name there.
    """
    fat = smooth_min(ellipsoid_distance(points, _CORE), ellipsoid_distance(points, _THYMIC_FAT), _FILLET)
    distance = smooth_min(heart - chest.heart_fat_mm, fat, _FILLET)
    for name, sheath in _SHEATH.items():
        distance = smooth_min(distance, tubes[name] - sheath, _FILLET)
    return smooth_min(smooth_min(distance, _column(chest.spine, points), _FILLET), _septum(points), 4.0)


def lung_distance(chest: Chest, points: Points, place: Cavity, mediastinum: Tensor) -> Tensor:
    """Distance to the lungs, mm; the pleural space counts as lung until fluid is put there."""
    shell = smooth_max(place.distance + _PLEURA, above_diaphragm(chest.cage, points, place), _RECESS)
    return smooth_max(shell, -mediastinum, 5.0)


def _column(spine: Spine, points: Points) -> Tensor:
    """Vertebrae with the tissue beside and behind them: widens backwards to the heads of the ribs."""
    y, _, _, half_width, half_depth = spine.profiles.at(points.z)
    q = points.y - y
    wide = half_width + 2.5 + 0.46 * (half_depth * 0.3 - q).clamp(0.0, 60.0)
    side = points.x.abs() - wide
    front = q - half_depth - 2.5
    return torch.where((side > -6.0) & (front > -6.0), smooth_max(side, front, 6.0), torch.maximum(side, front))


def _septum(points: Points) -> Tensor:
    """The thin tissue between the lungs in front, and the solid upper mediastinum above the arch."""
    front = torch.maximum(points.x.abs() - 3.0 - 0.06 * points.y.clamp(0.0, 100.0), 18.0 - points.y)
    upper = points.x.abs() - 11.0 - 0.16 * (points.z - 60.0).clamp(0.0, 80.0)
    upper = torch.maximum(upper, 62.0 - points.z)
    return torch.minimum(front, torch.maximum(upper, points.y - 46.0))

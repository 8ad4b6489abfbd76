"""Paint the lungs: parenchyma, fissures, trees and lesions."""

from __future__ import annotations

import torch
from torch import Tensor

from xct_components.data.phantom.anatomy import Anatomy
from xct_components.data.phantom.cage import Cavity
from xct_components.data.phantom.canvas import Canvas
from xct_components.data.phantom.labels import (
    AIR_HU,
    AIRWAY_WALL_HU,
    BLOOD_HU,
    CONSOLIDATION_HU,
    EFFUSION_HU,
    EMPHYSEMA_HU,
    LABELS,
    NODULE_HU,
)
from xct_components.data.phantom.lesions import consolidation_distance, emphysema_score, fluid_depth
from xct_components.data.phantom.randomness import detail, normal
from xct_components.data.phantom.shapes import Points, ellipsoid_distance, sheet_occupancy

#: Denser towards the bed or the base: HU per mm. The dependent third of the lung may be 100 HU denser, less so at full
#: inspiration (J Comput Assist Tomogr 1979;3:740).
_GRADIENT_HU_PER_MM = 0.30
#: Thickness of a fissure on CT and its tissue, mm and HU.
_FISSURE_MM, _FISSURE_HU = 0.35, -200.0
#: How much fissures differ in height between people and sides (standard deviation, mm; general knowledge).
_FISSURE_SPREAD_MM = 6.0
#: How many deviations of the coarse field separate sound lung from emphysema.
_PATCH_EDGE = 0.35
#: Outer over inner radius of a bronchus (general knowledge).
_AIRWAY_WALL = 1.32


def paint_parenchyma(canvas: Canvas, anatomy: Anatomy, lung: Tensor, coarse: Tensor) -> Tensor:
    """Both lungs with emphysema and fissures; returns the share of each voxel that is lung."""
    points, parameters = canvas.points, anatomy.parameters
    depth = points.z if parameters.upright else points.y
    value = parameters.lung_hu - _GRADIENT_HU_PER_MM * (1.4 - parameters.breath) * (depth + 5.0)
    score = emphysema_score(coarse, points.z) - anatomy.lesions.emphysema_above
    destroyed = (0.5 + score / _PATCH_EDGE).clamp(0.0, 1.0)
    share = canvas.occupancy(lung)
    canvas.fill(share, value + destroyed * (EMPHYSEMA_HU - value).clamp_max(0.0), "lung_left")
    right = (share >= 0.5) & (points.x > 0)
    canvas.labels.masked_fill_(right, LABELS["lung_right"])
    shift = _FISSURE_SPREAD_MM * normal(detail(parameters.seed, "fissures"), 3)
    for fissure in _fissures(points, shift.tolist()):
        sheet = sheet_occupancy(fissure, _FISSURE_MM, max(canvas.edge_mm, _FISSURE_MM)) * share
        canvas.hu.add_(sheet * (_FISSURE_HU - canvas.hu))
    return share


def paint_trees(canvas: Canvas, anatomy: Anatomy, lung: Tensor) -> None:
    """Vessels and bronchi, cut off where the lung ends."""
    enhanced = anatomy.parameters.blood_enhancement_hu
    near_lung = (lung * 2.0).clamp(0.0, 1.0)
    canvas.fill(canvas.tubes(anatomy.trees.vessels) * near_lung, BLOOD_HU + enhanced, "lung_vessel")
    canvas.fill(canvas.tubes(anatomy.trees.bronchi.scaled(_AIRWAY_WALL)) * near_lung, AIRWAY_WALL_HU, "airway")
    canvas.fill(canvas.tubes(anatomy.trees.bronchi) * near_lung, AIR_HU, "airway")


def paint_nodules(canvas: Canvas, anatomy: Anatomy, lung: Tensor) -> None:
    """Solid nodules within the lungs."""
    for body in anatomy.lesions.nodules:
        share = canvas.occupancy(ellipsoid_distance(canvas.points, body))
        canvas.fill(share * lung, NODULE_HU, "nodule")


def paint_consolidation(canvas: Canvas, anatomy: Anatomy, lung: Tensor, fine: Tensor) -> None:
    """Airless lung; the bronchi are painted over it afterwards."""
    patch = anatomy.lesions.consolidation
    if patch is None:
        return
    same_side = (canvas.points.x * float(patch[0][0]) > 0).to(lung)
    share = canvas.occupancy(consolidation_distance(patch, canvas.points, fine)) * lung * same_side
    canvas.fill(share, CONSOLIDATION_HU, "consolidation")


def paint_effusion(canvas: Canvas, anatomy: Anatomy, lung: Tensor, place: Cavity) -> None:
    """Fluid where it sinks to; what was lung there is gone."""
    for side, level in zip((1.0, -1.0), anatomy.lesions.fluid_above_mm, strict=True):
        if level < float("inf"):
            depth = fluid_depth(canvas.points, place.level, anatomy.parameters.upright)
            same_side = (canvas.points.x * side > 0).to(lung)
            canvas.fill(canvas.occupancy(level - depth) * lung * same_side, EFFUSION_HU, "effusion")


def _fissures(points: Points, shift_mm: list[float]) -> tuple[Tensor, Tensor]:
    """Distances to the oblique fissures, and to the horizontal one (right, in front of the oblique).

    ``shift_mm`` moves the right and the left oblique and the horizontal one upwards.
    """
    # from T4 at the back down to the front of the diaphragm, bowed
    bow = 8.0 * ((points.y + 20.0) / 80.0) ** 2 + 5.0 * (points.x / 100.0).square()
    sides = torch.where(points.x > 0, shift_mm[0], shift_mm[1])
    oblique = (points.z - sides - 8.0 + 0.78 * (points.y + 12.0) + bow - 6.0) * 0.79
    horizontal = points.z - shift_mm[2] - 6.0 + 6.0 * ((points.x - 70.0) / 60.0) ** 2
    horizontal = torch.where((points.x > 0) & (oblique > 0), horizontal, torch.full_like(horizontal, 1e3))
    return oblique, horizontal

"""What can be measured alike on a real CT and on a phantom: lungs, heart width, body and HU, without any network.

Everything is computed from HU on the same grid by the same thresholds, so that a difference is one of anatomy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from xct_components.geometry import VolumeGrid

#: The measuring grid: a field of 360 mm, so that the largest lungs stay clear of its border.
VOXELS, SPACING_MM = 144, 2.5
#: A coarse look at the whole scan finds the lungs.
_SEARCH_SHAPE, _SEARCH_MM = (100, 120, 110), 5.0
#: HU classes: air below, lung below, fat, soft tissue, bone above.
_LUNG_BELOW, _FAT, _SOFT, _BONE_ABOVE = -400.0, (-150.0, -30.0), (-29.0, 100.0), 200.0
#: The heart's shadow: a column of soft tissue at least this deep between the front and the back of the lungs, mm.
_SHADOW_MM = 30.0


def chest_of_ct(ct_hu: Tensor, ct_grid: VolumeGrid) -> tuple[Tensor, Tensor]:
    """A scan on 144 x 144 x 144 voxels of 2.5 mm centred on the box around its lungs, and which voxels were scanned.

    Values are interpolated, not averaged: a noisy thin-slice scan keeps its noise.
    """
    search = VolumeGrid.chest(_SEARCH_SHAPE, _SEARCH_MM, ct_grid.center_mm)
    coarse, scanned = _resampled(ct_hu, ct_grid, search)
    box = np.argwhere(lungs_of(coarse, scanned))
    center = search.world_from_voxels(torch.tensor((box.min(0) + box.max(0)) / 2)).tolist()
    grid = VolumeGrid.chest((VOXELS,) * 3, SPACING_MM, center)
    return _resampled(ct_hu, ct_grid, grid)


def lungs_of(hu: Tensor, scanned: Tensor) -> np.ndarray:
    """Mask of both lungs: the two largest bodies of air that do not reach the border of the scan in front, behind or aside."""
    from skimage.measure import label
    from skimage.morphology import dilation

    air = ((hu < _LUNG_BELOW) & scanned).numpy()
    border = F.max_pool3d((~scanned).float()[None, None], (5, 1, 5), stride=1, padding=(2, 0, 2))[0, 0].bool().numpy()
    border[:2], border[-2:], border[:, :, :2], border[:, :, -2:] = True, True, True, True
    core = (-F.max_pool3d(-torch.from_numpy(air).float()[None, None], 3, stride=1, padding=1))[0, 0].bool().numpy()
    bodies = label(core | (air & border), connectivity=1)
    sizes = np.bincount(bodies.ravel())
    sizes[np.unique(bodies[border])] = 0
    sizes[0] = 0
    kept = [body for body in np.argsort(-sizes)[:2] if sizes[body] > 0.2 * sizes.max()]
    return np.asarray(dilation(np.isin(bodies, kept), np.ones((3, 3, 3)))) & air


def measures(hu: Tensor, scanned: Tensor) -> dict[str, float]:
    """Sizes and HU of a chest on the measuring grid; D anterior to posterior, H superior to inferior, W right to left."""
    lungs = lungs_of(hu, scanned)
    body = ((hu > -500.0) & scanned).numpy() | lungs
    depth, height, width = (float(np.ptp(np.argwhere(lungs)[:, axis]) + 1) * SPACING_MM for axis in range(3))
    middle = int(np.argwhere(lungs)[:, 1].mean())
    values = hu.numpy()
    at_middle = body[:, middle]
    rows = slice(int(np.argwhere(lungs)[:, 1].min()), int(np.argwhere(lungs)[:, 1].max()) + 1)
    inside, in_chest = values[:, rows], body[:, rows]
    chest_ml = in_chest.sum()
    return {
        "lung volume, ml": lungs.sum() * SPACING_MM**3 / 1000.0,
        "lung depth AP, mm": depth,
        "lung height SI, mm": height,
        "lung width LR, mm": width,
        "cardiothoracic ratio": heart_width_mm(values, lungs) / _inner_width_mm(lungs),
        "sternum to spine, mm": _midline_depth_mm(values, lungs),
        "body depth AP, mm": float(np.ptp(np.flatnonzero(at_middle.sum(1) > 8)) + 1) * SPACING_MM,
        "body width LR, mm": float(np.ptp(np.flatnonzero(at_middle.sum(0) > 8)) + 1) * SPACING_MM,
        "lung HU, 5 %": float(np.quantile(values[lungs], 0.05)),
        "lung HU, median": float(np.median(values[lungs])),
        "lung HU, 95 %": float(np.quantile(values[lungs], 0.95)),
        "share lung, %": 100.0 * lungs[:, rows].sum() / chest_ml,
        "share fat, %": 100.0 * (in_chest & (inside > _FAT[0]) & (inside < _FAT[1])).sum() / chest_ml,
        "share soft tissue, %": 100.0 * (in_chest & (inside > _SOFT[0]) & (inside < _SOFT[1])).sum() / chest_ml,
        "share bone, %": 100.0 * (in_chest & (inside > _BONE_ABOVE)).sum() / chest_ml,
        "bone HU, median": float(np.median(inside[in_chest & (inside > _BONE_ABOVE)])),
    }


def heart_width_mm(hu: np.ndarray, lungs: np.ndarray) -> float:
    """Widest shadow between the lungs in the lower half of the chest."""
    first, last = np.argwhere(lungs)[:, 1].min(), np.argwhere(lungs)[:, 1].max()
    widest = 0.0
    for row in range(int(first + 0.5 * (last - first)), int(first + 0.68 * (last - first))):
        lung, soft = lungs[:, row], hu[:, row] > -200.0
        if not lung.any():
            continue
        columns = np.flatnonzero(lung.any(0))
        depth = np.argwhere(lung)[:, 0]
        front, back = np.quantile(depth, 0.02), np.quantile(depth, 0.70)  # the spine lies behind
        shadow = soft[int(front) : int(back), columns[0] + 6 : columns[-1] - 5].sum(0) * SPACING_MM > _SHADOW_MM
        runs = np.split(np.flatnonzero(shadow), np.flatnonzero(np.diff(np.flatnonzero(shadow)) > 1) + 1)
        widest = max(widest, max((len(run) for run in runs), default=0) * SPACING_MM)
    return widest


def _inner_width_mm(lungs: np.ndarray) -> float:
    """Largest distance between the outer borders of both lungs in one row."""
    columns: np.ndarray = np.any(lungs, axis=0)
    return max(float(np.ptp(np.flatnonzero(row)) + 1) for row in columns if row.any()) * SPACING_MM


def _midline_depth_mm(hu: np.ndarray, lungs: np.ndarray) -> float:
    """From the breastbone's back to the front of the spine, mean over the middle third of the chest's height."""
    rows, columns = np.argwhere(lungs)[:, 1], np.flatnonzero(lungs.any((0, 1)))
    center = int((columns[0] + columns[-1]) / 2)
    bone = (hu[:, :, center - 5 : center + 6] > 150.0).sum(2) >= 4
    gaps = []
    for row in range(int(np.quantile(rows, 0.3)), int(np.quantile(rows, 0.6))):
        at = np.flatnonzero(bone[:, row])
        steps = np.diff(at)
        if len(steps) and steps.max() > 20:
            gaps.append(float(steps.max()) * SPACING_MM)
    return float(np.mean(gaps)) if gaps else float("nan")


def summary(rows: Sequence[Mapping[str, float]]) -> dict[str, tuple[float, float, float]]:
    """Mean, smallest and largest of every measure."""
    return {
        name: (float(np.nanmean(column)), float(np.nanmin(column)), float(np.nanmax(column)))
        for name in rows[0]
        for column in [np.array([row[name] for row in rows])]
    }


def _resampled(ct_hu: Tensor, ct_grid: VolumeGrid, grid: VolumeGrid) -> tuple[Tensor, Tensor]:
    """(D, H, W) HU on another grid, -1024 outside the scan, and which voxels lie inside."""
    indices: Any = torch.stack(torch.meshgrid(*(torch.arange(n) for n in grid.shape), indexing="ij"), dim=-1)
    in_ct = ct_grid.voxels_from_world(grid.world_from_voxels(indices))
    places = ((2 * in_ct + 1) / torch.tensor(ct_grid.shape, dtype=torch.float64) - 1).flip(-1).float()
    values = F.grid_sample(ct_hu + 1024.0, places[None], align_corners=False)[0, 0] - 1024.0
    return values, (places.abs() <= 1.0).all(-1)

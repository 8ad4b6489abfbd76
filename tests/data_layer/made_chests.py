"""Chest CTs of a known patient: body, arms, lungs, windpipe, stomach gas and table as formulas of the place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pydicom.uid import generate_uid

from tests.data_layer.made_cts import LPS_FROM_RAS, one_slice

SHAPE_IJK = (76, 52, 42)
SPACING_MM = np.array([5.5, 5.5, 8.0])
#: Half axes of the trunk (elliptic cylinder) and of each lung, and where the right lung's middle is, in RAS mm.
TRUNK_MM, LUNG_MM, RIGHT_LUNG_MM = (142.0, 104.0), (48.0, 62.0, 115.0), (73.0, 5.0, 0.0)
#: Arms hang beside the trunk; the table lies behind it.
ARM_MM, ARM_RADIUS_MM = 178.0, 22.0
TABLE_MM = (-140.0, -118.0)


def inside_ellipsoid(world_mm: np.ndarray, center_mm: tuple[float, ...], half_mm: tuple[float, ...]) -> np.ndarray:
    return (((world_mm - np.array(center_mm)) / np.array(half_mm)) ** 2).sum(-1) <= 1.0


def lung(world_mm: np.ndarray, side: int) -> np.ndarray:
    """Mask of the right (side 1) or left (-1) lung."""
    x, y, z = RIGHT_LUNG_MM
    return inside_ellipsoid(world_mm, (side * x, y, z), LUNG_MM)


def body(world_mm: np.ndarray) -> np.ndarray:
    """Mask of trunk and arms, cavities included."""
    x, y, _ = np.moveaxis(world_mm, -1, 0)
    arms = np.hypot(np.abs(x) - ARM_MM, y) <= ARM_RADIUS_MM
    return ((x / TRUNK_MM[0]) ** 2 + (y / TRUNK_MM[1]) ** 2 <= 1.0) | arms


def chest_hu(world_mm: np.ndarray, *, lungs: tuple[int, ...] = (1, -1)) -> np.ndarray:
    """HU at RAS positions (..., 3)."""
    x, y, z = np.moveaxis(world_mm, -1, 0)
    hu = np.where(body(world_mm), 40.0, -1000.0)
    hu[(y > TABLE_MM[0]) & (y < TABLE_MM[1]) & (np.abs(x) < 190.0)] = 60.0
    for side in lungs:
        hu[lung(world_mm, side)] = -820.0 + 3.0 * np.sin(z / 9.0)[lung(world_mm, side)]
    hu[(np.hypot(x, y) <= 11.0) & (z > 20.0)] = -1000.0  # windpipe
    hu[inside_ellipsoid(world_mm, (-60.0, 50.0, -140.0), (30.0, 25.0, 22.0))] = -1000.0  # stomach gas
    hu[np.hypot(x, y + 75.0) <= 16.0] = 700.0  # spine
    return hu


def straight_affine(spacing_mm: np.ndarray = SPACING_MM, center_mm: tuple[float, ...] = (0.0, 0.0, 0.0)) -> np.ndarray:
    """4x4 RAS affine of (i, j, k) as scanners place them: to the left, to the back, upwards."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.diag([-1.0, -1.0, 1.0]) * spacing_mm
    matrix[:3, 3] = np.array(center_mm) - matrix[:3, :3] @ (np.array(SHAPE_IJK) - 1) / 2
    return matrix


def places(world_from_ijk: np.ndarray, shape: tuple[int, ...] = SHAPE_IJK) -> np.ndarray:
    """RAS mm of every voxel, (i, j, k, 3)."""
    indices = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    return indices @ world_from_ijk[:3, :3].T + world_from_ijk[:3, 3]


def chest_voxels(world_from_ijk: np.ndarray, noise_seed: int | None = 0, **how: Any) -> np.ndarray:
    """Whole HU (i, j, k), with the noise of a scanner."""
    hu = chest_hu(places(world_from_ijk), **how)
    if noise_seed is not None:
        hu = hu + np.random.default_rng(noise_seed).normal(0.0, 12.0, hu.shape)
    return np.clip(np.rint(hu), -1024, 3000).astype(np.int16)


def write_chest_dicom(folder: Path, world_from_ijk: np.ndarray, voxels: np.ndarray, **tags: Any) -> Path:
    """A CT series, one file per k."""
    lps = LPS_FROM_RAS @ world_from_ijk
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    series = {"SeriesInstanceUID": generate_uid(), **tags}
    folder.mkdir(parents=True, exist_ok=True)
    for k in range(voxels.shape[2]):
        image = one_slice(voxels[:, :, k].T.astype(np.int32), **series)
        image.ImagePositionPatient = [f"{x:.8g}" for x in lps[:3, :3] @ np.array([0, 0, k]) + lps[:3, 3]]
        image.ImageOrientationPatient = [f"{x:.9g}" for x in (*lps[:3, 0] / spacing[0], *lps[:3, 1] / spacing[1])]
        image.PixelSpacing = [f"{spacing[1]:.8g}", f"{spacing[0]:.8g}"]
        image.save_as(folder / f"image-{k:04}.dcm", enforce_file_format=True)
    return folder

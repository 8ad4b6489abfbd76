"""Synthetic series on the disk: a volume that is different at every voxel, a film, a run."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import torch
from torch import Tensor

from tests.data_layer.made_cts import PLACEMENTS, SHAPE_IJK, voxels_ijk
from xct_components.dicom.ct_writer import ct_slices, write_ct_series
from xct_components.dicom.source_film import SourceFilm, source_film
from xct_components.dicom.synthetic_run import SyntheticRun
from xct_components.geometry import VolumeGrid

FILMS = Path(__file__).parents[1] / "data" / "films"
PNG_FILM, DICOM_FILM = FILMS / "00000001_000.png", FILMS / "NIH_00000001_000_DX.dcm"
WEIGHTS = (("stage1", "ab" * 32), ("stage2", "cd" * 32))
#: Ways a volume can lie: the cascade's own, off the middle and with other steps in every direction; and those of scanners.
GRIDS = {"chest": VolumeGrid.chest((7, 6, 5), (13.0, 16.5, 20.0), (33.0, -21.25, 140.0))}
GRIDS |= {name: VolumeGrid.from_affine(SHAPE_IJK, affine) for name, affine in PLACEMENTS.items()}


def hu_on(grid: VolumeGrid) -> Tensor:
    """(1, D, H, W) HU, different wherever it matters."""
    if grid.shape == SHAPE_IJK:
        return torch.from_numpy(voxels_ijk(grid.affine.numpy()))[None].float()
    d, h, w = grid.shape
    return (torch.arange(d * h * w, dtype=torch.float32) * 13 % 2500 - 1024).reshape(1, d, h, w)


def a_run(**given: Any) -> SyntheticRun:
    return SyntheticRun("xct-components 0.1.0", WEIGHTS, "CT estimated from a chest radiograph (stages 2, seed 0).", **given)


def the_run() -> SyntheticRun:
    """One whose UIDs are known."""
    return a_run(name="test", made_at=datetime(2026, 11, 22, 18, 33, 42))


def write_series(
    folder: Path, grid: VolumeGrid = GRIDS["chest"], film: SourceFilm | None = None, run: SyntheticRun | None = None
) -> list[Path]:
    """A CT series; of the DICOM film unless told otherwise."""
    folder.mkdir()
    slices = ct_slices(hu_on(grid), grid, film or source_film(DICOM_FILM), run or the_run())
    return write_ct_series(folder, slices)


def film_with(folder: Path, **tags: Any) -> Path:
    """The DICOM film with other tags; None takes one away."""
    film = pydicom.dcmread(DICOM_FILM)
    for keyword, value in tags.items():
        if value is not None:
            setattr(film, keyword, value)
        elif keyword in film:
            del film[keyword]
    film.save_as(folder / "film.dcm")
    return folder / "film.dcm"


def same_voxels(values: np.ndarray, world_from_voxel: np.ndarray, grid: VolumeGrid) -> bool:
    """Whether every value lies where the volume on ``grid`` has it.

    Args:
        values: HU by index, as a reader gives them.
        world_from_voxel: 4x4, RAS mm, what the reader makes of the indices.
        grid: of ``hu_on``.
    """
    indices = np.moveaxis(np.indices(values.shape), 0, -1).reshape(-1, 3)
    world_mm = indices @ world_from_voxel[:3, :3].T + world_from_voxel[:3, 3]
    exact = grid.voxels_from_world(torch.from_numpy(world_mm)).numpy()
    # Decimal strings keep ten digits: positions agree to 1e-4 mm, of voxels of 2 mm and more.
    np.testing.assert_allclose(exact, np.rint(exact), atol=1e-4)
    found = hu_on(grid)[0].numpy()[tuple(np.rint(exact).astype(int).T)]
    return values.size == hu_on(grid).numel() and bool(np.array_equal(values.ravel(), found))

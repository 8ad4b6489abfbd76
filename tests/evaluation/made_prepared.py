"""A prepared folder of tiny made chests: what evaluation needs of one."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import torch.nn.functional as F
from torch import Tensor

from tests.inferers.tiny_stages import FIELD_MM, SIZES, chest_hu
from xct_components.data.file_hash import file_sha256
from xct_components.geometry import VolumeGrid

#: side -> case -> how dense its marker is made, HU. The second training case looks like the held-out one.
CASES = {"train": {"train-a": -300.0, "train-b": 160.0}, "val": {"held-out": 150.0}, "test": {}}
CENTER_MM = (12.0, -30.0, 200.0)
#: The finest volume is for the films alone.
PREPARED_SIZES = SIZES


def made_ct(marker_hu: float, size: int) -> tuple[Tensor, VolumeGrid]:
    """(1, 1, D, H, W) HU of a chest whose marker adds so much, the mean of finer voxels, and its grid."""
    finest = VolumeGrid.chest((SIZES[-1],) * 3, FIELD_MM / SIZES[-1], CENTER_MM)
    plain = chest_hu(finest, marker=False)
    hu = plain + (chest_hu(finest) != plain) * (marker_hu - plain)
    return F.adaptive_avg_pool3d(hu, size).round(), finest.resampled((size,) * 3)


def write_prepared(folder: Path) -> Path:
    """Write CASES as ``xct prepare`` does, as far as evaluation reads it."""
    cases = []
    for side, chests in CASES.items():
        for name, marker_hu in chests.items():
            outputs = {}
            for size in PREPARED_SIZES:
                hu, grid = made_ct(marker_hu, size)
                path = folder / name / f"{size}.nii.gz"
                path.parent.mkdir(parents=True, exist_ok=True)
                write_nifti(path, hu, grid)
                file = {"file": f"{name}/{path.name}", "sha256": file_sha256(path)}
                outputs[str(size)] = {**file, "grid": grid.to_json()}
            cases.append({"case": name, "outputs": outputs, "split": side})
    sides = {side: list(names) for side, names in CASES.items()}
    (folder / "manifest.json").write_text(json.dumps({"sides": sides, "cases": cases}))
    return folder


def write_nifti(path: Path, hu: Tensor, grid: VolumeGrid) -> None:
    nibabel.save(nibabel.Nifti1Image(hu[0, 0].numpy().astype(np.int16), grid.affine.numpy()), path)

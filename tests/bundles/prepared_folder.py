"""What ``xct prepare`` leaves behind, made without it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import nibabel
import numpy as np

from tests.inferers.tiny_stages import FIELD_MM, chest_hu
from xct_components.data.file_hash import file_sha256
from xct_components.geometry import VolumeGrid

DENSER_HU = 30


def prepared_folder(folder: Path, sizes: Iterable[int], validated: Sequence[str] = ("second",)) -> Path:
    """One patient to train on and others to validate with, each denser than the one before, at every size."""
    folder.mkdir(exist_ok=True)
    sides, cases = {"train": ["first"], "val": list(validated)}, []
    for number, name in enumerate(("first", *validated)):
        outputs = {}
        for size in sizes:
            grid = VolumeGrid.chest((size,) * 3, FIELD_MM / size)
            denser_hu = DENSER_HU * max(0, number - 1)
            ct_hu = (chest_hu(grid, marker=number == 0)[0, 0].numpy() + denser_hu).astype(np.int16)
            file = folder / f"{name}-{size}.nii.gz"
            nibabel.save(nibabel.Nifti1Image(ct_hu, grid.affine.numpy()), file)
            outputs[str(size)] = {"file": file.name, "grid": grid.to_json(), "sha256": file_sha256(file)}
        cases.append({"case": name, "outputs": outputs})
    (folder / "manifest.json").write_text(json.dumps({"sides": sides, "cases": cases}))
    return folder

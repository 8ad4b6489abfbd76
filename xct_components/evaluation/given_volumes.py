"""Predictions of anything else, given as folders of NIfTI files: another network trained on the same data, say."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from xct_components.evaluation.held_out_case import HeldOutCase
from xct_components.failures import RefusedInput, UnreadableInput, UsageFailure

#: Corners of the volume may lie this far from the case's, mm: headers hold single precision.
SAME_PLACE_MM = 0.05


def named_folders(text: str | None) -> dict[str, Path]:
    """NAME=FOLDER,NAME=FOLDER as a dictionary.

    Raises:
        UsageFailure: for another form, a name twice, or a folder that is none.
    """
    folders: dict[str, Path] = {}
    for entry in (text or "").split(","):
        if not entry.strip():
            continue
        name, equals, folder = (part.strip() for part in entry.partition("="))
        if not (name and equals and folder) or name in folders:
            raise UsageFailure(f"baseline must be NAME=FOLDER, each name once, several with commas, got {text!r}")
        if not Path(folder).is_dir():
            raise UsageFailure(f"baseline {name}: {folder} is no folder")
        folders[name] = Path(folder)
    return folders


def given_volumes(case: HeldOutCase, folders: Mapping[str, Path]) -> dict[int, dict[str, Tensor]]:
    """Size -> name -> (1, 1, D, H, W) HU, of FOLDER/<case>.nii.gz (or .nii); its shape says to which size it belongs.

    Raises:
        UnreadableInput: if a file is missing or damaged.
        RefusedInput: if it does not lie where the case does.
    """
    volumes: dict[int, dict[str, Tensor]] = {size: {} for size in case.fields}
    for name, folder in folders.items():
        hu, affine = _read(folder, case.name, name)
        size = next((size for size, field in case.fields.items() if field.shape == hu.shape), None)
        if size is None:
            raise RefusedInput(
                f"baseline {name}, {case.name}: shape {hu.shape} is none of the sizes {', '.join(map(str, case.fields))}"
            )
        corners = torch.tensor([[0, 0, 0], [n - 1 for n in hu.shape]], dtype=torch.float64)
        there = corners @ affine[:3, :3].T + affine[:3, 3]
        if float((there - case.fields[size].world_from_voxels(corners)).abs().max()) > SAME_PLACE_MM:
            raise RefusedInput(
                f"baseline {name}, {case.name}: it lies elsewhere; write it with the affine of the prepared case"
            )
        volumes[size][name] = hu_tensor(hu)
    return volumes


def hu_tensor(hu: np.ndarray) -> Tensor:
    """(1, 1, D, H, W) float32."""
    return torch.from_numpy(np.ascontiguousarray(hu, dtype=np.float32))[None, None]


def _read(folder: Path, case: str, name: str) -> tuple[np.ndarray, Tensor]:
    import nibabel

    path: Path = next((found for suffix in (".nii.gz", ".nii") if (found := folder / f"{case}{suffix}").is_file()), folder)
    if path is folder:
        raise UnreadableInput(f"baseline {name}: {folder} holds no {case}.nii.gz")
    try:
        image = nibabel.load(path)
        hu = np.asarray(image.dataobj, dtype=np.float32)
    except Exception as error:
        raise UnreadableInput(f"baseline {name}: {path} cannot be read as NIfTI") from error
    if hu.ndim != 3 or not np.isfinite(hu).all():
        raise RefusedInput(f"baseline {name}: {path} must hold one volume of finite HU, got shape {hu.shape}")
    return hu, torch.as_tensor(image.affine, dtype=torch.float64)

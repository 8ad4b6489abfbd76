"""The stages before a stage: found as bundle folders beside its own, built from their own JSON, loaded with their weights."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import torch

from xct_components.bundle_io.stage_weights import StageWeights
from xct_components.failures import WeightsFailure
from xct_components.networks.cascade_stage import CascadeStage

WEIGHTS = "models/model.pt"


def parent_folder(bundle_root: str | Path, stage: int) -> str:
    """The bundle folder of an earlier stage.

    The environment variable XCT_STAGE<n>_BUNDLE names it; otherwise it is the folder beside ``bundle_root`` that bears its
    name with the other number: .../stage1 for .../stage3, .../xct_stage1 for .../xct_stage3.
    """
    named = os.environ.get(f"XCT_STAGE{stage}_BUNDLE")
    if named:
        return named
    own = Path(bundle_root).absolute().resolve()
    name, found = re.subn(r"stage\d", f"stage{stage}", own.name)
    return str(own.with_name(name if found else f"stage{stage}"))


def parent_stages(
    folders: Sequence[str | Path],
    weights: StageWeights,
    *,
    device: str | torch.device = "cpu",
    coarse: str | Path | None = None,
    configs: Sequence[str] = ("inference.json",),
    file: str = WEIGHTS,
    last_file: str | Path | None = None,
) -> list[CascadeStage]:
    """The earlier stages, frozen; none if the coarse volume is given, as there is nothing left for them to do.

    Args:
        folders: their bundle folders, first stage first.
        weights: loads and remembers their weights.
        device: of the result.
        coarse: what the run was given as the previous stage's volume, or None.
        configs: the documents in each folder's ``configs`` that together define the network.
        file: the weights, in each folder.
        last_file: other weights for the last of them, such as a checkpoint; None takes those in its folder.

    Raises:
        WeightsFailure: if a folder is no bundle, or its weights are missing, damaged or not those of its network.
    """
    if coarse is not None:
        return []
    files = [Path(folder) / file for folder in folders]
    if last_file is not None:
        files[-1:] = [Path(last_file)]
    return [_frozen(weights.load(stage_of(folder, configs), one, device)) for folder, one in zip(folders, files, strict=True)]


def untrained_stages(
    folders: Sequence[str | Path], *, device: str | torch.device = "cpu", configs: Sequence[str] = ("inference.json",)
) -> list[CascadeStage]:
    """The earlier stages as a joint training begins with them: as they are defined, without weights; arguments as above."""
    return [stage_of(folder, configs).to(device) for folder in folders]


def stage_of(folder: str | Path, configs: Sequence[str] = ("inference.json",)) -> CascadeStage:
    """The network that a bundle folder defines, without its weights.

    Raises:
        WeightsFailure: if the folder holds no such document.
    """
    from monai.bundle import ConfigParser

    files = [Path(folder) / "configs" / name for name in configs]
    missing = next((file for file in files if not file.is_file()), None)
    if missing is not None:
        raise WeightsFailure(
            f"the bundle of an earlier stage is not there: no {missing}; put its folder beside this one, set "
            "XCT_STAGE<n>_BUNDLE, or give its volume with --coarse"
        )
    parser = ConfigParser()
    parser.read_config([str(file) for file in files])
    parser["bundle_root"] = str(folder)
    return parser.get_parsed_content("network_def")


def _frozen(stage: CascadeStage) -> CascadeStage:
    return stage.eval().requires_grad_(False)

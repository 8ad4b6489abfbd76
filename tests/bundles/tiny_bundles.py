"""The shipped bundles with networks so small that they run in a moment, and random weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch

from tests.inferers.tiny_stages import FIELD_MM, chest_hu
from xct_components.bundle_io.parent_stages import WEIGHTS, stage_of
from xct_components.geometry import VolumeGrid

BUNDLES = Path(__file__).parent.parent.parent / "bundles"
STAGES = (1, 2, 3)
#: Voxels along each edge, by stage.
TINY_SIZE = {1: 16, 2: 32, 3: 48}
#: Side of a column where a stage trains on columns.
TINY_COLUMN = 16
#: Weights that start at zero are drawn this large, so that the network has something to say.
LOUDNESS = 0.05


def copied_bundles(folder: Path) -> Path:
    """stage1, stage2 and stage3 in ``folder``: the shipped files but for ``network_def`` and the weights."""
    for stage in STAGES:
        copy = folder / f"stage{stage}"
        shutil.copytree(BUNDLES / copy.name, copy, ignore=shutil.ignore_patterns("models", "eval", "cache", "runs"))
        for name in ("inference.json", "train.json"):
            document = copy / "configs" / name
            config = {**json.loads(document.read_text()), "network_def": tiny_network(stage)}
            if name == "train.json":
                config |= {"volume_size": TINY_SIZE[stage], "tensorboard": False, "picture_interval": 0}
                columns = config["train"]["prepare_batch"]
                columns |= {"column_pixels": TINY_COLUMN} if columns.get("column_pixels") else {}
            document.write_text(json.dumps(config))
        write_random_weights(copy, seed=stage)
    return folder


def tiny_network(stage: int) -> dict[str, Any]:
    """A ``network_def``: two levels of 8 and 16 channels, 4 voxels at the coarsest."""
    shared = {"token_channels": 16, "embedding": 32, "patch": 2}
    levels = [{"channels": 8}, {"channels": 16, "vit_blocks": 1, "window": [4, 4, 4]}]
    encoder = {"channels": [8, 16], "blocks": 1, "token_rows": 2, **shared}
    return {
        "_target_": "xct_components.networks.cascade_stage.CascadeStage",
        "encoder": {"_target_": "xct_components.networks.xray_encoder.XrayEncoder", **encoder},
        "network": {
            "_target_": "xct_components.networks.hybrid_vit_unet.HybridViTUNet",
            "levels": levels,
            "head_channels": 8,
            **shared,
        },
        "encoder_channels": encoder["channels"],
        "embedding": shared["embedding"],
        "depth_bins": 16,
        "precision": "fp32",
        "volume_shape": [TINY_SIZE[stage]] * 3,
        "spacing_mm": FIELD_MM / TINY_SIZE[stage],
        "atlas_cts": 4 if stage == 1 else 0,
        "needs_coarse": stage > 1,
        "detail_step_hu": 10.0 if stage > 1 else 0.0,
    }


def write_random_weights(bundle: Path, seed: int) -> None:
    """A weights file for the network that the bundle defines."""
    torch.manual_seed(seed)
    stage = stage_of(bundle)
    stage.atlas.measure([chest_hu(VolumeGrid.chest((32, 32, 32), FIELD_MM / 32), marker=False)])
    for parameter in stage.parameters():
        if not parameter.any():
            parameter.data = LOUDNESS * torch.randn(parameter.shape)
    (bundle / WEIGHTS).parent.mkdir(exist_ok=True)
    torch.save(stage.state_dict(), bundle / WEIGHTS)

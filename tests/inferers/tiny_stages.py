"""Small cascade stages with random weights: real networks whose every part has something to say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from xct_components.geometry import VolumeGrid
from xct_components.networks.cascade_stage import CascadeStage

FIELD_MM = 320.0
SIZES = (16, 32, 64)
CHANNELS = [8, 16]
TOKEN_CHANNELS, EMBEDDING = 16, 32
#: Random weights of this deviation in the layers that start at zero make the network speak without drowning the prior.
LOUDNESS = 0.05


def network_def(
    size: int,
    *,
    needs_coarse: bool = False,
    window: tuple[int, int, int] | None = None,
    atlas_cts: int = 0,
    detail_step_hu: float = 0.0,
) -> dict[str, Any]:
    """A stage of ``size``³ voxels over 320 mm, patch 2, two levels, as a bundle writes it; ``coarsest`` is 4."""
    networks = "xct_components.networks"
    levels = [{"channels": 8}, {"channels": 16, "vit_blocks": 1, "window": window}]
    shared = {"token_channels": TOKEN_CHANNELS, "embedding": EMBEDDING, "patch": 2}
    return {
        "_target_": f"{networks}.cascade_stage.CascadeStage",
        "encoder": {
            "_target_": f"{networks}.xray_encoder.XrayEncoder",
            "channels": CHANNELS,
            "blocks": 1,
            "token_rows": 2,
            **shared,
        },
        "network": {"_target_": f"{networks}.hybrid_vit_unet.HybridViTUNet", "levels": levels, "head_channels": 8, **shared},
        "encoder_channels": CHANNELS,
        "volume_shape": [size, size, size],
        "spacing_mm": FIELD_MM / size,
        "needs_coarse": needs_coarse,
        "embedding": EMBEDDING,
        "depth_bins": 16,
        "atlas_cts": atlas_cts,
        "detail_step_hu": detail_step_hu,
        "precision": "fp32",
    }


def tiny_stage(size: int = 16, *, seed: int = 0, **how: Any) -> CascadeStage:
    """The stage of ``network_def`` with random weights, a measured atlas, and chests for as many CTs as it may hold."""
    from monai.bundle import ConfigParser

    torch.manual_seed(seed)
    stage: CascadeStage = ConfigParser({"network_def": network_def(size, **how)}).get_parsed_content("network_def")
    generator = torch.Generator().manual_seed(seed)
    for parameter in stage.parameters():
        if not parameter.any():
            parameter.data = LOUDNESS * torch.randn(parameter.shape, generator=generator)
    stage.atlas.measure([chest_hu(VolumeGrid.chest((32, 32, 32), FIELD_MM / 32), marker=False)])
    if stage.multi_atlas is not None:
        rooms = held_voxels_mm(stage.multi_atlas.count)
        stage.multi_atlas.measure((f"in {mm} mm", chest_hu(VolumeGrid.chest((32, 32, 32), mm), marker=False)) for mm in rooms)
    return stage.eval().requires_grad_(False)


def held_voxels_mm(count: int) -> list[float]:
    """Of the chests that a tiny stage holds, called "in MM mm": the voxels that make each so small or large."""
    return [(0.85 + 0.1 * number) * FIELD_MM / 32 for number in range(count)]


def tiny_cascade(atlas_cts: int = 0) -> list[CascadeStage]:
    """Stages of 16³, 32³ and 64³ voxels; the first holds so many CTs, of chests of different size."""
    first = tiny_stage(SIZES[0], atlas_cts=atlas_cts)
    return [first, *(tiny_stage(size, needs_coarse=True, seed=number) for number, size in enumerate(SIZES[1:], start=1))]


def write_bundles(folder: Path, count: int = 3, atlas_cts: int = 0) -> Path:
    """The tiny cascade as a folder of bundles: what inference needs of them."""
    for number, (size, stage) in enumerate(zip(SIZES[:count], tiny_cascade(atlas_cts), strict=False), start=1):
        bundle = folder / f"stage{number}"
        (bundle / "configs").mkdir(parents=True)
        (bundle / "models").mkdir()
        held = atlas_cts if number == 1 else 0
        document = {"network_def": network_def(size, needs_coarse=number > 1, atlas_cts=held)}
        (bundle / "configs" / "inference.json").write_text(json.dumps(document))
        torch.save(stage.state_dict(), bundle / "models" / "model.pt")
    return folder


def chest_hu(grid: VolumeGrid, *, marker: bool = True) -> Tensor:
    """(1, 1, D, H, W) a body, two lungs, a spine and, on the patient's left, a dense marker; in HU."""
    axes = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in grid.shape), indexing="ij")
    x, y, z = (grid.world_from_voxels(torch.stack(axes, dim=-1)) - torch.tensor(grid.center_mm)).unbind(-1)
    hu = torch.where((x / 150) ** 2 + (y / 105) ** 2 < 1, 30.0, -1000.0)
    for side in (-1, 1):
        hu[((x - side * 72) / 48) ** 2 + (y / 65) ** 2 + (z / 110) ** 2 < 1] = -820.0
    hu[(x**2 + (y + 75) ** 2) < 20**2] = 500.0
    if marker:
        hu[((x + 75) ** 2 + (y - 10) ** 2 + (z - 20) ** 2) < 32**2] = 900.0
    return hu.float()[None, None]

"""Stages small enough for a test, whose every layer has something to say, and a chest to show them."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from xct_components.geometry import Beam, VolumeGrid, chest_beam_covering
from xct_components.networks.atlas import Atlas
from xct_components.networks.cascade_stage import CascadeStage
from xct_components.networks.hybrid_vit_unet import HybridViTUNet, LevelSpec
from xct_components.networks.stage_conditions import StageConditions
from xct_components.networks.xray_encoder import XrayEncoder
from xct_components.physics.attenuation import hu_to_mu_per_mm
from xct_components.physics.consistency import Consistency, HardConsistency
from xct_components.physics.projector import project

SIDE, SPACING_MM = 16, 20.0
GRID = VolumeGrid.chest((SIDE,) * 3, SPACING_MM)
TOKENS, EMBEDDING = 16, 32
ENCODER = (8, 16)
LEVELS = (LevelSpec(8), LevelSpec(16, conv_blocks=0, vit_blocks=1, window=(2, 4, 4)))
#: Deviation of the weights that take the place of zeros.
LOUDNESS = 0.2


def small_network(patch: int = 2, levels: Sequence[LevelSpec] = LEVELS, **settings: Any) -> HybridViTUNet:
    """Two levels, the coarse one with attention; ``coarsest`` is twice the patch."""
    torch.manual_seed(0)
    shared = {"token_channels": TOKENS, "embedding": EMBEDDING, "head_channels": 8, "patch": patch}
    return HybridViTUNet(levels, **{**shared, **settings})


def small_stage(
    side: int = SIDE,
    *,
    loud: bool = True,
    use_depth_lifting: bool = True,
    needs_coarse: bool = False,
    atlas_cts: int = 0,
    detail_step_hu: float = 0.0,
    **network: Any,
) -> CascadeStage:
    """A stage over 320 mm with a measured atlas, in float32.

    Args:
        side: voxels along every axis.
        loud: give the layers that start at zero random weights, so that every input can matter.
        use_depth_lifting: of the stage.
        needs_coarse: of the stage.
        atlas_cts: of the stage; it holds none yet.
        network: settings of ``small_network``.
    """
    patch = network.get("patch", 2)
    torch.manual_seed(0)
    stage = CascadeStage(
        XrayEncoder(ENCODER, patch=patch, token_channels=TOKENS, embedding=EMBEDDING, blocks=1, token_rows=2),
        small_network(**network),
        encoder_channels=ENCODER,
        volume_shape=(side,) * 3,
        spacing_mm=SIDE * SPACING_MM / side,
        needs_coarse=needs_coarse,
        embedding=EMBEDDING,
        depth_bins=SIDE,
        use_depth_lifting=use_depth_lifting,
        atlas_cts=atlas_cts,
        detail_step_hu=detail_step_hu,
        precision="fp32",
    )
    stage.atlas.tissue.copy_(_measured_atlas())
    return made_loud(stage) if loud else stage


@functools.cache
def _measured_atlas() -> Tensor:
    """Chests from slim to broad, so that no film here shows tissue where the atlas has none."""
    atlas, grid = Atlas(), VolumeGrid.chest((64,) * 3, 5.0)
    atlas.measure(chest_hu(grid, wide=wide) for wide in (0.75, 0.9, 1.0, 1.1))
    return atlas.tissue


def made_loud(module: Any) -> Any:
    """The module with small random weights wherever all of a tensor is zero."""
    generator = torch.Generator().manual_seed(7)
    for parameter in module.parameters():
        if not bool(parameter.any()):
            parameter.data = LOUDNESS * torch.randn(parameter.shape, generator=generator)
    return module


def chest_hu(grid: VolumeGrid = GRID, *, wide: float = 1.0, heart: bool = True) -> Tensor:
    """(1, 1, D, H, W) HU: a body of soft tissue, two lungs, a spine behind, and a heart on the patient's left."""
    axes = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in grid.shape), indexing="ij")
    x, y, z = (grid.world_from_voxels(torch.stack(axes, dim=-1)) - torch.tensor(grid.center_mm)).unbind(-1)
    hu = torch.where((x / (140 * wide)) ** 2 + (y / 105) ** 2 + (z / 155) ** 4 < 1, 30.0, -1000.0)
    for side in (-1, 1):
        hu[((x - side * 68) / 48) ** 2 + (y / 75) ** 2 + (z / 115) ** 2 < 1] = -820.0
    hu[(x**2 + (y + 75) ** 2 < 22**2) & (z.abs() < 150)] = 400.0
    if heart:
        hu[((x + 35) / 45) ** 2 + ((y - 25) / 45) ** 2 + ((z + 20) / 55) ** 2 < 1] = 45.0
    return hu.float()[None, None]


def beams_of(*views: str, grid: VolumeGrid = GRID, pixels: int = SIDE) -> list[Beam]:
    """One covering exposure a view."""
    return [chest_beam_covering(grid, view, pixels, pixels) for view in views]  # type: ignore[arg-type]


def film_of(ct_hu: Tensor, beams: list[Beam], grid: VolumeGrid = GRID) -> Tensor:
    """(B, V, 1, rows, cols) line integrals."""
    return project(hu_to_mu_per_mm(ct_hu), grid, beams)


def hard(count: int = 1) -> list[Consistency]:
    return [HardConsistency()] * count


def conditions_of(
    stage: CascadeStage, film: Tensor, beams: list[Beam], *, coarse_hu: Tensor | None = None, film_present: Tensor | None = None
) -> StageConditions:
    """What the stage knows of one sample; the prior explains the film."""
    prior_hu = stage.prior_hu(film, [GRID], [beams], hard(), coarse_hu)
    return stage.condition(film, [GRID], [beams], prior_hu, film_present=film_present)


def denoised(stage: CascadeStage, conditions: StageConditions, time: float = 0.6) -> Tensor:
    """The network's clean residual from always the same noise."""
    count = len(conditions.fields)
    noise = torch.randn((1, 1, SIDE, SIDE, SIDE), generator=torch.Generator().manual_seed(3)).expand(count, -1, -1, -1, -1)
    with torch.no_grad():
        return stage.denoise(noise, torch.full((count,), time), stage.at_voxels(conditions))


def change(a: Tensor, b: Tensor) -> float:
    """How far b is from a, relative to a."""
    return float((b - a).norm() / a.norm())


def gradients(module: nn.Module) -> dict[str, Tensor | None]:
    return {name: parameter.grad for name, parameter in module.named_parameters()}

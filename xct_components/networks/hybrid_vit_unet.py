"""The denoiser: an hourglass of convolutions at fine levels and hybrid ViT blocks at coarse ones, head at full resolution."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from xct_components.networks.embeddings import ScalarEmbedding
from xct_components.networks.hybrid_vit_block import ConvBlock, HybridViTBlock
from xct_components.networks.patch_blend import blended
from xct_components.networks.voxel_layers import NormName, channels_to_patches, patches_to_channels, voxel_norm, zeroed


@dataclass(frozen=True)
class LevelSpec:
    """One resolution of the hourglass; each level has half the tokens per axis of the one before.

    Args:
        channels: width; a multiple of 4, and of the channels per head where there are ViT blocks.
        conv_blocks: residual convolutions, on the way down and again on the way up.
        vit_blocks: hybrid ViT blocks, on the way down.
        window: tokens of an attention window along D, H and W; None for global attention.
    """

    channels: int
    conv_blocks: int = 1
    vit_blocks: int = 0
    window: Sequence[int] | None = None


@dataclass(frozen=True)
class _Blocks:
    """Makes the blocks of a level."""

    token_channels: int
    embedding: int | None
    head_channels: int
    norm: NormName

    def convolutions(self, spec: LevelSpec) -> nn.ModuleList:
        return nn.ModuleList(ConvBlock(spec.channels, self.embedding, self.norm) for _ in range(spec.conv_blocks))

    def transformers(self, spec: LevelSpec) -> nn.ModuleList:
        heads = max(1, spec.channels // self.head_channels)
        return nn.ModuleList(
            HybridViTBlock(spec.channels, self.token_channels, self.embedding, heads=heads, window=spec.window, norm=self.norm)
            for _ in range(spec.vit_blocks)
        )


class HybridViTUNet(nn.Module):
    """Predicts the clean residual from a noisy one.

    Voxels are taken in patches of ``patch``³ (space to depth), every patch is given back as ``patch``³ values: the head can say
    anything at full resolution. Little training leaves steps between patches; ``blend_patches`` fades them into each other.

    Args:
        levels: finest first; dictionaries are read as ``LevelSpec``.
        in_channels: noisy residual and voxel inputs together.
        token_channels: of the film tokens.
        embedding: width of the embedding.
        head_channels: channels of an attention head.
        patch: voxels per token along each axis.
        norm: "voxel" or "group"; see ``voxel_norm``.
        use_adaln: modulate every block (AdaLN-zero); otherwise the embedding is added to every level once.
        gradient_checkpointing: recompute blocks in the backward pass instead of keeping what they computed.
        blend_patches: fade neighbouring patches of the result into each other (``blended``); costs detail finer than a patch.
    """

    def __init__(
        self,
        levels: Sequence[LevelSpec | dict[str, Any]],
        *,
        in_channels: int = 4,
        token_channels: int = 128,
        embedding: int = 256,
        head_channels: int = 32,
        patch: int = 2,
        norm: NormName = "voxel",
        use_adaln: bool = True,
        gradient_checkpointing: bool = False,
        blend_patches: bool = False,
    ) -> None:
        super().__init__()
        specs = [level if isinstance(level, LevelSpec) else LevelSpec(**level) for level in levels]
        widths = [spec.channels for spec in specs]
        self.patch, self.widths, self.gradient_checkpointing = patch, widths, gradient_checkpointing
        self.blend_patches = blend_patches
        self.coarsest = patch * 2 ** (len(specs) - 1)
        self.time = ScalarEmbedding(embedding)
        self.stem = nn.Conv3d(in_channels * patch**3 + 3, widths[0], 1)
        self.bias = nn.ModuleList(nn.Linear(embedding, w) for w in ([] if use_adaln else widths))
        blocks = _Blocks(token_channels, embedding if use_adaln else None, head_channels, norm)
        self.down_convs = nn.ModuleList(blocks.convolutions(spec) for spec in specs)
        self.vits = nn.ModuleList(blocks.transformers(spec) for spec in specs)
        self.up_convs = nn.ModuleList(blocks.convolutions(spec) for spec in specs[:-1])
        self.downs = nn.ModuleList(nn.Conv3d(fine, coarse, 2, stride=2) for fine, coarse in pairwise(widths))
        self.ups = nn.ModuleList(nn.Conv3d(coarse, 8 * fine, 1) for fine, coarse in pairwise(widths))
        self.head = nn.Sequential(voxel_norm(norm, widths[0]), zeroed(nn.Conv3d(widths[0], patch**3, 1)))

    def forward(  # noqa: PLR0917 - the fields of VoxelConditions
        self,
        noisy: Tensor,
        time: Tensor,
        inputs: Tensor,
        position: Tensor,
        lifted: Sequence[Tensor],
        embedding: Tensor,
        tokens: Tensor,
    ) -> Tensor:
        """Predict the clean residual: (B, 1, D, H, W).

        Args:
            noisy: (B, 1, D, H, W); every axis a multiple of ``coarsest``.
            time: (B,) in [0, 1].
            inputs: (B, in_channels - 1, D, H, W) what is known voxel by voxel: prior, lifted attenuation, film.
            position: (B, 3, d, h, w) of every token in the field, -1 to 1.
            lifted: per level (B, channels, d, h, w) film features.
            embedding: (B, E) film and previous stage.
            tokens: (B, N, token_channels) of the films.

        Raises:
            ValueError: if an axis is no multiple of ``coarsest``.
        """
        _require_multiples(noisy, self.coarsest)
        e = embedding + self.time(time)
        x = torch.cat([patches_to_channels(torch.cat([noisy, inputs], dim=1), self.patch), position], dim=1)
        x = self.stem(x).contiguous(memory_format=torch.channels_last_3d)
        skips: list[Tensor] = []
        for level, features in enumerate(lifted):
            x = self._told(x + features, level, e)
            x = self._run(self.vits[level], self._run(self.down_convs[level], x, e), e, tokens)
            skips.append(x)
            x = self.downs[level](x) if level < len(self.downs) else x
        for level in reversed(range(len(self.ups))):
            x = skips[level] + channels_to_patches(self.ups[level](x), 2)
            x = self._run(self.up_convs[level], x, e)
        clean = channels_to_patches(self.head(x), self.patch).float()
        return blended(clean, self.patch) if self.blend_patches else clean

    def _told(self, x: Tensor, level: int, embedding: Tensor) -> Tensor:
        return x + self.bias[level](embedding)[:, :, None, None, None] if len(self.bias) else x

    def _run(self, blocks: nn.Module, x: Tensor, *conditions: Tensor) -> Tensor:
        block: Callable[..., Tensor]
        for block in blocks:  # type: ignore[attr-defined]
            keep = not (self.gradient_checkpointing and self.training and torch.is_grad_enabled())
            x = block(x, *conditions) if keep else checkpoint(block, x, *conditions, use_reentrant=False)
        return x


def _require_multiples(noisy: Tensor, coarsest: int) -> None:
    if any(size % coarsest for size in noisy.shape[2:]):
        raise ValueError(
            f"noisy must have axes that are multiples of {coarsest} voxels, got {tuple(noisy.shape[2:])}; "
            "take a field or a column of such a size"
        )

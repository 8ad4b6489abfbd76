"""The two blocks of the network: a residual convolution, and the hybrid ViT block."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from xct_components.networks.attention import FilmAttention, SelfAttention3d
from xct_components.networks.voxel_layers import FixedGate, Modulation, NormName, added, modulated, voxel_norm


class ConvBlock(nn.Module):
    """Norm, modulation, two 3x3x3 convolutions, gate; added to its input.

    Args:
        channels: in and out.
        embedding: width of the embedding that modulates; None for a block without AdaLN.
        norm: see ``voxel_norm``.
    """

    def __init__(self, channels: int, embedding: int | None, norm: NormName = "voxel") -> None:
        super().__init__()
        self.norm = voxel_norm(norm, channels)
        self.modulation = FixedGate(channels) if embedding is None else Modulation(embedding, channels)
        self.first = nn.Conv3d(channels, channels, 3, padding=1)
        self.second = nn.Conv3d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """(B, C, D, H, W), (B, E) -> (B, C, D, H, W)."""
        ((shift, scale, gate),) = self.modulation(embedding)
        h = modulated(self.norm(x), shift, scale)
        h = self.second(F.silu(self.first(h)))
        return added(x, h, gate)


class HybridViTBlock(nn.Module):
    """Voxel self-attention, attention to film tokens, and an MLP, each behind AdaLN-zero.

    Args:
        channels: in and out.
        token_channels: of the film tokens.
        embedding: width of the embedding that modulates; None for a block without AdaLN.
        heads: attention heads.
        window: tokens of an attention window along D, H and W; None for the whole volume.
        norm: see ``voxel_norm``.
        mlp_ratio: hidden width of the MLP over its width.
    """

    def __init__(
        self,
        channels: int,
        token_channels: int,
        embedding: int | None,
        *,
        heads: int,
        window: Sequence[int] | None = None,
        norm: NormName = "voxel",
        mlp_ratio: int = 4,
    ) -> None:
        super().__init__()
        self.norms = nn.ModuleList([voxel_norm(norm, channels) for _ in range(3)])
        self.modulation = FixedGate(channels, 3) if embedding is None else Modulation(embedding, channels, 3)
        self.voxels = SelfAttention3d(channels, heads, window)
        self.film = FilmAttention(channels, token_channels, heads)
        self.mlp = nn.Sequential(
            nn.Linear(channels, mlp_ratio * channels), nn.GELU(), nn.Linear(mlp_ratio * channels, channels)
        )

    def forward(self, x: Tensor, embedding: Tensor, tokens: Tensor) -> Tensor:
        """(B, C, D, H, W), (B, E), (B, N, token_channels) -> (B, C, D, H, W)."""
        layers: tuple[Callable[[Tensor], Tensor], ...] = (self.voxels, lambda h: self.film(h, tokens), self.mlp)
        for layer, norm, (shift, scale, gate) in zip(layers, self.norms, self.modulation(embedding), strict=True):
            h = modulated(norm(x), shift, scale).movedim(1, -1)  # (B, D, H, W, C)
            x = added(x, layer(h).movedim(-1, 1), gate)
        return x

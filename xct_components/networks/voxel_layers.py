"""Layers on voxel features that keep to one voxel or one patch: norm, modulation, patches to channels and back."""

from __future__ import annotations

from typing import Literal, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NormName = Literal["voxel", "group"]
Layer = TypeVar("Layer", bound=nn.Module)


def zeroed(layer: Layer) -> Layer:
    """The layer with all its weights set to zero: it starts by saying nothing."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


class VoxelNorm(nn.Module):
    """Normalise each voxel's channels to zero mean and unit variance: independent of how the volume is cropped."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, D, H, W) -> same."""
        return F.layer_norm(x.movedim(1, -1), (self.channels,)).movedim(-1, 1)


def voxel_norm(name: NormName, channels: int) -> nn.Module:
    """The norm of a stage: "voxel" (any crop gives the same values) or "group" (statistics over the volume).

    Raises:
        ValueError: for another name.
    """
    if name == "voxel":
        return VoxelNorm(channels)
    if name == "group":
        return nn.GroupNorm(min(8, channels), channels, affine=False)
    raise ValueError(f'norm must be "voxel" or "group", got {name!r}')


class Modulation(nn.Module):
    """AdaLN-zero (Peebles & Xie, 2023): shift, scale and gate of each channel from the embedding; zero at the start.

    Args:
        embedding: width of the embedding.
        channels: channels that are modulated.
        parts: how many triples of (shift, scale, gate).
    """

    def __init__(self, embedding: int, channels: int, parts: int = 1) -> None:
        super().__init__()
        self.parts = parts
        self.to_parameters = zeroed(nn.Linear(embedding, 3 * parts * channels))

    def forward(self, embedding: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
        """(B, E) -> ``parts`` triples of (B, C)."""
        chunks = self.to_parameters(F.silu(embedding)).chunk(3 * self.parts, dim=1)
        return [(chunks[3 * i], chunks[3 * i + 1], chunks[3 * i + 2]) for i in range(self.parts)]


class FixedGate(nn.Module):
    """In place of ``Modulation`` when AdaLN is switched off: no shift, no scale, a learned gate that starts at zero."""

    def __init__(self, channels: int, parts: int = 1) -> None:
        super().__init__()
        self.gate = nn.Parameter(torch.zeros(parts, channels))

    def forward(self, embedding: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
        """(B, E) -> one triple of (B, C) a part; the embedding is not looked at."""
        gates = self.gate[:, None].expand(-1, embedding.shape[0], -1)
        return [(torch.zeros_like(gate), torch.zeros_like(gate), gate) for gate in gates]


def modulated(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Channel by channel x * (1 + scale) + shift: (B, C, D, H, W)."""
    return torch.addcmul(_as_volume(shift), x, 1.0 + _as_volume(scale))


def added(x: Tensor, change: Tensor, gate: Tensor) -> Tensor:
    """Channel by channel x + gate * change: (B, C, D, H, W)."""
    return torch.addcmul(x, change, _as_volume(gate))


def patches_to_channels(x: Tensor, patch: int) -> Tensor:
    """(B, C, D, H, W) -> (B, C p^3, D/p, H/p, W/p): every patch becomes one voxel; nothing is lost."""
    if patch == 1:
        return x
    b, c, d, h, w = x.shape
    x = x.reshape(b, c, d // patch, patch, h // patch, patch, w // patch, patch)
    return x.permute(0, 1, 3, 5, 7, 2, 4, 6).reshape(b, c * patch**3, d // patch, h // patch, w // patch)


def channels_to_patches(x: Tensor, patch: int) -> Tensor:
    """The inverse of ``patches_to_channels``."""
    if patch == 1:
        return x
    b, c, d, h, w = x.shape
    x = x.reshape(b, c // patch**3, patch, patch, patch, d, h, w)
    return x.permute(0, 1, 5, 2, 6, 3, 7, 4).reshape(b, c // patch**3, d * patch, h * patch, w * patch)


def _as_volume(x: Tensor) -> Tensor:
    return x[:, :, None, None, None]

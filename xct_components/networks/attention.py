"""Attention of voxels among each other and to film tokens, all of it through ``scaled_dot_product_attention``.

Queries and keys are normalised (QK norm, Dehghani et al. 2023), positions enter as 3-D rotary embedding (RoPE, Su et al. 2021).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Longest wavelength of the rotary embedding, in tokens.
ROTARY_BASE = 100.0


class SelfAttention3d(nn.Module):
    """Every token attends to all tokens of its window.

    Args:
        channels: a multiple of ``heads``; channels per head a multiple of 2.
        heads: attention heads.
        window: tokens of a window along D, H and W; None for the whole volume. A volume that is smaller is one window; one
            that is not a multiple is padded with tokens that nothing attends to.

    Raises:
        ValueError: if the channels do not divide by the heads.
    """

    def __init__(self, channels: int, heads: int, window: Sequence[int] | None = None) -> None:
        super().__init__()
        self.heads, self.window = _heads(channels, heads), tuple(window) if window else None
        self.to_qkv = nn.Linear(channels, 3 * channels)
        self.to_out = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, D, H, W, C) -> same."""
        size = x.shape[1:4]
        window = [min(w, n) for w, n in zip(self.window or size, size, strict=True)]
        tokens, outside = _windows(x, window)  # (B windows, N, C), (windows, N) or None
        q, k, v = (_split(part, self.heads) for part in self.to_qkv(tokens).chunk(3, dim=-1))
        angles = _rotary_angles(window, q.shape[-1], x.device)
        q, k = (_rotated(_unit(part), angles).to(v.dtype) for part in (q, k))
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=_mask(outside, q))
        return _volume(self.to_out(_joined(attended)), window, x.shape)


class FilmAttention(nn.Module):
    """Every voxel attends to the tokens of all films.

    Args:
        channels: of the voxels; a multiple of ``heads``.
        token_channels: of the film tokens.
        heads: attention heads.
    """

    def __init__(self, channels: int, token_channels: int, heads: int) -> None:
        super().__init__()
        self.heads = _heads(channels, heads)
        self.to_q = nn.Linear(channels, channels)
        self.to_kv = nn.Linear(token_channels, 2 * channels)
        self.to_out = nn.Linear(channels, channels)

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        """(B, D, H, W, C), (B, N, token_channels) -> (B, D, H, W, C)."""
        q = _split(self.to_q(x.flatten(1, 3)), self.heads)
        k, v = (_split(part, self.heads) for part in self.to_kv(tokens).chunk(2, dim=-1))
        attended = F.scaled_dot_product_attention(_unit(q).to(v.dtype), _unit(k).to(v.dtype), v)
        return self.to_out(_joined(attended)).reshape(x.shape)


def _heads(channels: int, heads: int) -> int:
    if channels % heads or (channels // heads) % 2:
        raise ValueError(f"channels must divide into heads of even width, got {channels} channels and {heads} heads")
    return heads


def _split(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)  # (B, heads, N, C / heads)


def _joined(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(2)


def _unit(x: Tensor) -> Tensor:
    return F.rms_norm(x.float(), (x.shape[-1],))


def _windows(x: Tensor, window: list[int]) -> tuple[Tensor, Tensor | None]:
    """(B, D, H, W, C) -> windows (B n, N, C), and which of their tokens are padding: (n, N), None if none are."""
    missing = [-size % w for size, w in zip(x.shape[1:4], window, strict=True)]
    outside = None
    if any(missing):
        padding = (0, missing[2], 0, missing[1], 0, missing[0])
        inside = F.pad(torch.ones(x.shape[1:4], dtype=torch.bool, device=x.device), padding)
        outside = ~_cut(inside[None, ..., None], window)[..., 0]
        x = F.pad(x, (0, 0, *padding))
    return _cut(x, window), outside


def _cut(x: Tensor, window: list[int]) -> Tensor:
    b, d, h, w, c = x.shape
    x = x.reshape(b, d // window[0], window[0], h // window[1], window[1], w // window[2], window[2], c)
    return x.permute(0, 1, 3, 5, 2, 4, 6, 7).reshape(-1, window[0] * window[1] * window[2], c)


def _volume(windows: Tensor, window: list[int], shape: torch.Size) -> Tensor:
    """The inverse of ``_windows``: (B n, N, C) -> (B, D, H, W, C) of ``shape``."""
    counts = [-(-size // w) for size, w in zip(shape[1:4], window, strict=True)]
    x = windows.reshape(shape[0], *counts, *window, shape[4]).permute(0, 1, 4, 2, 5, 3, 6, 7)
    x = x.reshape(shape[0], *(n * w for n, w in zip(counts, window, strict=True)), shape[4])
    return x[:, : shape[1], : shape[2], : shape[3]]


def _mask(outside: Tensor | None, q: Tensor) -> Tensor | None:
    if outside is None:
        return None
    bias = torch.zeros(outside.shape, dtype=q.dtype, device=q.device).masked_fill(outside, -1e4)
    return bias.repeat(q.shape[0] // outside.shape[0], 1)[:, None, None]


def _rotary_angles(window: list[int], width: int, device: torch.device) -> Tensor:
    """(N, width / 2) angles: the pairs of channels are dealt to the axes in turn."""
    pairs = width // 2
    axis = torch.arange(pairs, device=device) % 3
    rank = torch.arange(pairs, device=device) // 3
    frequency = ROTARY_BASE ** (-rank / max(1, pairs // 3))
    positions = torch.meshgrid(*(torch.arange(n, device=device, dtype=torch.float32) for n in window), indexing="ij")
    return torch.stack(positions, dim=-1).reshape(-1, 3)[:, axis] * frequency


def _rotated(x: Tensor, angles: Tensor) -> Tensor:
    first, second = x.chunk(2, dim=-1)
    cosine, sine = angles.cos(), angles.sin()
    return torch.cat([first * cosine - second * sine, first * sine + second * cosine], dim=-1)

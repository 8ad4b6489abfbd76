"""The films as features at every resolution the network has, as tokens, and as one vector."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xct_components.geometry import Beam

#: Line integrals of a chest film reach about 8; divided by this they are of order 1.
LINE_INTEGRAL_SCALE = 3.0
#: Channels of a film as the encoder sees it: the film, what is finer than its surroundings, row and column position.
FILM_CHANNELS = 4


class FilmFeatures(NamedTuple):
    """B samples of V films.

    ``maps``: per level (B, V, C, rows, cols), finest first. ``tokens``: (B, V N, T) from the coarsest. ``embedding``: (B, E).
    """

    maps: list[Tensor]
    tokens: Tensor
    embedding: Tensor


class XrayEncoder(nn.Module):
    """A small 2-D convolution network, shared by all views; each view is told from where it was taken.

    Args:
        channels: per level, finest first; each level has half the rows and columns of the one before.
        patch: film pixels per pixel of the finest level.
        token_channels: width of the tokens.
        embedding: width of the vector.
        blocks: residual blocks a level.
        token_rows: tokens per view along each axis.
    """

    def __init__(
        self,
        channels: Sequence[int],
        *,
        patch: int = 1,
        token_channels: int = 128,
        embedding: int = 256,
        blocks: int = 2,
        token_rows: int = 8,
    ) -> None:
        super().__init__()
        self.patch = patch
        self.stem = nn.Conv2d(FILM_CHANNELS * patch**2, channels[0], 3, padding=1)
        self.view = nn.Linear(3, channels[0])
        self.levels = nn.ModuleList(nn.Sequential(*(_FilmBlock(c) for _ in range(blocks))) for c in channels)
        self.downs = nn.ModuleList(nn.Conv2d(fine, coarse, 2, stride=2) for fine, coarse in pairwise(channels))
        self.ups = nn.ModuleList(nn.Conv2d(coarse, fine, 1) for fine, coarse in pairwise(channels))
        self.pool = nn.AdaptiveAvgPool2d(token_rows)
        self.to_tokens = nn.Linear(channels[-1], token_channels)
        self.to_embedding = nn.Sequential(nn.Linear(channels[-1], embedding), nn.SiLU(), nn.Linear(embedding, embedding))
        self.no_film = nn.Parameter(torch.zeros(token_channels))

    def forward(self, film: Tensor, beams: Sequence[Sequence[Beam]], film_present: Tensor | None = None) -> FilmFeatures:
        """Look at the films.

        Args:
            film: (B, V, 1, rows, cols) line integrals.
            beams: V exposures per sample.
            film_present: (B,) 1 where the network may use the film, 0 for classifier-free guidance; None for all.
        """
        views = film.shape[:2]
        directions = torch.stack([torch.stack([_direction(beam) for beam in sample]) for sample in beams]).to(film)
        x = self.stem(F.pixel_unshuffle(film_channels(film).flatten(0, 1), self.patch))
        x = x + self.view(directions.flatten(0, 1))[:, :, None, None]
        maps = [self.levels[0](x)]
        for down, level in zip(self.downs, list(self.levels)[1:], strict=True):
            maps.append(level(down(maps[-1])))
        tokens = self.to_tokens(self.pool(maps[-1]).flatten(2).transpose(1, 2))  # (B V, N, T)
        embedding = self.to_embedding(maps[-1].mean((2, 3))).unflatten(0, views).mean(1)
        maps = [one.unflatten(0, views) for one in self._with_context(maps)]
        return self._present(FilmFeatures(maps, tokens.unflatten(0, views).flatten(1, 2), embedding), film_present)

    def _with_context(self, maps: list[Tensor]) -> list[Tensor]:
        """Hand what the coarse levels understood down to the fine ones (a feature pyramid, Lin et al. 2017)."""
        for level in reversed(range(len(self.ups))):
            context = F.interpolate(self.ups[level](maps[level + 1]), size=maps[level].shape[-2:], mode="bilinear")
            maps[level] = maps[level] + context
        return maps

    def _present(self, features: FilmFeatures, present: Tensor | None) -> FilmFeatures:
        if present is None:
            return features
        keep = present.to(features.maps[0])[:, None]
        maps = [one * keep[..., None, None, None] for one in features.maps]
        tokens = features.tokens * keep[..., None] + self.no_film * (1.0 - keep[..., None])
        return FilmFeatures(maps, tokens, features.embedding * keep)


class _FilmBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(min(8, channels), channels)
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.silu(self.first(self.norm(x))))


def film_channels(film: Tensor) -> Tensor:
    """The film, its detail, and where each pixel lies: (B, V, 1, rows, cols) -> (B, V, FILM_CHANNELS, rows, cols)."""
    rows, cols = film.shape[-2:]
    flat = film.flatten(0, 1)
    coarse = F.interpolate(F.adaptive_avg_pool2d(flat, (max(1, rows // 8), max(1, cols // 8))), (rows, cols), mode="bilinear")
    detail = (flat - coarse).view_as(film)
    y, x = (torch.linspace(-1.0, 1.0, n, device=film.device, dtype=film.dtype) for n in (rows, cols))
    position = torch.stack([y[:, None].expand(rows, cols), x.expand(rows, cols)])
    return torch.cat([film / LINE_INTEGRAL_SCALE - 1.0, detail, position.expand(*film.shape[:2], 2, rows, cols)], dim=2)


def _direction(beam: Beam) -> Tensor:
    """Unit vector (RAS) in which the X-rays travel through the middle of the film."""
    normal = torch.tensor(beam.normal, dtype=torch.float64)
    source = beam.source_homogeneous
    ray = torch.tensor(beam.detector_center_mm, dtype=torch.float64) - source[:3] if source[3] else source[:3]
    return normal * torch.sign(normal @ ray)

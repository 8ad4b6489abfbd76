"""What a whole sample is told as one vector: diffusion time, film, previous stage."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

#: Frequencies of the time features reach from half a turn over [0, 1] to this many turns.
FASTEST_TURNS = 64.0


class ScalarEmbedding(nn.Module):
    """Fourier features of numbers in [0, 1], through an MLP.

    Args:
        embedding: width of the result.
        frequencies: sines and cosines of so many frequencies, geometrically spaced.
    """

    angular: Tensor

    def __init__(self, embedding: int, frequencies: int = 16) -> None:
        super().__init__()
        turns = torch.logspace(math.log10(0.5), math.log10(FASTEST_TURNS), frequencies)
        self.register_buffer("angular", 2.0 * math.pi * turns, persistent=False)
        self.mlp = nn.Sequential(nn.Linear(2 * frequencies, embedding), nn.SiLU(), nn.Linear(embedding, embedding))

    def forward(self, value: Tensor) -> Tensor:
        """(B,) -> (B, E)."""
        angle = value[:, None] * self.angular
        return self.mlp(torch.cat([angle.sin(), angle.cos()], dim=1))


class PreviousStageEmbedding(nn.Module):
    """The previous stage as one vector: how noisy its volume was made, and coarse statistics of the prior it led to.

    Args:
        embedding: width of the result.
        cells: the prior is averaged over this many cells along each axis.
    """

    def __init__(self, embedding: int, cells: int = 4) -> None:
        super().__init__()
        self.noise_level = ScalarEmbedding(embedding)
        self.pool = nn.AdaptiveAvgPool3d(cells)
        self.content = nn.Linear(cells**3, embedding)

    def forward(self, prior: Tensor, noise_level: Tensor) -> Tensor:
        """(B, 1, D, H, W) standardised prior, (B,) level in [0, 1] -> (B, E)."""
        return self.noise_level(noise_level) + self.content(self.pool(prior).flatten(1))

"""Random detail that depends on the seed and on what it is for, and on nothing else."""

from __future__ import annotations

import zlib

import torch
from torch import Tensor


def detail(seed: int, purpose: str) -> torch.Generator:
    """The generator for one purpose: adding a nodule does not move a vessel."""
    return torch.Generator().manual_seed((seed * 0x9E3779B1 + zlib.crc32(purpose.encode())) % (1 << 63))


def normal(generator: torch.Generator, *shape: int) -> Tensor:
    """Standard normal numbers cut at 2, float64: nobody has a heart four deviations aside."""
    return torch.randn(shape, generator=generator, dtype=torch.float64).clamp_(-2.0, 2.0)


def uniform(generator: torch.Generator, *shape: int) -> Tensor:
    """Numbers between 0 and 1, float64."""
    return torch.rand(shape, generator=generator, dtype=torch.float64)

"""Numbers drawn from a torch generator, the only source of chance in the data."""

from __future__ import annotations

import torch


def between(generator: torch.Generator, low: float, high: float) -> float:
    """A uniform number in [low, high)."""
    return low + (high - low) * float(torch.rand((), generator=generator, dtype=torch.float64))


def happens(generator: torch.Generator, share: float) -> bool:
    """True in ``share`` of the cases."""
    return between(generator, 0.0, 1.0) < share


def below(generator: torch.Generator, count: int) -> int:
    """A uniform whole number from 0 to ``count`` - 1."""
    return int(torch.randint(count, (), generator=generator))


def seed_of(generator: torch.Generator) -> int:
    """A seed for chance of its own."""
    return below(generator, 2**31)


def case_generator(seed: int, epoch: int, index: int) -> torch.Generator:
    """The chance of one case in one epoch: the same wherever and in whatever order it is drawn.

    The three numbers are mixed by a 64-bit finaliser (splitmix64, Steele et al., OOPSLA 2014), so that neighbouring cases
    and epochs are unrelated.
    """
    mixed = 0
    for number in (seed, epoch, index):
        mixed = (mixed + number + 0x9E3779B97F4A7C15) % 2**64
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) % 2**64
        mixed ^= mixed >> 31
    return torch.Generator().manual_seed(mixed % 2**63)

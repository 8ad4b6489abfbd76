"""The learning rate over a training."""

from __future__ import annotations

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def warm_cosine(optimizer: Optimizer, steps: int, *, warm_share: float = 0.05, last: float = 0.02) -> LambdaLR:
    """Linear warm-up, then half a cosine down to ``last`` of the optimizer's rate; call its ``step`` after every batch.

    Args:
        optimizer: whose rate.
        steps: batches of the whole training.
        warm_share: share of them in which the rate rises.
        last: share of the rate at the end.

    Raises:
        ValueError: if there is no step.
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}; it is epochs times batches an epoch")
    warm = max(1, round(warm_share * steps))

    def factor(step: int) -> float:
        if step < warm:
            return (step + 1) / warm
        progress = min(1.0, (step - warm) / max(1, steps - warm))
        return last + (1.0 - last) * 0.5 * (1.0 + math.cos(math.pi * progress))

    return LambdaLR(optimizer, factor)

"""What a stage must know about its training data before it can learn: the atlas and three scales."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from xct_components.training.prepare_batch import PrepareStageBatch

Cases = Sequence[Mapping[str, Any]]


def measure_statistics(prepare: PrepareStageBatch, batches: Iterable[Cases]) -> dict[str, float]:
    """Measure the atlas, the mean and deviation of HU, and the size of the residual; they become part of the stage's weights.

    Args:
        prepare: makes batches of the stage; ``prepare.stage`` is changed.
        batches: lists of training cases, gone through twice.

    Returns:
        The scales in HU, for the log.
    """
    stage, kept = prepare.stage, list(batches)
    if not stage.atlas.is_measured:
        stage.atlas.measure(prepare.truth_hu(cases) for cases in kept)
    squares, sums, truths, count = 0.0, 0.0, 0.0, 0
    real_only = prepare.real_coarse_share
    prepare.real_coarse_share = 1.0  # the residual of the stage in use: over real outputs of the stage before
    for cases in kept:
        batch = prepare.batch(cases)
        squares += _sum((batch.truth_hu - batch.prior_hu).square())
        sums += _sum(batch.truth_hu)
        truths += _sum(batch.truth_hu.square())
        count += batch.truth_hu.numel()
    prepare.real_coarse_share = real_only
    mean = sums / count
    scales = {"hu_mean": mean, "hu_std": (truths / count - mean**2) ** 0.5, "residual_scale_hu": (squares / count) ** 0.5}
    for name, value in scales.items():
        getattr(stage, name).fill_(value)
    return scales


def _sum(x: Tensor) -> float:
    return float(x.sum(dtype=torch.float64))

"""What a stage must know about its training data before it can learn: the atlas, CTs that films bend, and three scales."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from xct_components.networks.cascade_stage import CascadeStage
from xct_components.training.prepare_batch import PrepareStageBatch
from xct_components.training.progress import counted

Cases = Sequence[Mapping[str, Any]]


def measure_statistics(
    prepare: PrepareStageBatch, batches: Iterable[Cases], patients: Iterable[tuple[str, Tensor]] = ()
) -> dict[str, float]:
    """Measure the atlas, keep CTs that films bend, and measure the mean and deviation of HU and the size of the residual.

    They become part of the stage's weights.

    Args:
        prepare: makes batches of the stage; ``prepare.stage`` is changed.
        batches: lists of training cases, gone through twice.
        patients: names and CTs (1, 1, D, H, W) in HU, for a stage that holds some.

    Returns:
        The scales in HU, for the log.
    """
    stage, kept = prepare.stage, list(batches)
    if not stage.atlas.is_measured:
        stage.atlas.measure(prepare.truth_hu(cases) for cases in counted(kept, len(kept), "atlas"))
        if stage.multi_atlas is not None:
            stage.multi_atlas.measure(patients)
    scales = Scales()
    real_only = prepare.real_coarse_share
    prepare.real_coarse_share = 1.0  # the residual of the stage in use: over real outputs of the stage before
    for cases in counted(kept, len(kept), "scales"):
        batch = prepare.batch(cases)
        scales.add(batch.truth_hu, batch.prior_hu)
    prepare.real_coarse_share = real_only
    return scales.settle(stage)


class Scales:
    """Mean and deviation of the CT numbers and size of the residual, gathered batch by batch."""

    def __init__(self) -> None:
        self._sum = self._squares = self._residual_squares = 0.0
        self._count = 0

    def add(self, truth_hu: Tensor, prior_hu: Tensor) -> None:
        """One batch, both (B, 1, D, H, W)."""
        self._sum += _sum(truth_hu)
        self._squares += _sum(truth_hu.square())
        self._residual_squares += _sum((truth_hu - prior_hu).square())
        self._count += truth_hu.numel()

    def settle(self, stage: CascadeStage) -> dict[str, float]:
        """Make them part of the stage's weights; the values in HU, for the log."""
        mean, power = self._sum / self._count, self._squares / self._count
        residual = (self._residual_squares / self._count) ** 0.5
        values = {"hu_mean": mean, "hu_std": (power - mean**2) ** 0.5, "residual_scale_hu": residual}
        for name, value in values.items():
            getattr(stage, name).fill_(value)
        return values


def _sum(x: Tensor) -> float:
    return float(x.sum(dtype=torch.float64))

"""What a stage must know about its training data before it can learn: the atlas, CTs that films bend, and three scales."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from xct_components.data.cases.cases import TrainingCases
from xct_components.networks.cascade_stage import CascadeStage
from xct_components.networks.multi_atlas import key_of
from xct_components.training.prepare_batch import PrepareStageBatch
from xct_components.training.progress import counted

Cases = Sequence[Mapping[str, Any]]


def measure_statistics(
    prepare: PrepareStageBatch, batches: Iterable[Cases], patients: Iterable[tuple[str, Tensor]] = ()
) -> dict[str, float]:
    """Measure the atlas, keep CTs that films bend or their detail, measure mean and deviation of HU and the residual's size.

    They become part of the stage's weights.

    Args:
        prepare: makes batches of the stage; ``prepare.stage`` is changed.
        batches: lists of training cases, gone through twice.
        patients: names and CTs (1, 1, D, H, W) in HU, for a stage that holds some, or their detail.

    Returns:
        The scales in HU, for the log.
    """
    stage, kept = prepare.stage, list(batches)
    device = stage.hu_mean.device
    if not stage.atlas.is_measured:
        stage.atlas.measure(prepare.truth_hu(cases, device) for cases in counted(kept, len(kept), "atlas"))
        hold_patients(stage, patients)
    scales = Scales()
    real_only = prepare.real_coarse_share
    prepare.real_coarse_share = 1.0  # the residual of the stage in use: over real outputs of the stage before
    for cases in counted(kept, len(kept), "scales"):
        batch = prepare.batch(cases, device)
        scales.add(batch.truth_hu, batch.prior_hu)
    prepare.real_coarse_share = real_only
    return scales.settle(stage)


def patients_to_hold(
    stage: CascadeStage, parents: Sequence[CascadeStage], cases: TrainingCases
) -> Iterator[tuple[str, Tensor]]:
    """Whom of the training cases a stage holds: of those that its first parent holds as CTs, a later stage holds the detail."""
    if stage.multi_atlas is not None:
        yield from cases.patients(stage.multi_atlas.count)
    elif stage.detail is not None and parents and (first := parents[0].multi_atlas) is not None:
        held = set(first.key.tolist())
        yield from cases.patients(first.count, lambda name: key_of(name) in held)


def hold_patients(stage: CascadeStage, patients: Iterable[tuple[str, Tensor]]) -> None:
    """Give a stage what it holds of patients: names and CTs (1, 1, D, H, W) in HU."""
    if stage.multi_atlas is not None:
        stage.multi_atlas.measure(patients)
    elif stage.detail is not None:
        stage.detail.measure(patients)


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

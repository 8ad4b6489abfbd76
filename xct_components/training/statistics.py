"""What a stage must know about its training data before it can learn: the atlas, how films move it, and three scales."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from xct_components.data.cases.cases import TrainingBatch
from xct_components.networks.cascade_stage import CascadeStage
from xct_components.training.cross_fit import CrossFit
from xct_components.training.prepare_batch import PrepareStageBatch
from xct_components.training.progress import counted
from xct_components.training.regression_fit import RegressionCases, fit_regression, scores_of

Cases = Sequence[Mapping[str, Any]]


def measure_statistics(
    prepare: PrepareStageBatch, batches: Iterable[Cases], regression_batches: Iterable[Cases] | None = None
) -> dict[str, float]:
    """Measure the atlas, its regression, the mean and deviation of HU, and the size of the residual.

    They become part of the stage's weights; the regressions of ``prepare.cross_fit`` do not.

    Args:
        prepare: makes batches of the stage; ``prepare.stage`` is changed.
        batches: lists of training cases, gone through twice.
        regression_batches: what the regression is measured on; None for ``batches``. It has more to learn than a mean.

    Returns:
        The scales in HU, for the log.
    """
    stage, kept = prepare.stage, list(batches)
    if not stage.atlas.is_measured:
        stage.atlas.measure(prepare.truth_hu(cases) for cases in counted(kept, len(kept), "atlas"))
        gathered = kept if regression_batches is None else regression_batches
        measure_regression(stage, two_film_batches(prepare, gathered), prepare.cross_fit, anew=True)
    scales = Scales()
    real_only = prepare.real_coarse_share
    prepare.real_coarse_share = 1.0  # the residual of the stage in use: over real outputs of the stage before
    for cases in counted(kept, len(kept), "scales"):
        batch = prepare.batch(cases)
        scales.add(batch.truth_hu, batch.prior_hu)
    prepare.real_coarse_share = real_only
    return scales.settle(stage)


def measure_regression(
    stage: CascadeStage, batches: Iterable[tuple[Sequence[str], TrainingBatch]], cross_fit: CrossFit | None, *, anew: bool
) -> None:
    """Measure how films move the atlas, and the same without each fold of the cases.

    Args:
        stage: one without a regression is left as it is.
        batches: names of the cases, and the cases with a frontal and a lateral film.
        cross_fit: what is measured without each fold; None for nothing.
        anew: whether to measure the stage's own regression; otherwise it stays, and the folds are told by its components.
    """
    if stage.regression is None:
        return
    gathered = RegressionCases()
    for names, rendered in batches:
        gathered.add(names, rendered, stage.atlas, stage.regression.size)
    if anew:
        fit_regression(stage.regression, gathered)
    if cross_fit is not None:
        cross_fit.fit(gathered.names, torch.stack(gathered.features), scores_of(stage.regression, gathered))


def two_film_batches(prepare: PrepareStageBatch, batches: Iterable[Cases]) -> Iterable[tuple[list[str], TrainingBatch]]:
    """What ``measure_regression`` asks for."""
    return ((names_of(cases), prepare.two_films(cases)) for cases in batches)


def names_of(cases: Cases) -> list[str]:
    """Of each case the patient's name: it stays through all augmentations."""
    return [str(case["case"]) for case in cases]


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

"""Atlas, its regression and scales of all stages before their joint training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from xct_components.data.cases.cases import TrainingCases
from xct_components.networks.atlas_regression import FilmToScores
from xct_components.training.joint import JointBatch, PrepareJointBatch, stage_batch
from xct_components.training.prepare_batch import in_range
from xct_components.training.statistics import Scales, measure_regression, names_of

Engine = Any  # ignite.engine.Engine; ignite is loaded when a training is


class MeasureJointStatistics:
    """Atlas, regression and scales of the stages that have none, before the first step of a joint training.

    Args:
        prepare: of the trainer.
        cases: what is trained on.
        count: cases to look at.
    """

    def __init__(self, prepare: PrepareJointBatch, cases: TrainingCases, count: int = 32) -> None:
        self.prepare, self.cases, self.count = prepare, cases, count

    def attach(self, engine: Engine) -> None:
        """Hook into the trainer."""
        from ignite.engine import Events

        engine.add_event_handler(Events.STARTED, self)

    @torch.no_grad()
    def __call__(self, engine: Engine) -> None:
        """Before the first epoch."""
        missing = [number for number, stage in enumerate(self.prepare.stages) if not stage.atlas.is_measured]
        chosen = range(0, len(self.cases), max(1, len(self.cases) // self.count))[: self.count]
        if not missing:
            self._regression(chosen, anew=False)
            return
        batches = [self.prepare.batch([self.cases[i]]) for i in chosen]
        for number in missing:
            self.prepare.stages[number].atlas.measure(in_range(batch.seen[number]) for batch in batches)
        self._regression(chosen, anew=0 in missing)
        batches = [replace(batch, film_to_scores=self._unseen(i)) for i, batch in zip(chosen, batches, strict=True)]
        for number in missing:  # each stage's prior is made by the stages before, which must know their scales by then
            scales = Scales()
            for batch in batches:
                scales.add(*self._truth_and_prior(batch, number))
            values = scales.settle(self.prepare.stages[number])
            engine.logger.info("stage %d, measured on %d cases: %s", number + 1, len(batches), values)

    def _regression(self, chosen: Sequence[int], *, anew: bool) -> None:
        """Of the first stage, and its folds; a training that goes on has them already."""
        folds = self.prepare.cross_fit
        if anew or (folds is not None and not folds.is_fitted):
            cases = ([self.cases[i]] for i in chosen)
            batches = ((names_of(one), self.prepare.two_films(one)) for one in cases)
            measure_regression(self.prepare.stages[0], batches, folds, anew=anew)

    def _unseen(self, i: int) -> list[FilmToScores | None] | None:
        folds = self.prepare.cross_fit
        return None if folds is None else [folds.without(self.cases[i]["case"])]

    def _truth_and_prior(self, batch: JointBatch, number: int) -> tuple[Tensor, Tensor]:
        coarse_hu: Tensor | None = None
        for k, stage in enumerate(self.prepare.stages[: number + 1]):
            one = stage_batch(batch, k, stage, coarse_hu)
            if k < number:
                conditions = stage.condition(one.film, one.fields, one.beams, one.prior_hu)
                coarse_hu = stage.mean_hu(conditions, batch.consistency)
        return one.truth_hu, one.prior_hu

"""Atlas, CTs that films bend and scales of all stages before their joint training."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from xct_components.data.cases.cases import TrainingCases
from xct_components.training.joint import JointBatch, PrepareJointBatch, stage_batch
from xct_components.training.prepare_batch import in_range
from xct_components.training.progress import counted
from xct_components.training.statistics import Scales, hold_patients, patients_to_hold

Engine = Any  # ignite.engine.Engine; ignite is loaded when a training is


class MeasureJointStatistics:
    """Atlas, CTs that films bend and scales of the stages that have none, before the first step of a joint training.

    Args:
        prepare: of the trainer.
        cases: what is trained on.
        count: cases to look at.
        again: measure those of all stages anew at the beginning of a training that starts from weights of other cases.
    """

    def __init__(self, prepare: PrepareJointBatch, cases: TrainingCases, count: int = 32, *, again: bool = False) -> None:
        self.prepare, self.cases, self.count, self.again = prepare, cases, count, again

    def attach(self, engine: Engine) -> None:
        """Hook into the trainer."""
        from ignite.engine import Events

        engine.add_event_handler(Events.STARTED, self)

    @torch.no_grad()
    def __call__(self, engine: Engine) -> None:
        """Before the first epoch."""
        stages, anew = self.prepare.stages, self.again and not engine.state.iteration
        missing = [number for number, stage in enumerate(stages) if anew or not stage.atlas.is_measured]
        if not missing:
            return
        device = stages[0].hu_mean.device
        chosen = range(0, len(self.cases), max(1, len(self.cases) // self.count))[: self.count]
        each = counted(chosen, len(chosen), "cases")
        # 0.1 GB each at 256³: they wait where there is room, and one at a time is measured where it is fast
        batches = [self.prepare.batch([self.cases[i]], device).to("cpu") for i in each]
        for number in missing:
            stage = stages[number]
            stage.atlas.measure(in_range(batch.seen[number]).to(device) for batch in batches)
            hold_patients(stage, patients_to_hold(stage, stages[:number], self.cases))
        for number in missing:  # each stage's prior is made by the stages before, which must know their scales by then
            scales = Scales()
            for batch in counted(batches, len(batches), f"scales of stage {number + 1}"):
                scales.add(*self._truth_and_prior(batch.to(device), number))
            values = scales.settle(stages[number])
            engine.logger.info("stage %d, measured on %d cases: %s", number + 1, len(batches), values)

    def _truth_and_prior(self, batch: JointBatch, number: int) -> tuple[Tensor, Tensor]:
        coarse_hu: Tensor | None = None
        for k, stage in enumerate(self.prepare.stages[: number + 1]):
            one = stage_batch(batch, k, stage, coarse_hu)
            if k < number:
                conditions = stage.condition(one.film, one.fields, one.beams, one.prior_hu)
                coarse_hu = stage.mean_hu(conditions, batch.consistency)
        return one.truth_hu, one.prior_hu

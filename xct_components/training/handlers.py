"""What happens around the steps of a training; each attaches to an ignite engine, as MONAI's handlers do."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from xct_components.data.cases.cases import TrainingCases
from xct_components.training.prepare_batch import PrepareStageBatch
from xct_components.training.processes import place_among_processes
from xct_components.training.released_weights import write_weights
from xct_components.training.statistics import measure_statistics, patients_to_hold
from xct_components.training.training_record import TrainingRecord
from xct_components.training.weight_average import make_room_for_buffers

Engine = Any  # ignite.engine.Engine; ignite is loaded when a training is


@runtime_checkable
class DrawnByEpoch(Protocol):
    """Chance that is another one in every epoch: ``TrainingCases``, ``CaseOrder``."""

    def set_epoch(self, epoch: int) -> None:
        """Draw for this epoch from now on."""


class ChooseAnew:
    """Another order, other augmentations and exposures in every epoch.

    Args:
        drawn: whose ``set_epoch`` is called before each epoch.
    """

    def __init__(self, drawn: Sequence[DrawnByEpoch]) -> None:
        self.drawn = list(drawn)

    def attach(self, engine: Engine) -> None:
        """Hook into the trainer."""
        from ignite.engine import Events

        engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Before an epoch."""
        for one in self.drawn:
            one.set_epoch(engine.state.epoch)


class MeasureStatistics:
    """Atlas, CTs that films bend, and scales before the first step, unless the stage has them.

    Args:
        prepare: of the trainer.
        cases: what is trained on.
        count: cases to look at.
        batch_size: cases at a time.
        again: measure them anew at the beginning of a training that starts from weights of other cases.
    """

    def __init__(
        self, prepare: PrepareStageBatch, cases: TrainingCases, count: int = 128, batch_size: int = 4, *, again: bool = False
    ) -> None:
        self.prepare, self.cases, self.count, self.batch_size, self.again = prepare, cases, count, batch_size, again

    def attach(self, engine: Engine) -> None:
        """Hook into the trainer."""
        from ignite.engine import Events

        engine.add_event_handler(Events.STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Before the first epoch."""
        stage = self.prepare.stage
        if stage.atlas.is_measured and (not self.again or engine.state.iteration):
            return
        stage.atlas.tissue.zero_()
        kept = patients_to_hold(stage, self.prepare.parents, self.cases)
        engine.logger.info("measuring atlas and scales on %d cases", self.count)
        scales = measure_statistics(self.prepare, list(self._batches(self.count)), kept)
        engine.logger.info("measured on %d cases: %s", self.count, {name: round(value, 1) for name, value in scales.items()})

    def _batches(self, count: int) -> Iterable[Sequence[dict[str, Any]]]:
        step = max(1, len(self.cases) // count)
        chosen = range(0, len(self.cases), step)[:count]
        for start in range(0, len(chosen), self.batch_size):
            yield [self.cases[i] for i in chosen[start : start + self.batch_size]]


class ClipGradients:
    """Gradients of a norm of at most ``largest``.

    Args:
        network: whose gradients.
        largest: norm over all parameters.
    """

    def __init__(self, network: nn.Module, largest: float = 1.0) -> None:
        self.network, self.largest = network, largest

    def attach(self, engine: Engine) -> None:
        """Hook into the trainer."""
        from monai.engines.utils import IterationEvents

        engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Before the optimizer's step, once all batches that share it have been through."""
        shared = getattr(engine, "accumulation_steps", 1)
        within = engine.state.iteration % engine.state.epoch_length
        if within and within % shared:
            return
        nn.utils.clip_grad_norm_(self.network.parameters(), self.largest)


class AverageWeights:
    """Keep the average of the weights.

    Args:
        average: from ``power_average``.
        network: what is averaged.
    """

    def __init__(self, average: AveragedModel, network: nn.Module) -> None:
        self.average, self.network = average, network

    def attach(self, engine: Engine) -> None:
        """Hook into the trainer."""
        from ignite.engine import Events

        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:  # noqa: ARG002
        """After a step."""
        make_room_for_buffers(self.average, self.network)
        self.average.update_parameters(self.network)


class ReleaseBest:
    """Write the weights whenever validation was better than ever before.

    Args:
        stage: whose weights: the average.
        targets: the weights files; a JSON beside each says which epoch and metrics it is.
        metric: its name in the evaluator's state.
        better: whether the first value is better than the second; by default smaller is.
        record: what the training is made of, for that JSON.
    """

    def __init__(
        self,
        stage: nn.Module,
        targets: Sequence[str | Path],
        metric: str,
        better: Callable[[float, float], bool] = float.__lt__,
        *,
        record: TrainingRecord | None = None,
    ) -> None:
        self.stage, self.targets, self.metric, self.better = stage, [Path(target) for target in targets], metric, better
        self.record = record
        self.best: float | None = None

    def attach(self, engine: Engine) -> None:
        """Hook into the evaluator."""
        from ignite.engine import Events

        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """After a validation."""
        value = float(engine.state.metrics[self.metric])
        if math.isnan(value) or (self.best is not None and not self.better(value, self.best)):
            return
        self.best = value
        if place_among_processes()[0]:
            return
        metrics = {name: float(torch.as_tensor(value)) for name, value in engine.state.metrics.items()}
        told = {"epoch": engine.state.epoch, "chosen_by": self.metric, "metrics": metrics}
        if self.record is not None:
            told["training"] = self.record.to_json()
        for target in self.targets:
            write_weights(self.stage, target, told)

    def state_dict(self) -> dict[str, Any]:
        """The best value so far."""
        return {"best": self.best}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from it."""
        self.best = state["best"]

"""All that a training needs to go on as if it had never stopped: written whole, found again, put back."""

from __future__ import annotations

import logging
import pickle
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch

from xct_components.data.atomic_files import written_together
from xct_components.failures import CannotWrite, WeightsFailure, first_line, is_out_of_memory
from xct_components.training.case_order import CaseOrder
from xct_components.training.training_record import TrainingRecord

Engine = Any  # ignite.engine.Engine; ignite is loaded when a training is


@runtime_checkable
class Restorable(Protocol):
    """What knows its own state: networks, optimizers, schedules, weight averages, ``StageLoss``, ``ReleaseBest``."""

    def state_dict(self) -> Any:
        """Tensors, numbers, strings, and lists and dictionaries of them."""

    def load_state_dict(self, state: Any) -> Any:
        """Take it back."""


class TrainingState:
    """One file with every part of a training, the position in its data and torch's random state.

    The chance of the cases is not in it: that is known from seed, epoch and case. The file is plain (``weights_only``).

    Args:
        file: the checkpoint, stageN_last.pt.
        parts: by name.
        order: of the cases; told where to go on.
        record: what must be the same in the run that goes on.
        resume: whether to go on where the file says, if there is one.
    """

    def __init__(
        self,
        file: str | Path,
        parts: Mapping[str, Restorable],
        order: CaseOrder,
        *,
        record: TrainingRecord,
        resume: bool = True,
    ) -> None:
        self.file, self.parts, self.order = Path(file), dict(parts), order
        self.record, self.resume = record, resume

    def save(self, engine: Engine) -> None:
        """Write the file anew; with several processes the first one does.

        Raises:
            CannotWrite: if the folder cannot be made or the disk is full.
        """
        if self.order.rank:
            return
        document = {
            "iteration": engine.state.iteration,
            "epoch_length": engine.state.epoch_length,
            "same": self._same(),
            "random_state": torch.get_rng_state(),
            "cuda_random_state": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            "parts": {name: part.state_dict() for name, part in self.parts.items()},
        }
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CannotWrite(f"cannot make the folder {self.file.parent}: {error.strerror}") from error
        with written_together(self.file) as (draft,):
            _write(document, draft)

    def restore(self, engine: Engine) -> bool:
        """Put everything back and the engine where it was.

        Returns:
            Whether there was anything to go on from.

        Raises:
            WeightsFailure: if the file is damaged, or belongs to a training with other settings, data or network.
            MemoryError, RuntimeError: of Python or torch, where memory is short; ``is_out_of_memory`` knows them.
        """
        if not self.resume or not self.file.is_file():
            return False
        document = self._read()
        self._require_same(document, engine)
        try:
            for name, part in self.parts.items():
                part.load_state_dict(document["parts"][name])
        except (KeyError, RuntimeError, ValueError, TypeError) as error:
            if is_out_of_memory(error):  # which says nothing of the file
                raise
            raise WeightsFailure(
                f"{self.file} belongs to another network or training ({first_line(error)}); --resume False begins anew"
            ) from error
        torch.set_rng_state(document["random_state"])
        if torch.cuda.is_available() and document["cuda_random_state"]:
            torch.cuda.set_rng_state_all(document["cuda_random_state"])
        iteration, length = document["iteration"], document["epoch_length"]
        engine.state.iteration, engine.state.epoch = iteration, iteration // length
        self.order.begin_at(iteration % length * engine.data_loader.batch_size)
        return True

    def _same(self) -> dict[str, Any]:
        return {**self.record.same(), "processes": self.order.processes}

    def _read(self) -> dict[str, Any]:
        try:
            document = torch.load(self.file, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
            if is_out_of_memory(error):
                raise
            raise WeightsFailure(
                f"{self.file} is damaged or no checkpoint ({first_line(error)}); --resume False begins anew"
            ) from error
        if not isinstance(document, dict) or not {"iteration", "epoch_length", "same", "parts"} <= document.keys():
            raise WeightsFailure(f"{self.file} is no checkpoint of a training; --resume False begins anew")
        return document

    def _require_same(self, document: Mapping[str, Any], engine: Engine) -> None:
        now = {**self._same(), "epoch_length": engine.state.epoch_length}
        then = {**document["same"], "epoch_length": document["epoch_length"]}
        other = [f"{name} {then.get(name)} there and {now[name]} here" for name in now if then.get(name) != now[name]]
        if other:
            raise WeightsFailure(
                f"{self.file} cannot be gone on from: {', '.join(other)}; give the same settings and data, or --resume False "
                "to begin anew"
            )


class ResumeTraining:
    """Takes a training up where its state says. Must be the first of the trainer's handlers.

    Args:
        state: what is restored.
    """

    def __init__(self, state: TrainingState) -> None:
        self.state = state

    def attach(self, engine: Engine) -> None:
        """Hook into the trainer."""
        from ignite.engine import Events

        engine.add_event_handler(Events.STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Before the first step."""
        if self.state.restore(engine):
            done, length = engine.state.iteration, engine.state.epoch_length
            steps = length * engine.state.max_epochs
            engine.logger.info("going on from %s: %d of %d steps done", self.state.file, done, steps)
            if done >= steps:
                engine.logger.warning("this training is finished; --resume False begins anew, more --max_epochs go on")


class KeepTraining:
    """Keeps the state after every epoch and now and then within one. Must be the last of the trainer's handlers.

    Args:
        state: what is kept.
        every_min: minutes between two states within an epoch.
        every_steps: steps between two states within an epoch; 0 goes by the clock.
    """

    def __init__(self, state: TrainingState, *, every_min: float = 10.0, every_steps: int = 0) -> None:
        self.state, self.every_min, self.every_steps = state, every_min, every_steps
        self._kept_at = time.monotonic()

    def attach(self, engine: Engine) -> None:
        """Hook into the trainer."""
        from ignite.engine import Events

        engine.add_event_handler(Events.ITERATION_COMPLETED, self.within_epoch)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def within_epoch(self, engine: Engine) -> None:
        """After a step; not between two steps that share one update, and not before the validation that ends an epoch."""
        step = engine.state.iteration % engine.state.epoch_length
        if step == 0 or step % getattr(engine, "accumulation_steps", 1):
            return
        due = time.monotonic() - self._kept_at >= 60.0 * self.every_min
        if self.every_steps:
            due = engine.state.iteration % self.every_steps == 0
        if due:
            self(engine)

    def __call__(self, engine: Engine) -> None:
        """After an epoch."""
        self.state.save(engine)
        self._kept_at = time.monotonic()


def _write(document: Mapping[str, Any], draft: Path) -> None:
    """``torch.save`` reports a full disk as a RuntimeError; the cause is an OSError like any other."""
    try:
        torch.save(document, draft)
    except RuntimeError as error:
        logging.getLogger(__name__).debug("torch.save failed", exc_info=True)
        raise OSError(f"torch could not write it ({first_line(error)})") from error

"""The figures of a training, one line of JSON per epoch."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch

from xct_components.data.atomic_files import written_together
from xct_components.failures import CannotWrite, UnreadableInput
from xct_components.training.processes import place_among_processes

Engine = Any  # ignite.engine.Engine; ignite is loaded when a training is


class KeepLog:
    """Writes the line of every epoch: its number, the steps so far, all metrics of the trainer and of its validation.

    The file has every epoch once, in order: what it holds of this epoch and later ones, from before an interruption or from
    another training, is replaced. Must come after the validation of the trainer.

    Args:
        file: stageN_log.jsonl.
        validator: the evaluator whose metrics are kept where it has validated this very epoch.
    """

    def __init__(self, file: str | Path, validator: Engine = None) -> None:
        self.file, self.validator = Path(file), validator

    def attach(self, engine: Engine) -> None:
        """Hook into the trainer."""
        from ignite.engine import Events

        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """After an epoch; with several processes the first one writes.

        Raises:
            CannotWrite: if the folder cannot be made or the disk is full.
        """
        if place_among_processes()[0]:
            return
        epoch, metrics = engine.state.epoch, dict(engine.state.metrics)
        if self.validator is not None and self.validator.state.epoch == epoch:
            metrics |= self.validator.state.metrics
        figures = {name: _figure(value) for name, value in metrics.items()}
        line = {"epoch": epoch, "steps": engine.state.iteration, **figures}
        kept = [one for one in read_log(self.file) if one["epoch"] < epoch] if self.file.is_file() else []
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CannotWrite(f"cannot make the folder {self.file.parent}: {error.strerror}") from error
        with written_together(self.file) as (draft,):
            draft.write_text("".join(f"{json.dumps(one)}\n" for one in [*kept, line]), encoding="utf-8")


def read_log(file: str | Path) -> list[dict[str, Any]]:
    """The epochs that ``KeepLog`` has written; figures that were no finite number are None.

    Raises:
        UnreadableInput: if the file is missing or damaged.
    """
    try:
        lines = [json.loads(line) for line in Path(file).read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise UnreadableInput(f"{file} is missing or no log of a training; move it away to begin a new one") from error
    if not all(isinstance(line, dict) and isinstance(line.get("epoch"), int) for line in lines):
        raise UnreadableInput(f"{file} is no log of a training: a line has no epoch; move it away to begin a new one")
    return lines


def _figure(value: Any) -> float | None:
    number = float(torch.as_tensor(value))
    return number if math.isfinite(number) else None

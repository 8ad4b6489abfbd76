"""What a person sees while a training runs: a bar on a terminal, a line every few minutes and one per epoch in its log."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from xct_components.training.pace import Pace
from xct_components.training.processes import place_among_processes

Engine = Any  # ignite.engine.Engine; ignite is loaded when a training is

Item = TypeVar("Item")
_BAR = "{desc} {bar:24} {n_fmt}/{total_fmt}{postfix}"


class ShowProgress:
    """Epoch, mean loss of the epoch, samples per second, share of the time that waits for data, time left.

    A bar, shown by the first process alone and never in a file; a line for the log every few minutes and at the end of every
    epoch; the figures ``train_samples_per_s`` (of all processes) and ``train_waiting_share`` among the trainer's metrics.

    Args:
        every_s: seconds between two changes of the bar, at least.
        log_every_s: seconds between two lines of the log within an epoch.
    """

    def __init__(self, every_s: float = 0.2, log_every_s: float = 300.0) -> None:
        self.every_s, self.log_every_s, self.pace = every_s, log_every_s, Pace()
        self._bar: Any = None
        self._logged_at = time.monotonic()
        self._loss, self._steps = 0.0, 0

    def attach(self, engine: Engine) -> None:
        """Hook into the trainer."""
        from ignite.engine import Events

        engine.add_event_handler(Events.EPOCH_STARTED, self.begin_epoch)
        engine.add_event_handler(Events.GET_BATCH_STARTED, self.pace.asked)
        engine.add_event_handler(Events.GET_BATCH_COMPLETED, self.pace.got)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.step)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.report)

    def begin_epoch(self, engine: Engine) -> None:
        """A new bar, which begins where the epoch is taken up."""
        from tqdm import tqdm

        self.pace.begin_epoch()
        self._loss, self._steps = 0.0, 0
        self._logged_at = time.monotonic()
        length, rank = engine.state.epoch_length, place_among_processes()[0]
        if self._bar is not None:
            self._bar.close()
        self._bar = tqdm(
            total=length,
            initial=engine.state.iteration % length,
            desc=f"epoch {engine.state.epoch}/{engine.state.max_epochs}",
            bar_format=_BAR,
            leave=False,
            mininterval=self.every_s,
            disable=True if rank else None,
        )

    def step(self, engine: Engine) -> None:
        """After a step. The bar goes with the last one: what others log at the end of an epoch has the line to itself."""
        self.pace.stepped(len(engine.state.batch))
        self._loss += float(engine.state.output["loss"].detach())
        self._steps += 1
        words = f"loss {self._loss / self._steps:.4f}, {self._in_words(engine)}"
        self._bar.set_postfix_str(words, refresh=False)
        self._bar.update()
        self._log(engine, words)
        if engine.state.iteration % engine.state.epoch_length == 0:
            self._bar.close()

    def report(self, engine: Engine) -> None:
        """After an epoch."""
        rank, processes = place_among_processes()
        engine.state.metrics["train_samples_per_s"] = processes * self.pace.samples_per_s
        engine.state.metrics["train_waiting_share"] = self.pace.waiting_share
        if rank == 0:
            engine.logger.info("epoch %d of %d: %s", engine.state.epoch, engine.state.max_epochs, self._in_words(engine))

    def _log(self, engine: Engine, words: str) -> None:
        """A line for who reads a file: an epoch may take hours."""
        now, length = time.monotonic(), engine.state.epoch_length
        if place_among_processes()[0] or now - self._logged_at < self.log_every_s:
            return
        self._logged_at = now
        step = (engine.state.iteration - 1) % length + 1
        engine.logger.info("epoch %d, step %d of %d: %s", engine.state.epoch, step, length, words)

    def _in_words(self, engine: Engine) -> str:
        from tqdm import tqdm

        samples_per_s = place_among_processes()[1] * self.pace.samples_per_s
        left_s = self.pace.left_s(engine.state.epoch_length * engine.state.max_epochs - engine.state.iteration)
        return (
            f"{samples_per_s:.2f} samples/s, {self.pace.waiting_share:.0%} of the time waiting for data, "
            f"{tqdm.format_interval(left_s)} left"
        )


def counted(items: Iterable[Item], total: int, what: str) -> Iterator[Item]:
    """The items, with a bar on the first process's terminal: for what takes minutes before the first step."""
    from tqdm import tqdm

    yield from tqdm(items, total=total, desc=what, leave=False, disable=True if place_among_processes()[0] else None)

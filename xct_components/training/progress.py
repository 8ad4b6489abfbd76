"""What a person sees while a training runs: a bar on a terminal, a line per epoch in its log."""

from __future__ import annotations

from typing import Any

from xct_components.training.pace import Pace
from xct_components.training.processes import place_among_processes

Engine = Any  # ignite.engine.Engine; ignite is loaded when a training is

_BAR = "{desc} {bar:24} {n_fmt}/{total_fmt}{postfix}"


class ShowProgress:
    """Epoch, mean loss of the epoch, samples per second, share of the time that waits for data, time left.

    A bar, shown by the first process alone and never in a file; at the end of every epoch a line for the log, and the figures
    ``train_samples_per_s`` (of all processes) and ``train_waiting_share`` among the trainer's metrics.

    Args:
        every_s: seconds between two changes of the bar, at least.
    """

    def __init__(self, every_s: float = 0.2) -> None:
        self.every_s, self.pace = every_s, Pace()
        self._bar: Any = None
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
        self._bar.set_postfix_str(f"loss {self._loss / self._steps:.4f}, {self._in_words(engine)}", refresh=False)
        self._bar.update()
        if engine.state.iteration % engine.state.epoch_length == 0:
            self._bar.close()

    def report(self, engine: Engine) -> None:
        """After an epoch."""
        rank, processes = place_among_processes()
        engine.state.metrics["train_samples_per_s"] = processes * self.pace.samples_per_s
        engine.state.metrics["train_waiting_share"] = self.pace.waiting_share
        if rank == 0:
            engine.logger.info("epoch %d of %d: %s", engine.state.epoch, engine.state.max_epochs, self._in_words(engine))

    def _in_words(self, engine: Engine) -> str:
        from tqdm import tqdm

        samples_per_s = place_among_processes()[1] * self.pace.samples_per_s
        left_s = self.pace.left_s(engine.state.epoch_length * engine.state.max_epochs - engine.state.iteration)
        return (
            f"{samples_per_s:.2f} samples/s, {self.pace.waiting_share:.0%} of the time waiting for data, "
            f"{tqdm.format_interval(left_s)} left"
        )

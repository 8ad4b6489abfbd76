"""How fast a training goes: samples per second, share of the time that it waits for data, time left."""

from __future__ import annotations

import time
from collections.abc import Callable


class Pace:
    """Told when a batch is asked for, when it is there and when its step is done; samples and waiting are those of the epoch.

    Args:
        clock: gives the time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._run_began_s: float | None = None
        self._steps_of_run = self._samples = 0
        self._epoch_began_s = self._asked_s = self._stepped_s = self._waited_s = 0.0

    def begin_epoch(self) -> None:
        """Before the first batch of an epoch."""
        self._epoch_began_s = self._stepped_s = self._clock()
        if self._run_began_s is None:
            self._run_began_s = self._epoch_began_s
        self._samples, self._waited_s = 0, 0.0

    def asked(self) -> None:
        """A batch is asked for."""
        self._asked_s = self._clock()

    def got(self) -> None:
        """The batch is there."""
        self._waited_s += self._clock() - self._asked_s

    def stepped(self, samples: int) -> None:
        """The step of a batch of so many samples is done."""
        self._stepped_s = self._clock()
        self._samples += samples
        self._steps_of_run += 1

    @property
    def samples_per_s(self) -> float:
        """Of the epoch so far."""
        elapsed_s = self._elapsed_s()
        return self._samples / elapsed_s if elapsed_s > 0.0 else 0.0

    @property
    def waiting_share(self) -> float:
        """The part of the epoch's time that passed between asking for a batch and getting it, 0 to 1."""
        elapsed_s = self._elapsed_s()
        return min(1.0, self._waited_s / elapsed_s) if elapsed_s > 0.0 else 0.0

    def left_s(self, steps: int) -> float:
        """Seconds that so many steps more will take, judged by the whole run, validations between the epochs included."""
        if self._run_began_s is None or not self._steps_of_run:
            return 0.0
        return (self._stepped_s - self._run_began_s) / self._steps_of_run * steps

    def _elapsed_s(self) -> float:
        return self._stepped_s - self._epoch_began_s

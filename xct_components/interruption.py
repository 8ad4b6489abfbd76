"""Ctrl-C, heard also where a library swallows it. Belongs to no layer and imports nothing of ours."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType


class Interruption:
    """Hears Ctrl-C within a ``with``. It is raised as ever; ``was_heard`` tells of it afterwards.

    What is interrupted while it is loaded may swallow that in its compiled part, as NumPy does: half of it is there then, and
    whoever uses the rest fails with an error of another kind. Where somebody else handles SIGINT, or in another thread than the
    first, nothing is heard.
    """

    def __init__(self) -> None:
        self.was_heard = False
        self._listens = False

    def __enter__(self) -> None:
        first = threading.current_thread() is threading.main_thread()
        if first and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._hear)
            self._listens = True

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._listens:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            self._listens = False

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self.was_heard = True
        signal.default_int_handler(number, frame)

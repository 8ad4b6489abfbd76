"""What ends a bundle's run, in one line: MONAI wraps each failure in tracebacks, and its engines log each that passes."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable, Iterator
from traceback import walk_stack, walk_tb
from types import FrameType, TracebackType
from typing import NamedTuple

from xct_components.bundle_io.worker_errors import error_of_worker
from xct_components.failures import INTERRUPTED, ExitCode, Failure, causes, is_out_of_memory

#: Where ignite's engines log each exception that passes, and MONAI's handler on them again.
ENGINE_LOGGERS = ("ignite.engine.engine.SupervisedEvaluator", "ignite.engine.engine.SupervisedTrainer")
HANDLER_LOGGER = "monai.handlers.StatsHandler"
#: What helps a training that runs out of memory.
LESS_MEMORY = "take a smaller batch_size or a larger machine"


class Ending(NamedTuple):
    """How a run ended early: a line for the user, and the exit code."""

    message: str
    exit_code: ExitCode


def show_failures_plainly(less_memory: str = LESS_MEMORY) -> None:
    """From now on, what ends this process is told as ``xct`` tells it, with its exit code; all else as Python does.

    A bundle's JSON calls this in ``initialize``. Where Python runs interactively, as in a notebook, nothing is changed; of a
    program that has run a bundle, its own interruptions and want of memory neither. With XCT_TRACEBACK=1 everything is shown
    that Python and the engines say, and the line after it.

    Args:
        less_memory: what a user can do where memory runs out.
    """
    if hasattr(sys, "ps1") or sys.excepthook is not sys.__excepthook__:
        return

    def tell(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        is_told = failure_behind(error) is not None or _pass_a_bundle(walk_tb(trace))
        ending = ending_of(error, less_memory) if is_told else None
        if ending is None or _with_traceback():
            sys.__excepthook__(kind, error, trace)
        if ending is not None:
            _end(ending)

    sys.excepthook = tell
    from monai.apps.utils import get_logger  # it gives a logger of MONAI its way to stdout, if it is the first to ask for it

    for logger in (*map(logging.getLogger, ENGINE_LOGGERS), get_logger(HANDLER_LOGGER)):
        logger.addFilter(_is_said_nowhere_else)


def ending_of(error: BaseException, less_memory: str = LESS_MEMORY) -> Ending | None:
    """What a user is told of an error; None if it is one of the program's own, which keeps its traceback."""
    if isinstance(error, KeyboardInterrupt):
        return Ending(INTERRUPTED, ExitCode.INTERRUPTED)
    if (failure := failure_behind(error)) is not None:
        return Ending(" ".join(str(failure).split()), failure.exit_code)
    if any(is_out_of_memory(cause) for cause in _told_causes(error)):
        return Ending(f"out of memory; {less_memory}", ExitCode.OUT_OF_RESOURCES)
    return None


def failure_behind(error: BaseException) -> Failure | None:
    """The failure that an error was raised from, however deep; None if there is none, or it is one of the program's own."""
    return next((cause for cause in _told_causes(error) if isinstance(cause, Failure)), None)


def _told_causes(error: BaseException) -> Iterator[BaseException]:
    """The causes of an error; in the place of one out of a process that loads data, what it tells of."""
    return (error_of_worker(cause) or cause for cause in causes(error))


def _is_said_nowhere_else(record: logging.LogRecord) -> bool:
    """Whether a logger may say it: the failure in flight is left to the line at the end."""
    error = sys.exc_info()[1]
    if record.levelno < logging.ERROR or error is None or ending_of(error) is None:
        return True
    return _with_traceback() or not _pass_a_bundle(walk_stack(None))


def _pass_a_bundle(frames: Iterable[tuple[FrameType, int]]) -> bool:
    """Whether calls go through MONAI's runner of bundles."""
    return any(frame.f_globals.get("__name__", "").startswith("monai.bundle.") for frame, _ in frames)


def _end(ending: Ending) -> None:
    sys.stdout.flush()
    sys.stderr.write(f"xct: {ending.message}\n")
    sys.stderr.flush()
    logging.shutdown()
    os._exit(int(ending.exit_code))  # an excepthook cannot choose the exit code otherwise


def _with_traceback() -> bool:
    return bool(os.environ.get("XCT_TRACEBACK"))

"""Failures of a bundle's run in a line or two: MONAI wraps each in the traceback of whatever component was being made."""

from __future__ import annotations

import logging
import os
import sys
from types import TracebackType

from xct_components.failures import Failure


def show_failures_plainly() -> None:
    """From now on, what ends this process is told as ``xct`` tells it, with its exit code; all else as Python does.

    A bundle's JSON calls this in ``initialize``. Where Python runs interactively, as in a notebook, nothing is changed.
    """
    if not hasattr(sys, "ps1") and sys.excepthook is sys.__excepthook__:
        sys.excepthook = _tell


def failure_behind(error: BaseException) -> Failure | None:
    """The failure that an error was raised from, however deep; None if there is none, or it is one of the program's own."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        if isinstance(cause, Failure):
            return cause
        seen.add(id(cause))
        cause = cause.__cause__ or cause.__context__
    return None


def _tell(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    failure = failure_behind(error)
    if failure is None:
        sys.__excepthook__(kind, error, traceback)
        return
    sys.stdout.flush()
    sys.stderr.write(f"xct: {failure}\n")
    sys.stderr.flush()
    logging.shutdown()
    os._exit(int(failure.exit_code))  # an excepthook cannot choose the exit code otherwise

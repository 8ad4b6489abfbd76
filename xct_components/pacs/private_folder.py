"""A folder for films and results on their way: for this user's eyes alone, and gone at the end."""

from __future__ import annotations

import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from xct_components.failures import CannotWrite


@contextmanager
def private_folder() -> Iterator[Path]:
    """A new folder of mode 0700 under TMPDIR, removed after success, failure, interruption and SIGTERM.

    Raises:
        CannotWrite: if it cannot be made.
    """
    try:
        folder = tempfile.TemporaryDirectory(prefix="xct-pacs-")  # mkdtemp gives it mode 0700
    except OSError as error:
        raise CannotWrite(f"no temporary folder: {error.strerror}; TMPDIR names another place for it") from error
    with folder as name, _ended_by_interrupt():
        yield Path(name)


@contextmanager
def _ended_by_interrupt() -> Iterator[None]:
    """SIGTERM, by which service managers stop a process, ends it as Ctrl-C does; otherwise Python would clean up nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt

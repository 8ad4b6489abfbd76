"""One batch at a time in an output folder: a job that starts while the last one still runs would do its films twice."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from xct_components.failures import CannotWrite


@contextmanager
def locked_output(folder: Path, *, shared: bool) -> Iterator[None]:
    """Hold a folder for this job. The lock is on the folder itself: no file is left, also if the process is killed.

    Args:
        folder: exists.
        shared: whether other processes of the same job hold it too.

    Raises:
        CannotWrite: if another job holds it.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(handle)
        raise CannotWrite(f"another xct generate is writing into {folder}; wait for it, or choose another --output") from error
    except OSError:  # a file system without locks
        pass
    try:
        yield
    finally:
        os.close(handle)

"""What a worker is given to do in the tests of workers; importable, as spawned processes need it."""

from __future__ import annotations

import os
import signal
import time


def do(job: tuple[str, int]) -> int:
    kind, value = job
    if kind == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "exits":
        os._exit(7)
    if kind == "hangs":
        time.sleep(600)
    return value * value

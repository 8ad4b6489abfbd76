"""Starts ``decode_child.py`` on bytes of unknown origin, and says in one line what became of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from xct_components.data.film import decode_child
from xct_components.failures import OutOfResources, RefusedInput, UnreadableInput

#: Waiting time per second of computing that a job may take: other work goes on beside it. Then its start.
WALL_PER_CPU, START_S = 3, 30
#: Threads reserve memory by the hundred MiB, and one film does not need them.
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def run_child(task: str, data: bytes, target: Path, *, name: str, what: str, cpu_s: int, **job: Any) -> None:
    """Inflate or decode ``data`` into a file, in a process of its own without any right to this one's memory.

    Args:
        task: "inflate" or "decode".
        data: what the child works on.
        target: the file that it fills.
        name: what messages call the film.
        what: what messages call its compression.
        cpu_s: seconds of computing that it may take.
        **job: the rest of what ``decode_child.main`` wants.

    Raises:
        UnreadableInput: if the data are damaged, or no decoder is installed.
        RefusedInput: if the work takes more memory, output or time than a film's may.
        OutOfResources: if no process can be started.
    """
    job |= {"task": task, "target": str(target), "sys_path": [folder for folder in sys.path if folder], "cpu_s": cpu_s}
    command = [sys.executable, "-I", decode_child.__file__, json.dumps(job)]
    try:
        done = subprocess.run(
            command,
            input=data,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,  # decoders quote what they read
            env={**os.environ, **_ONE_THREAD},
            timeout=WALL_PER_CPU * cpu_s + START_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise RefusedInput(f"{name} ({what}) takes too long to decode: more than {error.timeout:g} s") from error
    except OSError as error:
        raise OutOfResources(f"{name} is compressed, and no process to decode it can be started: {error.strerror}") from error
    _require_done(done.returncode, name, what, cpu_s)


def _require_done(code: int, name: str, what: str, cpu_s: int) -> None:
    if code == decode_child.DONE:
        return
    if code == decode_child.NO_DECODER:
        raise UnreadableInput(f"{name} is compressed ({what}) and its decoder is missing: pip install 'xct-components[dicom]'")
    if code == decode_child.TOO_LARGE or -code == getattr(signal, "SIGXFSZ", None):
        raise RefusedInput(f"{name} ({what}) unpacks to more than a film holds")
    if -code in (getattr(signal, "SIGXCPU", None), getattr(signal, "SIGKILL", None)):
        raise RefusedInput(f"{name} ({what}) takes more than {cpu_s} s to decode, or more memory than there is")
    raise UnreadableInput(f"{name} is compressed ({what}) and cannot be decoded; truncated or damaged?")

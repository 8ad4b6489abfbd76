"""A program of ours in a process of its own, which hears an interruption and may be short of memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
NO_LIMIT = -1

#: The libraries come first, so that the limit leaves so much beyond them: 0.7 to 0.9 GB are mapped then, 0.5 GB in memory.
SCRIPT = """
import resource, runpy, signal, sys
import monai.bundle, monai.data, monai.engines, monai.handlers
import xct_components.bundle_io.film_inferer, xct_components.bundle_io.read_film, xct_components.cascade
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs inherit a deaf ear to it
beyond = int(sys.argv[1])
if beyond >= 0:
    mapped = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + beyond, mapped + beyond))
program, sys.argv = sys.argv[2], sys.argv[2:]
if program.endswith(".py"):
    runpy.run_path(program, run_name="__main__")
else:
    runpy.run_module(program, run_name="__main__", alter_sys=True)
"""


def started(program: str, *arguments: str, beyond_bytes: int = NO_LIMIT, **variables: str) -> subprocess.Popen[str]:
    """A script, or a module as by ``python -m``, with so many bytes of address space beyond the libraries'.

    Python's warnings, such as MONAI's about who may have written a bundle, are left out of what it says.
    """
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONWARNINGS": "ignore", **variables}
    command = [sys.executable, "-c", SCRIPT, str(beyond_bytes), program, *arguments]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(program: str, *arguments: str, beyond_bytes: int = NO_LIMIT, **variables: str) -> tuple[int, list[str], list[str]]:
    """Exit code, lines on stdout, lines on stderr."""
    process = started(program, *arguments, beyond_bytes=beyond_bytes, **variables)
    said, complained = process.communicate()
    return process.returncode, said.splitlines(), complained.splitlines()

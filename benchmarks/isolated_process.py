"""Run a Python module in a process of its own that reports JSON lines, and survive whatever becomes of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]


def thread_environment(threads: int) -> dict[str, str]:
    """The environment of a measured process: so many threads everywhere, and threads that wait without spinning.

    A spinning OpenMP thread burns CPU seconds that no method asked for.
    """
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")
    return {**os.environ, **dict.fromkeys(names, str(threads)), "OMP_WAIT_POLICY": "passive"}


def run_isolated(module: str, job: dict[str, Any], *, threads: int, timeout_s: float) -> dict[str, Any]:
    """The merged JSON lines that ``python -m module JOB`` printed, with "note" saying how it ended if not well.

    A process that is over its time is ended; what it had printed is kept.
    """
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        command = [sys.executable, "-m", module, json.dumps(job)]
        process = subprocess.Popen(
            command, stdout=output, stderr=errors, cwd=REPOSITORY, env=thread_environment(threads), text=True
        )
        try:
            ending = _ending(process.wait(timeout=timeout_s))
        except subprocess.TimeoutExpired:
            ending = f"stopped after {timeout_s:g} s"
        finally:
            process.kill()
            process.wait()
        output.seek(0)
        figures: dict[str, Any] = {}
        for line in output.read().splitlines():
            if line.startswith("{"):
                figures.update(json.loads(line))
        if ending == "":
            return figures
        errors.seek(0)
        last = (errors.read().strip().splitlines() or [""])[-1] if "stopped" not in ending else ""
        return {**figures, "note": f"{ending}: {last[:120]}" if last else ending}


def _ending(code: int) -> str:
    if code == 0:
        return ""
    return f"ended by signal {-code}" if code < 0 else f"exit code {code}"

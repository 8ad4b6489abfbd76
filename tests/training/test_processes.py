"""What a process that trained among others leaves behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ONE_STEP = """
import sys, time
from pathlib import Path
import torch
from xct_components.training.processes import across_processes, begin_processes, end_processes

def threads_of_gloo():
    try:
        return [name for name in (path.read_text() for path in Path("/proc/self/task").glob("*/comm")) if "gloo" in name]
    except OSError:  # one ended while we looked
        return threads_of_gloo()

assert begin_processes(torch.device("cpu")) == 0
network = torch.nn.Linear(3, 2)
step = across_processes(network, torch.device("cpu"))
step(torch.ones(1, 3)).sum().backward()
assert threads_of_gloo()
end_processes(step)
assert step.module is network and network.weight.grad is not None
patience = time.monotonic() + 10  # the kernel lists a thread a moment longer than it can be waited for
while threads_of_gloo() and time.monotonic() < patience:
    time.sleep(0.01)
sys.exit(len(threads_of_gloo()))
"""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="Linux alone lists the threads of a process as files")
def test_no_thread_of_the_process_group_is_left_when_python_ends() -> None:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=1", "--no-python"]
    done = subprocess.run(
        [*launcher, sys.executable, "-c", ONE_STEP],
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]

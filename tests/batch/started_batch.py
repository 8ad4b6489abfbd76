"""A batch in processes of its own, so that signals and limits meet nobody else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.generate_runs import simulate_film

ROOT = Path(__file__).parent.parent.parent
#: What every film folder holds after ``--format nifti,dicom``: either all of it, or there is no folder.
FILES = ["ct.nii.gz", "dicom", "report.json"]
LONGEST_S = 240.0
#: A shell's background jobs are deaf to Ctrl-C, and their children with them.
_SCRIPT = """
import resource, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
if sys.argv[1] != "0":
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
from xct_components.__main__ import main
sys.exit(main(sys.argv[2:]))
"""


def films_alike(folder: Path, names: str) -> Path:
    """A simulated film under several one-letter names, each with its JSON."""
    folder.mkdir()
    film = simulate_film(folder)
    (folder / "ct.nii.gz").unlink()
    for name in names:
        shutil.copy(film, folder / f"{name}.nii.gz")
        shutil.copy(folder / "film.json", folder / f"{name}.json")
    for file in (film, folder / "film.json"):
        file.unlink()
    return folder


def options(films: Path, output: Path, bundles: Path, format_: str = "nifti,dicom") -> list[str]:
    """The arguments of ``xct`` for a batch of the first tiny stage."""
    settings = ("--bundles", str(bundles), "--stages", "1", "--format", format_, "--accept")
    return ["generate", str(films), "--output", str(output), *settings]


def started(arguments: list[str], *, file_limit: int = 0, **how: Any) -> subprocess.Popen[str]:
    """``xct`` in a process of its own; no file may grow beyond the limit, if there is one."""
    return _popen(["-c", _SCRIPT, str(file_limit), *arguments], **how)


def started_by_torchrun(arguments: list[str], processes: int) -> subprocess.Popen[str]:
    """``xct`` in several processes."""
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}", "-m", "xct_components"]
    return _popen([*launcher, *arguments])


def _popen(arguments: list[str], **how: Any) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, *arguments], **{"cwd": ROOT, "env": environment, **pipes, **how})


def wait_until(happens: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Look often until something happens, or the process ends."""
    until = time.monotonic() + LONGEST_S
    while not happens() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.001)


def assert_whole(output: Path) -> list[str]:
    """Every film folder is complete, and the summary tells of no other; the names of the folders."""
    folders = sorted(path for path in output.iterdir() if path.is_dir() and not path.name.startswith("."))
    for folder in folders:
        assert sorted(path.name for path in folder.iterdir()) == FILES
        assert json.loads((folder / "report.json").read_text())["schema"] == "xct-generated-ct"
        assert len(list((folder / "dicom").iterdir())) == 16
    rows = json.loads((output / "summary.json").read_text())["rows"]
    done = {row["folder"] for row in rows if row["status"] == "done"}
    assert done <= {folder.name for folder in folders}
    return [folder.name for folder in folders]

"""A batch that is stopped, however: what is finished stays, nothing is half-written, and the same command goes on there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.batch.started_batch import (
    LONGEST_S,
    assert_whole,
    films_alike,
    options,
    started,
    started_by_torchrun,
    wait_until,
)
from tests.inferers.tiny_stages import write_bundles
from xct_components.__main__ import main
from xct_components.batch.output_lock import locked_output
from xct_components.failures import ExitCode

#: Enough for the summary and less than the CT of any film.
FILE_LIMIT_BYTES = 4500


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundles(tmp_path_factory.mktemp("bundles"), count=1)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return films_alike(tmp_path_factory.mktemp("films") / "in", "abc")


def hidden(output: Path) -> list[str]:
    return sorted(path.name for path in output.rglob(".*"))


def summary(output: Path) -> dict[str, Any]:
    return json.loads((output / "summary.json").read_text())


def assert_resumes(films: Path, output: Path, bundles: Path, finished: list[str]) -> None:
    """The same command does the rest and leaves no draft of the killed one."""
    before = {name: (output / name / "report.json").stat().st_mtime_ns for name in finished}
    assert main(options(films, output, bundles)) == ExitCode.OK
    assert {name: (output / name / "report.json").stat().st_mtime_ns for name in finished} == before
    assert assert_whole(output) == ["a.nii.gz", "b.nii.gz", "c.nii.gz"]
    assert hidden(output) == []
    assert {row["folder"] for row in summary(output)["rows"] if row["reason"] == "done before"} == set(finished)


def test_a_killed_batch_leaves_no_half_written_film_and_goes_on_where_it_was(films, bundles, tmp_path):
    output = tmp_path / "out"
    process = started(options(films, output, bundles))
    wait_until(lambda: any(output.glob(".part-*-b.nii.gz/dicom*/*")) or any(output.glob(".part-*-b.nii.gz/.part-*/*")), process)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    finished = assert_whole(output)
    assert "c.nii.gz" not in finished
    assert summary(output)["waiting"] >= 1
    assert_resumes(films, output, bundles, finished)


def test_ctrl_c_leaves_what_is_finished_and_a_true_summary(films, bundles, tmp_path):
    output = tmp_path / "out"
    process = started(options(films, output, bundles))
    wait_until((output / "a.nii.gz").is_dir, process)
    process.send_signal(signal.SIGINT)
    out, error = process.communicate()
    assert (process.returncode, out) == (ExitCode.INTERRUPTED, "")
    assert error.splitlines() == ["xct: interrupted; what was finished stays, nothing is half-written"]
    finished = assert_whole(output)
    assert hidden(output) == []
    assert (output / "index.html").is_file()
    told = summary(output)
    assert (told["done"], told["waiting"]) == (len(finished), 3 - len(finished))


def test_a_full_disk_stops_the_batch_instead_of_computing_for_nothing(films, bundles, tmp_path):
    output = tmp_path / "out"
    process = started(options(films, output, bundles, "nifti"), file_limit=FILE_LIMIT_BYTES)
    _, error = process.communicate()
    assert (process.returncode, error.count("\n")) == (ExitCode.CANNOT_WRITE, 1)
    assert "run the same command again" in error
    told = summary(output)
    assert (told["done"], told["failed"], told["waiting"]) == (0, 1, 2)
    assert [path.name for path in output.iterdir() if path.is_dir()] == []


def test_two_batches_at_once_do_not_share_an_output(films, bundles, tmp_path, capsys):
    output = tmp_path / "out"
    output.mkdir()
    with locked_output(output, shared=False):
        assert main(options(films, output, bundles)) == ExitCode.CANNOT_WRITE
    assert "another xct generate" in capsys.readouterr().err
    assert list(output.iterdir()) == []


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three films and, in the share of the second process alone, one that is refused at once."""
    folder = films_alike(tmp_path_factory.mktemp("shared") / "in", "ace")
    (folder / "b.png").touch()
    return folder


def test_processes_share_the_films_and_none_ends_before_the_others(shared, bundles, tmp_path):
    output = tmp_path / "out"
    process = started_by_torchrun(options(shared, output, bundles), processes=2)
    out, error = process.communicate(timeout=LONGEST_S)
    assert process.returncode == 1  # torchrun's own; that of the first process is in its report
    assert (error.count("exitcode  : 8"), error.count("xct: 1 of 4 films failed")) == (1, 1)
    assert assert_whole(output) == ["a.nii.gz", "c.nii.gz", "e.nii.gz"]
    told = summary(output)
    assert (told["done"], told["failed"], told["waiting"], told["exit_code"]) == (3, 1, 0, 8)
    assert [row["name"] for row in told["rows"]] == ["a.nii.gz", "b.png", "c.nii.gz", "e.nii.gz"]
    assert out.count("4 films: 3 done, 1 failed") == 1
    assert hidden(output) == []


def children_of(process: subprocess.Popen[str]) -> list[int]:
    listing = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process.pid)], capture_output=True, text=True, check=False)
    return [int(pid) for pid in listing.stdout.split()]


def test_a_process_that_dies_leaves_the_rest_to_the_next_run(films, bundles, tmp_path):
    output = tmp_path / "out"
    process = started_by_torchrun(options(films, output, bundles), processes=2)
    wait_until(lambda: any(output.glob("[abc].nii.gz")), process)
    os.kill(children_of(process)[-1], signal.SIGKILL)
    process.communicate(timeout=LONGEST_S)
    assert process.returncode == 1
    finished = assert_whole(output)
    assert 1 <= len(finished) < 3
    assert_resumes(films, output, bundles, finished)

"""The summary of several processes is that of one; people are not told three hundred times that a slice is no film."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from xct_components.batch.film_row import FilmRow, batch_exit_code, told_together
from xct_components.batch.summary_files import SummaryFiles
from xct_components.batch.summary_table import summary_table
from xct_components.failures import ExitCode

DONE = FilmRow("b.png", "done", "b.png", 0.02, 3.0, warnings=("the pixel size is unknown",))
FAILED = FilmRow("a.png", "failed", seconds=0.5, exit_code=4, reason="it is a hand")
SKIPPED = FilmRow("ct/1.dcm", "skipped", reason="modality CT")


def summary_of(rank: int, folder: Path) -> SummaryFiles:
    return SummaryFiles(folder, ("a.png", "b.png"), {"software": "test"}, rank, processes=2)


def test_the_rows_of_all_processes_stand_in_the_order_of_the_films(tmp_path):
    summary_of(1, tmp_path).write([DONE, SKIPPED])
    assert not (tmp_path / "summary.json").exists()  # the first process writes it
    summary_of(0, tmp_path).write([SKIPPED, FAILED])
    told = json.loads((tmp_path / "summary.json").read_text())
    assert [FilmRow.from_json(row) for row in told["rows"]] == [FAILED, DONE, SKIPPED]
    assert (told["done"], told["failed"], told["skipped"], told["waiting"], told["exit_code"]) == (1, 1, 1, 0, 8)


def test_a_process_that_has_not_said_anything_leaves_its_films_waiting(tmp_path):
    (tmp_path / ".rows-1.json").write_text('[{"half": ')
    summary_of(0, tmp_path).write([FAILED])
    told = json.loads((tmp_path / "summary.json").read_text())
    assert (told["waiting"], told["exit_code"]) == (1, 8)


def test_what_was_noted_is_swept_away(tmp_path):
    for name in (".rows-0.json", ".rows-7.json", ".part-12-summary.csv", ".part-12-.rows-0.json", "notes.txt"):
        (tmp_path / name).touch()
    summary_of(1, tmp_path).sweep(of_all=False)
    assert len(list(tmp_path.iterdir())) == 5
    summary_of(0, tmp_path).sweep(of_all=True)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([DONE, DONE], ExitCode.OK),
        ([DONE, FAILED], ExitCode.PARTIAL),
        ([FAILED, FAILED, SKIPPED], ExitCode.REFUSED),
        ([FAILED, FilmRow("b.png", "failed", exit_code=3)], ExitCode.PARTIAL),
        ([FAILED], ExitCode.PARTIAL),
        ([DONE], ExitCode.PARTIAL),
    ],
)
def test_the_exit_code_of_two_films(rows, expected):
    assert batch_exit_code(rows, films=2) == expected


def test_many_files_of_a_kind_are_one_line():
    slices = [FilmRow(f"ct/{number}.dcm", "skipped", reason="modality CT") for number in range(300)]
    few = [FilmRow(f"mr/{number}.dcm", "skipped", reason="modality MR") for number in range(3)]
    assert [row.name for row in told_together([DONE, *slices, *few])] == ["b.png", "ct (300 files)", *(row.name for row in few)]
    lines = summary_table([DONE, FAILED, *slices], films=2, others=1)
    assert [line.split()[0] for line in lines if line] == ["film", "b.png", "a.png", "ct", "2"]
    assert lines[-1] == "2 films: 1 done, 1 failed, 300 skipped, 1 other file left out; 3.0 s a film"
    assert max(map(len, summary_table([FAILED], films=1, others=0, width=40))) <= 40

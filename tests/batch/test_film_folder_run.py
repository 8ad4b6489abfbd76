"""``xct generate FOLDER``: every film as a run of its own would make it, whatever lies beside it, and one true summary."""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import json
import shutil
from pathlib import Path
from typing import Any

import pydicom
import pytest
import torch

from tests.batch.mixed_folder import FILMS, SKIPPED, write_mixed_folder, write_object
from tests.generate_runs import REAL_FILM, run, simulate_film
from tests.inferers.tiny_stages import write_bundles
from xct_components.__main__ import main
from xct_components.failures import ExitCode

FILES = ["ct.nii.gz", "report.json"]
SUMMARIES = ["index.html", "summary.csv", "summary.json"]
FOLDERS = ["study__IM0001", "study__film.nii.gz"]
#: What differs between two runs of the same film.
OF_THE_MOMENT = ("seconds", "peak_memory_mib", "prior_to_volume_hu")


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundles(tmp_path_factory.mktemp("bundles"), count=1)


class Batch:
    """One batch and all that it said."""

    def __init__(self, films: Path, output: Path, bundles: Path, *options: str) -> None:
        out, err = io.StringIO(), io.StringIO()
        settings = ("--bundles", str(bundles), "--stages", "1", "--format", "nifti")
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            self.code = main(["generate", str(films), "--output", str(output), *settings, *options])
        self.films, self.output, self.out, self.err = films, output, out.getvalue(), err.getvalue()

    @property
    def summary(self) -> dict[str, Any]:
        return json.loads((self.output / "summary.json").read_text())

    @property
    def rows(self) -> dict[str, Any]:
        return {row["name"]: row for row in self.summary["rows"]}

    def files(self) -> list[str]:
        return sorted(path.relative_to(self.output).as_posix() for path in self.output.rglob("*") if path.is_file())

    def made_at(self) -> dict[str, int]:
        return {path.parent.name: path.stat().st_mtime_ns for path in self.output.glob("*/report.json")}


@pytest.fixture(scope="module")
def mixed(bundles: Path, tmp_path_factory: pytest.TempPathFactory) -> Batch:
    folder = tmp_path_factory.mktemp("mixed")
    return Batch(write_mixed_folder(folder / "in"), folder / "out", bundles, "--accept")


def one_film_folder(folder: Path) -> Path:
    (folder / "in").mkdir()
    simulate_film(folder / "in")
    return folder / "in"


def test_every_film_is_made_and_every_other_file_has_its_reason(mixed):
    assert mixed.code == ExitCode.PARTIAL
    assert mixed.files() == sorted([*SUMMARIES, *(f"{folder}/{file}" for folder in FOLDERS for file in FILES)])
    assert {name: row["status"] == "done" for name, row in mixed.rows.items() if name in FILMS} == FILMS
    skipped = {name: row["reason"] for name, row in mixed.rows.items() if row["status"] == "skipped"}
    assert {name: reason[: len(SKIPPED[name])] for name, reason in skipped.items()} == SKIPPED
    assert (mixed.rows["cut.png"]["exit_code"], mixed.rows["black.png"]["exit_code"]) == (ExitCode.UNREADABLE, ExitCode.REFUSED)
    counts = {"films": 4, "done": 2, "failed": 2, "skipped": 6, "waiting": 0, "exit_code": 8, "other_files": 3}
    assert {name: mixed.summary[name] for name in counts} == counts


def test_a_film_of_a_folder_is_the_film_alone(mixed, bundles, tmp_path):
    run(mixed.films / "study" / "film.nii.gz", tmp_path, bundles, stages=1, format="nifti")
    folder = mixed.output / "study__film.nii.gz"
    assert (folder / "ct.nii.gz").read_bytes() == (tmp_path / "ct.nii.gz").read_bytes()
    assert steady(folder / "report.json") == steady(tmp_path / "report.json")
    row, report = mixed.rows["study/film.nii.gz"], json.loads((folder / "report.json").read_text())
    assert row["film_error"] == report["film_error"][0]
    assert row["seconds"] >= report["stages"][0]["seconds"]


def steady(report: Path) -> dict[str, Any]:
    def without(value: object) -> object:
        if isinstance(value, dict):
            return {name: without(one) for name, one in value.items() if name not in OF_THE_MOMENT}
        return [without(one) for one in value] if isinstance(value, list) else value

    steady_part = without(json.loads(report.read_text()))
    assert isinstance(steady_part, dict)
    return steady_part


def test_the_table_says_it_all_on_stdout_and_stderr_only_how_many_failed(mixed):
    lines = mixed.out.splitlines()
    assert lines[0].split() == ["film", "status", "film", "error", "seconds"]
    assert sum(line.startswith(tuple(FILMS)) for line in lines) == len(FILMS)
    assert lines[-1].startswith("4 films: 2 done, 2 failed, 6 skipped, 3 other files left out; ")
    assert mixed.err.splitlines() == ["xct: 2 of 4 films failed; summary.json says why"]


def test_the_warnings_of_a_film_stand_in_its_row_and_once_on_stderr(bundles, tmp_path):
    batch = Batch(one_film_folder(tmp_path), tmp_path / "out", bundles, "--accept")
    assert batch.code == ExitCode.OK
    assert batch.rows["film.nii.gz"]["warnings"]  # a made-up chest is no chest to the reader
    assert batch.err.splitlines() == ["xct: warning: 1 film has warnings: see summary.json or index.html"]
    assert batch.out.splitlines()[-3:] == [
        str(tmp_path / "out" / name) for name in ("index.html", "summary.csv", "summary.json")
    ]


def test_the_table_of_the_spreadsheet_is_the_summary_and_runs_no_formula(bundles, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "=1+1.png").touch()
    (tmp_path / "in" / "a,\nb.png").touch()
    batch = Batch(tmp_path / "in", tmp_path / "out", bundles)
    with (batch.output / "summary.csv").open(newline="") as stream:
        names = [row["name"] for row in csv.DictReader(stream)]
    assert names == ["'=1+1.png", "a,\\nb.png"]
    assert list(batch.rows) == ["=1+1.png", "a,\\nb.png"]
    assert batch.code == ExitCode.UNREADABLE  # all failed, and alike


def test_what_is_done_is_not_done_again_and_what_failed_is_tried_again(mixed, bundles, tmp_path):
    shutil.copytree(mixed.output, tmp_path / "out")
    shutil.copytree(mixed.films, tmp_path / "in")
    shutil.copy(tmp_path / "in" / "study" / "IM0001", tmp_path / "in" / "cut.png")  # the file arrived whole meanwhile
    (tmp_path / "in" / "black.png").unlink()
    (tmp_path / "out" / ".part-1-summary.json").write_text("of a killed run")
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    batch = Batch(tmp_path / "in", tmp_path / "out", bundles, "--accept")
    assert batch.code == ExitCode.OK
    assert {folder: before[folder] == (tmp_path / "out" / folder).stat().st_mtime_ns for folder in FOLDERS} == dict.fromkeys(
        FOLDERS, True
    )
    done = {name: row for name, row in batch.rows.items() if row["status"] == "done"}
    assert {name: row["reason"] for name, row in done.items()} == {
        "cut.png": "", "study/IM0001": "done before", "study/film.nii.gz": "done before"
    }  # fmt: skip
    old = mixed.rows["study/film.nii.gz"]
    assert {name: done["study/film.nii.gz"][name] for name in ("film_error", "folder")} == {
        name: old[name] for name in ("film_error", "folder")
    }
    assert [path for path in batch.files() if path.startswith(".")] == []


@pytest.mark.parametrize("atlas_cts", [0, 2])
def test_a_film_is_done_with_its_deviation_or_without_if_it_has_none(atlas_cts, tmp_path):
    folder, bundles = tmp_path / "films", write_bundles(tmp_path / "bundles", count=1, atlas_cts=atlas_cts)
    folder.mkdir()
    shutil.copy(REAL_FILM, folder)
    first = Batch(folder, tmp_path / "out", bundles)
    assert (first.code, len(list((tmp_path / "out").rglob("std.nii.gz")))) == (ExitCode.OK, 1 if atlas_cts else 0)
    made = first.made_at()
    assert Batch(folder, tmp_path / "out", bundles).made_at() == made
    if atlas_cts:
        next((tmp_path / "out").rglob("std.nii.gz")).unlink()
        assert Batch(folder, tmp_path / "out", bundles, "--overwrite").made_at() != made


@pytest.mark.parametrize("change", ["film", "settings", "weights", "format", "sidecar", "accept"])
def test_another_film_or_run_replaces_nothing_unasked(change, mixed, bundles, tmp_path):
    (tmp_path / "in").mkdir()
    shutil.copytree(mixed.output / "study__film.nii.gz", tmp_path / "out" / "film.nii.gz")
    for name in ("film.nii.gz", "film.json"):
        shutil.copy(mixed.films / "study" / name, tmp_path / "in")
    options, used = ["--accept"], bundles
    if change == "film":
        (tmp_path / "in" / "film.nii.gz").write_bytes(
            gzip.compress(gzip.decompress((tmp_path / "in" / "film.nii.gz").read_bytes()) + b" ")
        )
    elif change == "settings":
        options += ["--seed", "3"]
    elif change == "weights":
        used = write_bundles(tmp_path / "bundles", count=1)
        weights = used / "stage1" / "models" / "model.pt"
        torch.save({name: tensor * 0.5 for name, tensor in torch.load(weights, weights_only=True).items()}, weights)
    elif change == "format":
        options += ["--format", "nifti,png"]
    elif change == "sidecar":
        (tmp_path / "in" / "film.json").unlink()
    else:  # what was once taken in spite of something is refused without --accept
        report, options = tmp_path / "out" / "film.nii.gz" / "report.json", []
        report.write_text(report.read_text().replace('"accepted_despite": []', '"accepted_despite": ["it looks mirrored"]'))
    held = {path.name: path.read_bytes() for path in (tmp_path / "out" / "film.nii.gz").iterdir()}
    batch = Batch(tmp_path / "in", tmp_path / "out", used, *options)
    assert (batch.code, batch.rows["film.nii.gz"]["exit_code"]) == (ExitCode.CANNOT_WRITE,) * 2
    assert "--overwrite" in batch.rows["film.nii.gz"]["reason"]
    assert {path.name: path.read_bytes() for path in (tmp_path / "out" / "film.nii.gz").iterdir()} == held


def test_overwrite_makes_all_again_but_never_takes_a_strangers_file(bundles, tmp_path):
    films = one_film_folder(tmp_path)
    first = Batch(films, tmp_path / "out", bundles, "--accept").made_at()
    again = Batch(films, tmp_path / "out", bundles, "--accept", "--overwrite")
    assert again.code == ExitCode.OK
    assert again.made_at()["film.nii.gz"] > first["film.nii.gz"]
    (tmp_path / "out" / "film.nii.gz" / "notes.txt").write_text("mine")
    third = Batch(films, tmp_path / "out", bundles, "--accept", "--overwrite")
    assert third.code == ExitCode.CANNOT_WRITE
    assert "notes.txt" in third.rows["film.nii.gz"]["reason"]
    assert third.made_at() == again.made_at()


def test_a_folder_without_a_film_says_what_it_holds(bundles, tmp_path):
    (tmp_path / "in").mkdir()
    for expected, word in ((ExitCode.UNREADABLE, "no film"), (ExitCode.REFUSED, "modality CT")):
        batch = Batch(tmp_path / "in", tmp_path / "out", bundles)
        assert (batch.code, word in batch.err) == (expected, True)
        write_object(tmp_path / "in" / "slice", "1.2.840.10008.5.1.4.1.1.2", "CT", Rows=64, Columns=64)
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_meant_is_refused_before_any_work(bundles, tmp_path):
    films = one_film_folder(tmp_path)
    tries = {
        ExitCode.USAGE: (["--lateral", str(REAL_FILM)], ["--view", "LL"], ["--output", str(films / "out")], ["--stages", "4"]),
        ExitCode.WEIGHTS: (["--bundles", str(tmp_path)], ["--stages", "2"]),
        ExitCode.CANNOT_WRITE: (["--output", str(tmp_path / "no" / "out")], ["--output", str(films / "ct.nii.gz")]),
        ExitCode.OUT_OF_RESOURCES: (["--device", "cuda:99"],),
    }
    before = sorted(tmp_path.rglob("*"))
    for code, options in tries.items():
        for option in options:
            batch = Batch(films, tmp_path / "out", bundles, *option)
            assert (batch.code, len(batch.err.splitlines())) == (code, 1), option
    assert sorted(tmp_path.rglob("*")) == before


def test_a_failure_of_all_films_alike_has_their_code(bundles, tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("a.png", "b.png"):
        (tmp_path / "in" / name).touch()
    batch = Batch(tmp_path / "in", tmp_path / "out", bundles)
    assert (batch.code, batch.summary["exit_code"]) == (ExitCode.UNREADABLE, ExitCode.UNREADABLE)


def test_the_dicom_series_of_a_batch_is_the_films(bundles, tmp_path):
    (tmp_path / "in").mkdir()
    film = shutil.copy(REAL_FILM.with_name("NIH_00000001_000_DX.dcm"), tmp_path / "in" / "IM1")
    batch = Batch(tmp_path / "in", tmp_path / "out", bundles, "--format", "dicom")
    assert batch.code == ExitCode.OK
    slices = sorted((tmp_path / "out" / "IM1" / "dicom").iterdir())
    assert len(slices) == 16
    assert pydicom.dcmread(slices[0]).StudyInstanceUID == pydicom.dcmread(film).StudyInstanceUID

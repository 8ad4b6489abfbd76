"""``xct validate-stage`` on tiny bundles: the sheet of a stage, or one line and an exit code."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.bundles.prepared_folder import prepared_folder
from tests.bundles.tiny_bundles import TINY_SIZE, copied_bundles
from xct_components.__main__ import main
from xct_components.data.file_hash import file_sha256
from xct_components.failures import ExitCode

LONGEST_COMPLAINT = 320  # two lines of a terminal


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    return copied_bundles(tmp_path_factory.mktemp("bundles"))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return prepared_folder(tmp_path_factory.mktemp("prepared"), TINY_SIZE.values())


def check(bundle: Path, prepared: Path, output: Path, *options: str) -> int:
    return main(["validate-stage", str(bundle), "--dataset_dir", str(prepared), "--output", str(output), *options])


def test_a_stage_gets_its_sheet_with_the_weights_of_the_stages_before(bundles, prepared, tmp_path, capsys):
    assert check(bundles / "stage2", prepared, tmp_path / "out") == ExitCode.OK
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2:] == [str(tmp_path / "out" / name) for name in ("check.png", "check.json")]
    document = json.loads((tmp_path / "out" / "check.json").read_text())
    assert [one["case"] for one in document["cases"]] == ["second"]
    weights = [file_sha256(bundles / f"stage{number}" / "models" / "model.pt") for number in (2, 1)]
    assert [one["sha256"] for one in document["weights"]] == weights
    assert [line.split("  ")[0] for line in lines[:-2]] == [
        {True: "PASS", False: "FAIL", None: "not checked"}[one["passed"]] for one in document["checks"]
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


@pytest.fixture
def trained(bundles, tmp_path):
    """A stage whose log says that its loss rose."""
    bundle = tmp_path / "stage1"
    shutil.copytree(bundles / "stage1", bundle)
    (bundle / "models" / "stage1_log.jsonl").write_text('{"epoch": 1, "train_loss": 1.0}\n{"epoch": 2, "train_loss": 2.0}\n')
    return bundle


def test_a_failed_check_is_a_result_unless_it_is_asked_to_be_a_failure(trained, prepared, tmp_path, capsys):
    assert check(trained, prepared, tmp_path / "out", "--side", "train", "--pictures", "0") == ExitCode.OK
    assert "FAIL         loss falls: 2.000 (must be below 1.000)" in capsys.readouterr().out
    assert check(trained, prepared, tmp_path / "out", "--strict", "--overwrite") == ExitCode.REFUSED
    assert "loss falls" in capsys.readouterr().err
    assert json.loads((tmp_path / "out" / "check.json").read_text())["passed"] is False


def without(name: str):
    def spoil(bundle: Path, prepared: Path) -> None:
        (bundle / name).unlink()

    return spoil


def with_text(name: str, text: str):
    def spoil(bundle: Path, prepared: Path) -> None:
        (bundle / name).write_text(text)

    return spoil


def nobody_held_out(bundle: Path, prepared: Path) -> None:
    manifest = json.loads((prepared / "manifest.json").read_text())
    (prepared / "manifest.json").write_text(json.dumps({**manifest, "sides": {**manifest["sides"], "val": []}}))


def not_prepared(bundle: Path, prepared: Path) -> None:
    (prepared / "manifest.json").unlink()


def damaged_weights(bundle: Path, prepared: Path) -> None:
    file = bundle / "models" / "model.pt"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


BAD_INPUTS = {
    "no bundle": (without("configs/train.json"), ExitCode.UNREADABLE, "no bundle of a stage"),
    "damaged document": (with_text("configs/train.json", "{"), ExitCode.UNREADABLE, "cannot be read together"),
    "document of something else": (with_text("configs/train.json", "{}"), ExitCode.UNREADABLE, "cannot be read together"),
    "no weights": (without("models/model.pt"), ExitCode.WEIGHTS, "no weights"),
    "damaged weights": (damaged_weights, ExitCode.WEIGHTS, "damaged"),
    "damaged log": (with_text("models/stage1_log.jsonl", "x"), ExitCode.UNREADABLE, "no log of a training"),
    "nobody held out": (nobody_held_out, ExitCode.USAGE, "holds no case; prepare with --split_list or a larger --val_share"),
    "not prepared": (not_prepared, ExitCode.UNREADABLE, "run `xct prepare` first"),
}


@pytest.mark.parametrize("name", BAD_INPUTS)
def test_a_bad_input_is_one_line_and_its_exit_code(name, trained, prepared, tmp_path, capsys):
    spoil, expected, reason = BAD_INPUTS[name]
    shutil.copytree(prepared, tmp_path / "prepared")
    spoil(trained, tmp_path / "prepared")
    code = check(trained, tmp_path / "prepared", tmp_path / "out")
    out, err = capsys.readouterr()
    assert (code, out) == (expected, "")
    assert reason in err
    assert len(err.splitlines()) == 1
    assert len(err) < LONGEST_COMPLAINT or name == "damaged weights"  # torch's own words are long
    assert not (tmp_path / "out").exists()


BAD_OPTIONS = {
    "side": (["--side", "left"], ExitCode.USAGE, "side must be one of val, test, train"),
    "a side that the split has not": (["--side", "test"], ExitCode.USAGE, "side must be one of train, val"),
    "pictures": (["--pictures", "-1"], ExitCode.USAGE, "pictures must be 0 or more"),
    "device": (["--device", "abacus"], ExitCode.USAGE, "device must be cpu"),
    "overlay": (["--overlays", "fulll.json"], ExitCode.UNREADABLE, "fulll.json"),
}


@pytest.mark.parametrize("name", BAD_OPTIONS)
def test_an_option_that_cannot_be_meant_is_one_line_and_its_exit_code(name, bundles, prepared, tmp_path, capsys):
    options, expected, reason = BAD_OPTIONS[name]
    assert check(bundles / "stage1", prepared, tmp_path / "out", *options) == expected
    assert reason in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_sheet_is_not_replaced_unasked(bundles, prepared, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "check.png").write_text("mine")
    assert check(bundles / "stage1", prepared, tmp_path / "out") == ExitCode.CANNOT_WRITE
    assert "--overwrite" in capsys.readouterr().err
    assert (tmp_path / "out" / "check.png").read_text() == "mine"


@pytest.mark.parametrize("output", ["nowhere/out", "file"])
def test_an_output_that_cannot_be_a_folder_is_refused(output, bundles, prepared, tmp_path):
    (tmp_path / "file").write_text("x")
    assert check(bundles / "stage1", prepared, tmp_path / output) == ExitCode.CANNOT_WRITE


def test_a_sheet_that_cannot_be_finished_leaves_nothing(bundles, prepared, tmp_path, monkeypatch):
    def full(path: Path, sheet: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("xct_components.training.check_sheet.write_sheet_json", full)
    assert check(bundles / "stage1", prepared, tmp_path / "out") == ExitCode.CANNOT_WRITE
    assert list(tmp_path.iterdir()) == []

"""``xct calibrate-deviation``: what it says of the deviation is true, and what it writes makes the next one right."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.evaluation.made_prepared import write_prepared
from tests.inferers.tiny_stages import write_bundles
from xct_components.__main__ import main
from xct_components.calibrate_deviation_command import calibrate_deviation
from xct_components.cascade import UnifiedHybridViTCascade
from xct_components.data.file_hash import file_sha256
from xct_components.evaluation.deviation_check import DeviationCheck, deviation_check
from xct_components.evaluation.held_out_case import held_out_case
from xct_components.failures import ExitCode

STEPS, SAMPLES = 2, 3
# A thousandth of the voxels may lie on the edge of the interval: float32 times a rounded factor.
ROUNDING = 1e-3


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_prepared(tmp_path_factory.mktemp("prepared"))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundles(tmp_path_factory.mktemp("bundles"), count=2)


@pytest.fixture
def bundles(plain, tmp_path) -> Path:
    shutil.copytree(plain, tmp_path / "bundles")
    return tmp_path / "bundles"


@pytest.fixture(scope="module")
def calibrated(prepared, plain, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("calibrated") / "bundles"
    shutil.copytree(plain, folder)
    (folder / "stage1" / "models" / "model.json").write_text(json.dumps({"epoch": 7}))
    calibrate_deviation(str(prepared), stages=2, samples=SAMPLES, steps=STEPS, bundles=str(folder))
    return folder


def described(folder: Path, stage: int) -> dict[str, Any]:
    return json.loads((folder / f"stage{stage}" / "models" / "model.json").read_text())


def check(prepared: Path, folder: Path, stage: int) -> DeviationCheck:
    cascade = UnifiedHybridViTCascade.from_pretrained(folder, stages=2)
    case = held_out_case(prepared, "val", "held-out", cascade.stages, lateral=False)
    return deviation_check(cascade, case, stage, SAMPLES, STEPS)


@pytest.mark.parametrize("stage", [1, 2])
def test_afterwards_90_percent_of_the_patients_voxels_lie_where_the_deviation_says(prepared, plain, calibrated, stage):
    before, after = check(prepared, plain, stage), check(prepared, calibrated, stage)
    assert abs(before.coverage_90 - 0.9) > 0.05  # random weights know nothing of their error
    assert after.coverage_90 == pytest.approx(0.9, abs=ROUNDING)
    assert after.factor == pytest.approx(before.factor, rel=ROUNDING)
    assert after.error_correlation == pytest.approx(before.error_correlation, abs=ROUNDING)


def test_the_json_says_of_which_weights_it_was_measured_and_keeps_the_rest(prepared, plain, calibrated):
    first, second = (described(calibrated, stage) for stage in (1, 2))
    assert first["epoch"] == 7
    for number, document in enumerate((first, second), start=1):
        assert document["sha256"] == file_sha256(calibrated / f"stage{number}" / "models" / "model.pt")
        (entry,) = document["deviation_factors"]
        assert (entry["steps"], entry["patients"]) == (STEPS, 1)
        assert entry["factor"] == pytest.approx(check(prepared, plain, number).factor, rel=ROUNDING)


def test_a_generated_ct_states_the_deviation_times_the_factor_and_says_so(prepared, plain, calibrated):
    cascades = [UnifiedHybridViTCascade.from_pretrained(folder, stages=2) for folder in (plain, calibrated)]
    case = held_out_case(prepared, "val", "held-out", cascades[0].stages, lateral=False)
    drawn, stated = (cascade.generate(case.film, samples=SAMPLES, steps=STEPS) for cascade in cascades)
    factor = described(calibrated, 2)["deviation_factors"][0]["factor"]
    assert drawn.std is not None
    assert stated.std is not None
    assert float((stated.std - factor * drawn.std).abs().max()) <= ROUNDING * factor
    assert drawn.record["deviation"] == {"factor": 1.0, "measured": []}
    assert stated.record["deviation"]["factor"] == factor
    assert (drawn.std_title, stated.std_title) == (
        f"standard deviation of {SAMPLES} samples, as drawn",
        f"standard deviation of {SAMPLES} samples x {factor:.2f}",
    )


def test_a_dry_run_prints_the_same_and_writes_nothing(prepared, bundles, calibrated):
    lines = calibrate_deviation(str(prepared), stages=2, samples=SAMPLES, steps=STEPS, bundles=str(bundles), dry_run=True)
    assert lines[0] == f"{SAMPLES} samples of {STEPS} steps, n=1; inside the body"
    for stage, line in enumerate(lines[2:4], start=1):
        assert f"{described(calibrated, stage)['deviation_factors'][0]['factor']:.2f}" in line
    assert not list(bundles.rglob("*.json.*")) + list(bundles.rglob("model.json"))


REFUSED = {
    "one sample": (["--samples", "1"], ExitCode.USAGE, "samples must lie between 2"),
    "no steps": (["--steps", "0"], ExitCode.USAGE, "steps must lie between 1"),
    "four stages": (["--stages", "4"], ExitCode.USAGE, "stages must lie between 1 and 3"),
    "training side": (["--side", "train"], ExitCode.USAGE, "side must be val or test"),
    "side without cases": (["--side", "test"], ExitCode.USAGE, "holds no case"),
    "no bundles": (["--bundles", "/no/where"], ExitCode.WEIGHTS, "no bundles"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_meant_is_one_line_and_writes_nothing(what, prepared, bundles, capsys):
    options, code, words = REFUSED[what]
    arguments = {"--bundles": str(bundles), "--stages": "1"} | dict(zip(options[::2], options[1::2], strict=True))
    assert main(["calibrate-deviation", str(prepared), *[part for pair in arguments.items() for part in pair]]) == code
    complaint = capsys.readouterr().err
    assert words in complaint
    assert complaint.count("\n") == 1
    assert not list(bundles.rglob("model.json"))


def test_a_json_of_other_weights_is_left_alone(prepared, bundles, capsys):
    path = bundles / "stage1" / "models" / "model.json"
    path.write_text(json.dumps({"sha256": "0" * 64}))
    assert main(["calibrate-deviation", str(prepared), "--bundles", str(bundles), "--stages", "1"]) == ExitCode.WEIGHTS
    assert "not the file that model.json describes" in capsys.readouterr().err
    assert json.loads(path.read_text()) == {"sha256": "0" * 64}


def test_a_folder_that_cannot_be_written_is_told_of_before_anything_is_measured(prepared, bundles, capsys):
    models = bundles / "stage1" / "models"
    models.chmod(0o555)
    if os.access(models, os.W_OK):
        pytest.skip("this user may write anywhere")
    try:
        code = main(["calibrate-deviation", str(prepared), "--bundles", str(bundles), "--stages", "1"])
    finally:
        models.chmod(0o755)
    assert code == ExitCode.CANNOT_WRITE
    assert "add --dry_run" in capsys.readouterr().err

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
from xct_components.networks.deviation_factors import NO_SAMPLES

STEPS, SAMPLES, HELD_CTS = 2, 3, 3
# A thousandth of the voxels may lie on the edge of the interval: float32 times a rounded factor.
ROUNDING = 1e-3


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_prepared(tmp_path_factory.mktemp("prepared"))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundles(tmp_path_factory.mktemp("bundles"), count=2, atlas_cts=HELD_CTS)


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


def factor_of(folder: Path, stage: int, steps: int) -> float:
    (entry,) = [one for one in described(folder, stage)["std_factors"] if one["steps"] == steps]
    assert entry["patients"] == 1
    factor: float = entry["factor"]
    return factor


def check(prepared: Path, folder: Path, stage: int, samples: int) -> DeviationCheck:
    cascade = UnifiedHybridViTCascade.from_pretrained(folder, stages=2)
    case = held_out_case(prepared, "val", "held-out", cascade.stages, lateral=False)
    return deviation_check(cascade, case, stage, samples, STEPS)


@pytest.mark.parametrize("samples", [1, SAMPLES])
@pytest.mark.parametrize("stage", [1, 2])
def test_afterwards_90_percent_of_the_patients_voxels_lie_where_the_deviation_says(prepared, plain, calibrated, stage, samples):
    before, after = check(prepared, plain, stage, samples), check(prepared, calibrated, stage, samples)
    assert abs(before.coverage_90 - 0.9) > 2 * ROUNDING
    assert after.coverage_90 == pytest.approx(0.9, abs=ROUNDING)
    assert after.factor == pytest.approx(before.factor, rel=ROUNDING)
    assert after.error_correlation == pytest.approx(before.error_correlation, abs=ROUNDING)


def test_the_json_says_of_which_weights_it_was_measured_and_keeps_the_rest(prepared, plain, calibrated):
    first, second = (described(calibrated, stage) for stage in (1, 2))
    assert first["epoch"] == 7
    for number, document in enumerate((first, second), start=1):
        assert document["sha256"] == file_sha256(calibrated / f"stage{number}" / "models" / "model.pt")
        for samples, steps in ((1, NO_SAMPLES), (SAMPLES, STEPS)):
            measured = check(prepared, plain, number, samples).factor
            assert factor_of(calibrated, number, steps) == pytest.approx(measured, rel=ROUNDING)


@pytest.mark.parametrize(("samples", "told_by"), [(1, "3 bent CTs"), (SAMPLES, "3 bent CTs and 3 samples")])
def test_a_generated_ct_states_the_deviation_times_the_factor_and_says_so(prepared, plain, calibrated, samples, told_by):
    cascades = [UnifiedHybridViTCascade.from_pretrained(folder, stages=2) for folder in (plain, calibrated)]
    case = held_out_case(prepared, "val", "held-out", cascades[0].stages, lateral=False)
    drawn, stated = (cascade.generate(case.film, samples=samples, steps=STEPS) for cascade in cascades)
    factor = factor_of(calibrated, 2, STEPS if samples > 1 else NO_SAMPLES)
    assert drawn.std is not None
    assert stated.std is not None
    assert float((stated.std - factor * drawn.std).abs().max()) <= ROUNDING * factor
    shared = {"bent_cts": HELD_CTS, "samples": samples if samples > 1 else 0}
    assert drawn.record["deviation"] == {**shared, "factor": 1.0, "patients": 0}
    assert stated.record["deviation"] == {**shared, "factor": factor, "patients": 1}
    assert (drawn.std_title, stated.std_title) == (
        f"standard deviation of {told_by}, uncalibrated",
        f"standard deviation of {told_by} x {factor:.2f}",
    )


def test_a_dry_run_prints_the_same_and_writes_nothing(prepared, bundles, calibrated):
    lines = calibrate_deviation(str(prepared), stages=2, samples=SAMPLES, steps=STEPS, bundles=str(bundles), dry_run=True)
    assert lines[0] == "n=1; inside the body"
    rows = [(stage, steps) for stage in (1, 2) for steps in (NO_SAMPLES, STEPS)]
    for (stage, steps), line in zip(rows, lines[2:6], strict=True):
        assert f"{factor_of(calibrated, stage, steps):.2f}" in line
    assert not list(bundles.rglob("*.json.*")) + list(bundles.rglob("model.json"))


def test_no_samples_are_drawn_unless_asked_for(prepared, bundles):
    calibrate_deviation(str(prepared), stages=1, bundles=str(bundles))
    assert [one["steps"] for one in described(bundles, 1)["std_factors"]] == [NO_SAMPLES]


def test_two_films_have_a_factor_of_their_own_beside_that_of_one(prepared, bundles):
    for lateral in (False, True):
        calibrate_deviation(str(prepared), stages=1, lateral=lateral, bundles=str(bundles))
    one, two = described(bundles, 1)["std_factors"]
    assert [(entry["views"], entry["calibrated"]) for entry in (one, two)] == [(1, False), (2, False)]
    assert one["factor"] != two["factor"]


def test_weights_without_cts_are_measured_with_samples_or_refused(prepared, tmp_path, capsys):
    folder = write_bundles(tmp_path / "none held", count=1)
    options = ["calibrate-deviation", str(prepared), "--bundles", str(folder), "--stages", "1", "--steps", str(STEPS)]
    assert main(options) == ExitCode.USAGE
    assert "samples must be 2 or more where weights hold no CTs" in capsys.readouterr().err
    assert main([*options, "--samples", "2"]) == ExitCode.OK
    assert [one["steps"] for one in described(folder, 1)["std_factors"]] == [STEPS]


REFUSED = {
    "no sample": (["--samples", "0"], ExitCode.USAGE, "samples must lie between 1"),
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

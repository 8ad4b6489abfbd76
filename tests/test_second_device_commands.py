"""The commands that take ``--device`` on a second device: the same files, as far as they hold numbers of the run."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from tests.bundles.prepared_folder import prepared_folder
from tests.bundles.tiny_bundles import TINY_SIZE, copied_bundles
from tests.evaluation.made_prepared import write_prepared
from tests.generate_runs import run, simulate_film
from tests.inferers.tiny_stages import write_bundles
from tests.second_device import second_device
from xct_components.calibrate_deviation_command import calibrate_deviation
from xct_components.data.file_hash import file_sha256
from xct_components.evaluate_command import evaluate
from xct_components.validate_stage_command import validate_stage

SAMPLED: dict[str, Any] = {"stages": 1, "samples": 2, "steps": 1}


def generated(folder: Path, output: Path, device: str) -> Any:
    film = simulate_film(folder)
    bundles, every = write_bundles(folder / "bundles", count=1), "nifti,dicom,png,html"
    run(film, output, bundles, device=device, format=every, **SAMPLED)
    assert [*output.glob("dicom/*.dcm")]
    assert (output / "report.html").is_file()
    return {file.name: file_sha256(file) for file in output.glob("**/*") if file.name.endswith((".nii.gz", ".png"))}


def evaluated(folder: Path, output: Path, device: str) -> Any:
    bundles = write_bundles(folder / "bundles", count=1)
    evaluate(str(write_prepared(folder / "prepared")), output=str(output), bundles=str(bundles), device=device, **SAMPLED)
    return json.loads((output / "evaluation.json").read_text())["rows"]


def calibrated(folder: Path, output: Path, device: str) -> Any:
    bundles, prepared = write_bundles(folder / "bundles", count=1), write_prepared(folder / "prepared")
    return calibrate_deviation(str(prepared), bundles=str(bundles), dry_run=True, device=device, **SAMPLED)


def checked(folder: Path, output: Path, device: str) -> Any:
    bundle = copied_bundles(folder / "bundles") / "stage2"
    prepared = prepared_folder(folder / "prepared", TINY_SIZE.values())
    validate_stage(str(bundle), dataset_dir=str(prepared), output=str(output), device=device)
    return json.loads((output / "check.json").read_text())["checks"], file_sha256(output / "check.png")


@pytest.mark.parametrize("command", [generated, evaluated, calibrated, checked])
def test_a_command_there_says_what_it_says_here(command: Callable[[Path, Path, str], Any], tmp_path: Path) -> None:
    said = []
    for device in ("cpu", "cuda"):
        folder = tmp_path / device
        folder.mkdir()
        with second_device() if device == "cuda" else nullcontext():
            said.append(command(folder, folder / "out", device))
    assert said[0]
    assert said[0] == said[1]

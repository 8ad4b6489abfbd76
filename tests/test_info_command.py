"""``xct info``: true, complete, fast, and the way to verify an installation."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.inferers.tiny_stages import write_bundles
from xct_components import __version__
from xct_components.__main__ import main
from xct_components.data.file_hash import file_sha256
from xct_components.failures import MEANINGS, ExitCode
from xct_components.info_command import installation

ROOT = Path(__file__).parent.parent


@pytest.fixture
def bundles(tmp_path: Path) -> Path:
    folder = write_bundles(tmp_path / "bundles")
    for stage in (1, 2, 3):
        models = folder / f"stage{stage}" / "models"
        training = {"sha256": file_sha256(models / "model.pt"), "epoch": 7, "metrics": {"val_rmse_hu": 250.5}}
        (models / "model.json").write_text(json.dumps(training))
        (folder / f"stage{stage}" / "configs" / "metadata.json").write_text('{"version": "0.4.2"}')
    return folder


def told(capsys: pytest.CaptureFixture[str]) -> tuple[dict[str, Any], str]:
    out, err = capsys.readouterr()
    return json.loads(out), err


def test_what_is_told_is_what_is_here(bundles, capsys):
    assert main(["info", "--json", "--bundles", str(bundles)]) == ExitCode.OK
    found, err = told(capsys)
    assert (found["schema"], found["schema_version"], found["problems"], err) == ("xct-info", 1, [], "")
    assert (found["xct"], found["python"]) == (__version__, platform.python_version())
    assert found["libraries"]["torch"] == torch.__version__
    assert found["libraries"]["pydicom"] == metadata.version("pydicom")
    assert found["parts"]["report"] == {"matplotlib": metadata.version("matplotlib")}
    assert not {"dev", "bench"} & set(found["parts"])
    assert found["processor"]["usable"] == len(os.sched_getaffinity(0))
    assert 0 < found["memory"]["available_gib"] <= found["memory"]["total_gib"]
    assert {int(code) for code in found["exit_codes"]} == {code.value for code in ExitCode}
    for number, stage in enumerate(found["bundles"], start=1):
        assert (stage["stage"], stage["version"], stage["matches"]) == (number, "0.4.2", True)
        assert stage["sha256"] == stage["expected_sha256"] == file_sha256(bundles / f"stage{number}" / "models" / "model.pt")
        assert stage["training"] == {"epoch": 7, "metrics": {"val_rmse_hu": 250.5}}


def test_a_person_reads_the_same_in_aligned_lines(bundles, capsys):
    assert main(["info", "--bundles", str(bundles)]) == ExitCode.OK
    out, _ = capsys.readouterr()
    for stage in installation(str(bundles))["bundles"]:
        assert f"{stage['sha256']} (as model.json says)" in out
    assert "epoch 7, val_rmse_hu 250.5" in out
    assert out.count("not held against errors: run xct calibrate-deviation") == 3
    assert max(map(len, out.splitlines())) < 160
    titles = [line for line in out.splitlines() if line and not line.startswith(" ")]
    assert titles == ["xct", "libraries", "weights", "optional parts", "exit codes", "problems"]


def test_a_person_reads_how_wide_the_deviation_is_made(bundles, capsys):
    file = bundles / "stage2" / "models" / "model.json"
    factors = [{"steps": 0, "factor": 1.05, "patients": 4}, {"steps": 4, "factor": 1.7531, "patients": 4}]
    file.write_text(json.dumps(json.loads(file.read_text()) | {"std_factors": factors}))
    assert main(["info", "--bundles", str(bundles)]) == ExitCode.OK
    assert "times 1.05, 1.75 with samples of 4 steps" in capsys.readouterr().out
    file.write_text(json.dumps(json.loads(file.read_text()) | {"std_factors": {"4": 1.8}}))
    main(["info", "--bundles", str(bundles)])
    assert "DAMAGED: deviation factors must be a list of steps, factor and patients" in capsys.readouterr().out


@pytest.mark.parametrize("harm", ["no bundles", "no stage", "no weights", "other weights"])
def test_what_is_wrong_with_the_weights_is_told_and_makes_the_exit_code(harm, bundles, tmp_path, capsys):
    weights = bundles / "stage2" / "models" / "model.pt"
    if harm == "no stage":
        (bundles / "stage3" / "configs" / "inference.json").unlink()
    elif harm == "no weights":
        weights.unlink()
    elif harm == "other weights":
        weights.write_bytes(weights.read_bytes()[:-1])
    folder = tmp_path if harm == "no bundles" else bundles
    assert main(["info", "--json", "--bundles", str(folder)]) == ExitCode.WEIGHTS
    found, err = told(capsys)
    (problem,) = found["problems"]
    assert err == f"xct: {problem['what']}\n"
    assert {"no bundles": "--bundles", "no stage": "stage 3", "no weights": "model.pt", "other weights": "again"}[harm] in err
    if harm == "other weights":
        assert [stage["matches"] for stage in found["bundles"]] == [True, False, True]


def test_weights_that_nothing_is_recorded_of_are_no_problem(bundles):
    (bundles / "stage1" / "models" / "model.json").unlink()
    found = installation(str(bundles))
    assert (found["bundles"][0]["matches"], found["problems"]) == (None, [])


def test_the_devices_of_torch_are_asked_only_when_told(bundles):
    asked = [one for one in installation(str(bundles), with_torch=True)["devices"] if one["from"] == "torch"]
    assert len(asked) == max(1, torch.cuda.device_count())
    assert not [one for one in installation(str(bundles))["devices"] if one["from"] == "torch"]


def test_a_package_that_is_found_but_not_installed_is_a_problem(tmp_path):
    """A copy of the sources on the path, in an interpreter without site packages but with what the command line needs."""
    code = f"""
import importlib.metadata as metadata, sys
sys.path.insert(0, {str(ROOT)!r})
from xct_components.info_command import installation
sys.path[:] = [path for path in sys.path if "site-packages" not in path and path != {str(ROOT)!r}]
sys.meta_path[:] = [finder for finder in sys.meta_path if finder.__module__.startswith(("_frozen", "importlib"))]
print(*[problem["what"] for problem in installation({str(tmp_path)!r})["problems"]], sep="\\n")
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "is not installed, only found; pip install xct-components" in done.stdout


def test_every_exit_code_has_a_meaning_and_stands_in_the_help(capsys):
    assert set(MEANINGS) == set(ExitCode)
    assert main(["--help"]) == ExitCode.OK
    codes = capsys.readouterr().out.split("EXIT CODES\n")[1].splitlines()
    assert [line.split(maxsplit=1) for line in codes] == [[str(code.value), text] for code, text in MEANINGS.items()]


def test_no_heavy_library_is_loaded(tmp_path):
    code = "import sys; from xct_components.__main__ import main; main(['info', '--json'])\n"
    code += "print(sorted({'torch', 'monai', 'numpy', 'pydicom', 'itk'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"

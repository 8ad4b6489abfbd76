"""Whatever lies in the input, every CT is prepared or refused with a reason, and nothing partial is left."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.data_layer.damaged_cts import EXPECTED, write_all
from xct_components.data.prepare.folder import Preparation, PreparedFolder, prepare_folder
from xct_components.failures import ExitCode
from xct_components.prepare_command import PartlyPrepared, prepare

REPOSITORY = Path(__file__).resolve().parents[2]
# A worker that has loaded its libraries needs 0.4 GiB; reading a bomb of the tests would add 0.4 GiB at least.
MOST_MEMORY_GIB = 0.7


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("damaged")
    write_all(folder / "in")
    return folder


@pytest.fixture(scope="module")
def prepared(folder) -> PreparedFolder:
    return prepare_folder(Preparation(input=folder / "in", output=folder / "out", workers=0))


@pytest.fixture(scope="module")
def sources(prepared, folder) -> dict[str, Any]:
    return json.loads((folder / "out" / "sources.json").read_text())


@pytest.mark.parametrize("name", EXPECTED)
def test_it_ends_with_a_reason(name, sources):
    (case,) = [case for case, below in sources["cases"].items() if below == name]
    assert EXPECTED[name] in sources["failed"][case]
    assert "\n" not in sources["failed"][case]


def test_the_sound_ct_is_prepared_all_the_same(prepared):
    assert [case["case"] for case in prepared.manifest["cases"]] == ["sound"]
    assert len(prepared.failures) == len(EXPECTED)


def test_nothing_partial_is_left(prepared, folder):
    made = sorted(path.name for path in (folder / "out").iterdir())
    assert made == ["failed", "manifest.json", "sound", "sources.json"]
    assert {path.suffix for path in (folder / "out" / "failed").iterdir()} == {".json"}
    assert len(list((folder / "out" / "sound").iterdir())) == 4


def test_memory_stays_bounded(folder, tmp_path):
    (tmp_path / "in").mkdir()
    for bomb in ("bomb.nii.gz", "bomb.nrrd", "claims_3gb.nii", "claims_too_much.nii"):
        shutil.copy(folder / "in" / bomb, tmp_path / "in")
    (tmp_path / "run.py").write_text(
        "import resource, sys; from pathlib import Path; from xct_components.data.prepare.folder import *\n"
        "if __name__ == '__main__':\n"
        "    prepared = prepare_folder(Preparation(input=Path(sys.argv[1]), output=Path(sys.argv[2])))\n"
        "    print(len(prepared.failures), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    command = [sys.executable, tmp_path / "run.py", tmp_path / "in", tmp_path / "out"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    printed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    failures, most_kib = (int(number) for number in printed.split())
    assert failures == 4
    assert most_kib / 2**20 < MOST_MEMORY_GIB


def test_what_is_no_ct_is_left_out_with_a_reason(sources):
    ignored = {entry["path"]: entry["reason"] for entry in sources["ignored"]}
    assert "not CT" in ignored["mr/image-0000.dcm"]
    assert "localizer" in ignored["scout.dcm"]
    assert "neither" in ignored["readme.txt"]


def test_the_command_says_that_some_failed(prepared, folder):
    with pytest.raises(PartlyPrepared, match=r"1 CTs prepared \(1 were there before\), 28 failed") as failure:
        prepare(str(folder / "in"), output=str(folder / "out"), workers=1)
    assert failure.value.exit_code == ExitCode.PARTIAL

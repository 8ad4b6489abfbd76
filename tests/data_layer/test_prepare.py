"""A folder of CTs becomes a folder of cases: complete, resumable, the same bytes every time."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from tests.data_layer.made_chests import chest_voxels, straight_affine, write_chest_dicom
from tests.data_layer.made_cts import write_itk, write_nifti
from xct_components.data.ct.discovery import find_cts
from xct_components.data.folder_walk import BACK, NOWHERE
from xct_components.data.prepare.folder import Preparation, prepare_folder
from xct_components.failures import ExitCode, InputWarning, UnreadableInput, UsageFailure
from xct_components.geometry import VolumeGrid
from xct_components.prepare_command import NothingPrepared, prepare

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def cts(tmp_path_factory) -> Path:
    """Two patients in one folder of DICOM, one of them again as NIfTI."""
    folder = tmp_path_factory.mktemp("cts") / "in"
    affine = straight_affine()
    first, second = (chest_voxels(affine, noise_seed=seed) for seed in range(2))
    write_chest_dicom(folder / "mixed" / "deep", affine, second, PatientID="Doe^Jane")
    write_chest_dicom(folder / "mixed", affine, first, PatientID="Doe^John")
    write_nifti(folder / "mixed" / "again.nii.gz", affine, first)
    return folder


@pytest.fixture(scope="module")
def output(cts) -> Path:
    """The folder of these, made in one go."""
    prepare_folder(Preparation(input=cts, output=cts.parent / "out", workers=2))
    return cts.parent / "out"


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """Two patients as files."""
    folder = tmp_path_factory.mktemp("files") / "in"
    folder.mkdir()
    write_nifti(folder / "LIDC-7_scan.nii", straight_affine(), chest_voxels(straight_affine(), noise_seed=2))
    write_itk(folder / "other.mha", straight_affine(), chest_voxels(straight_affine(), noise_seed=3))
    return folder


@pytest.fixture(scope="module")
def files_output(files) -> Path:
    """The folder of these, made in one go."""
    prepare_folder(Preparation(input=files, output=files.parent / "out", workers=0))
    return files.parent / "out"


def read_manifest(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "manifest.json").read_text())


def all_bytes(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_every_ct_of_a_mixed_tree_becomes_a_case(output):
    manifest = read_manifest(output)
    assert [case["case"][:7] for case in manifest["cases"]] == ["again", "series-", "series-"]
    assert len({case["patient"] for case in manifest["cases"]}) == 3
    assert manifest["missing"] == []


def test_the_same_ct_as_dicom_and_as_nifti_is_the_same_and_on_the_same_side(output):
    cases = {case["case"]: case for case in read_manifest(output)["cases"]}
    again = cases.pop("again")
    (twin,) = [case for case in cases.values() if case["voxels_sha256"] == again["voxels_sha256"]]
    assert twin["case"].startswith("series-")
    assert twin["split"] == again["split"]
    assert {k: v["sha256"] for k, v in twin["outputs"].items()} == {k: v["sha256"] for k, v in again["outputs"].items()}


def test_the_files_are_what_the_manifest_says(output):
    for case in read_manifest(output)["cases"]:
        volumes = {}
        for size in (64, 128, 256):
            made = case["outputs"][str(size)]
            image = nibabel.load(output / made["file"])
            volumes[size] = np.asarray(image.dataobj)
            assert volumes[size].shape == (size, size, size)
            assert volumes[size].dtype == np.int16
            assert nibabel.aff2axcodes(image.affine) == ("P", "I", "L")
            grid = VolumeGrid.from_json(made["grid"])
            assert np.allclose(image.affine, grid.affine.numpy(), atol=1e-4)  # the header holds float32
            assert grid.center_mm == pytest.approx(case["center_mm"], abs=1e-3)
        means = volumes[128].reshape(64, 2, 64, 2, 64, 2).mean(axis=(1, 3, 5))
        assert np.array_equal(volumes[64], np.rint(means))


def test_no_identifier_of_dicom_reaches_the_manifest(output):
    text = (output / "manifest.json").read_text()
    assert "Doe" not in text
    assert "mixed" not in text


def test_a_second_run_does_nothing_and_changes_nothing(cts, output):
    before = all_bytes(output)
    times = {path: path.stat().st_mtime_ns for path in output.rglob("*.nii.gz")}
    prepared = prepare_folder(Preparation(input=cts, output=output, workers=0))
    assert prepared.resumed == prepared.done == 3
    assert all_bytes(output) == before
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*.nii.gz")} == times


def test_killed_at_any_moment_it_goes_on_to_the_same_bytes(files, files_output, tmp_path):
    code = (
        "import sys; from pathlib import Path; from xct_components.data.prepare.folder import *\n"
        "if __name__ == '__main__': prepare_folder(Preparation(input=Path(sys.argv[1]), output=Path(sys.argv[2])))"
    )
    (tmp_path / "run.py").write_text(code)
    out = tmp_path / "out"
    command = [sys.executable, str(tmp_path / "run.py"), str(files), str(out)]
    # killed while a volume of the first case is written, then when the first case is there, then let go
    for moment in (".part-*/128*", "[!.]*/record.json"):
        process = subprocess.Popen(command, cwd=REPOSITORY, env={**os.environ, "PYTHONPATH": str(REPOSITORY)})
        while process.poll() is None and not list(out.glob(moment)):
            time.sleep(0.01)
        assert process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not (out / "manifest.json").exists()
    prepare_folder(Preparation(input=files, output=out, workers=0))
    assert all_bytes(out) == all_bytes(files_output)
    assert not list(out.glob(".part-*"))


def test_two_ranks_make_what_one_makes(files, files_output, tmp_path):
    second = Preparation(input=files, output=tmp_path / "out", world_size=2, rank=1, workers=0)
    assert prepare_folder(second).done == 1
    assert read_manifest(tmp_path / "out")["missing"] == ["LIDC-7_scan"]
    assert prepare_folder(replace(second, rank=0)).done == 1
    assert all_bytes(tmp_path / "out") == all_bytes(files_output)


def test_a_case_whose_file_is_damaged_or_whose_source_changed_is_made_again(files, files_output, tmp_path):
    shutil.copytree(files, tmp_path / "in")
    shutil.copytree(files_output, tmp_path / "out")
    (tmp_path / "out" / "other" / "64.nii.gz").write_bytes(b"")
    write_nifti(tmp_path / "in" / "LIDC-7_scan.nii", straight_affine(), chest_voxels(straight_affine()).astype(np.float32))
    assert prepare_folder(Preparation(input=tmp_path / "in", output=tmp_path / "out", workers=0)).resumed == 0
    after, before = all_bytes(tmp_path / "out"), all_bytes(files_output)
    assert after["other/64.nii.gz"] == before["other/64.nii.gz"]
    assert after["LIDC-7_scan/64.nii.gz"] != before["LIDC-7_scan/64.nii.gz"]


def test_the_full_size_is_made_on_request(tmp_path):
    (tmp_path / "in").mkdir()
    write_nifti(tmp_path / "in" / "one.nii", straight_affine(), chest_voxels(straight_affine()))
    prepared = prepare_folder(Preparation(input=tmp_path / "in", output=tmp_path / "out", full=True, suffix=".nii", workers=0))
    (case,) = prepared.manifest["cases"]
    image = nibabel.load(tmp_path / "out" / case["outputs"]["full"]["file"])
    assert image.shape == (512, 604, 512)
    assert image.header.get_zooms() == pytest.approx((0.625, 0.625, 0.625))
    coarse = nibabel.load(tmp_path / "out" / case["outputs"]["256"]["file"])
    block = np.asarray(image.dataobj[200:220, 246:266, 300:320], dtype=float)  # 23 rows of 1.25 mm more at the top
    means = block.reshape(10, 2, 10, 2, 10, 2).mean(axis=(1, 3, 5))
    assert np.abs(means - np.asarray(coarse.dataobj[100:110, 100:110, 150:160])).max() <= 1.0


def test_a_pattern_names_the_patient_and_another_leaves_files_out(files):
    found = find_cts(files, exclude=["*.mha"], patient_pattern=r"(LIDC-\d+)")
    assert [(source.case, source.patient) for source in found.sources] == [("LIDC-7_scan", "LIDC-7")]
    assert found.ignored == (("other.mha", "excluded by your pattern"),)


def test_cts_of_a_linked_share_are_prepared_and_what_was_not_read_is_told_in_a_line(files, tmp_path):
    folder, share = tmp_path / "in", tmp_path / "share"
    for path in (folder, share, tmp_path / "out"):
        path.mkdir()
    shutil.copy(files / "LIDC-7_scan.nii", share / "far.nii")
    (folder / "linked").symlink_to(share)
    (share / "results").symlink_to(tmp_path / "out")
    (share / "loop").symlink_to(folder)
    (folder / "not mounted").symlink_to(tmp_path / "nowhere")
    said = r"not read: linked/loop \(a link back to a folder around it\) and 1 more; sources\.json names all"
    for _ in range(2):  # the second time there are results, which a link makes a part of the input
        with pytest.warns(InputWarning, match=said):
            prepared = prepare_folder(Preparation(input=folder, output=tmp_path / "out", workers=0))
        assert [case["case"] for case in prepared.manifest["cases"]] == ["far"]
    ignored = {one["path"]: one["reason"] for one in json.loads((tmp_path / "out" / "sources.json").read_text())["ignored"]}
    assert ignored == {"linked/loop": BACK, "not mounted": NOWHERE}
    assert prepared.resumed == 1


def test_the_users_split_is_kept_and_its_leak_refused(cts, output, tmp_path):
    shutil.copytree(output, tmp_path / "out")
    cases = read_manifest(output)["cases"]
    fingerprint = next(case["voxels_sha256"] for case in cases if case["case"] == "again")
    twin = next(case for case in cases if case["voxels_sha256"] == fingerprint and case["case"] != "again")
    other = next(case for case in cases if case["voxels_sha256"] != fingerprint)
    listed = tmp_path / "split.json"
    listed.write_text(json.dumps({"train": ["again"], "test": [other["patient"]]}))
    preparation = Preparation(input=cts, output=tmp_path / "out", split_list=listed)
    sides = prepare_folder(preparation).manifest["sides"]
    assert sides == {"train": ["again", twin["case"]], "val": [], "test": [other["case"]]}  # the twin goes where "again" goes
    listed.write_text(json.dumps({"train": ["again"], "test": [twin["patient"]]}))
    with pytest.raises(UsageFailure, match="same patient on two sides"):
        prepare_folder(preparation)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"suffix": ".png"}, "suffix must be one of"),
        ({"workers": -1}, "workers must not be negative"),
        ({"rank": 2, "world_size": 2}, "rank must lie"),
        ({"output": Path("in") / "inside"}, "must lie apart"),
        ({"val_share": 0.9, "test_share": 0.2, "input": None}, "add up to less than 1"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(change, why, cts, tmp_path):
    settings = {"input": cts if "input" in change else Path("in"), "output": tmp_path / "out"}
    with pytest.raises(UsageFailure, match=why):
        prepare_folder(Preparation(**{**settings, **{k: v for k, v in change.items() if k != "input"}}))


def test_a_folder_without_a_ct_is_said_to_have_none(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes.txt").write_text("nothing")
    with pytest.raises(UnreadableInput, match="holds no CT"):
        prepare(str(tmp_path / "in"), output=str(tmp_path / "out"), workers=1)
    with pytest.raises(UnreadableInput, match="does not exist"):
        prepare(str(tmp_path / "nowhere"), output=str(tmp_path / "out"), workers=1)


def test_if_every_ct_fails_the_command_says_so(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "empty.nii").touch()
    with pytest.raises(NothingPrepared, match="no CT could be prepared") as failure:
        prepare(str(tmp_path / "in"), output=str(tmp_path / "out"), workers=1)
    assert failure.value.exit_code == ExitCode.UNREADABLE

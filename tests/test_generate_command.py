"""``xct generate`` as a user meets it: files that fit the CT, or one line, an exit code and nothing on the disk."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image

from tests.generate_runs import CENTER_MM, REAL_FILM, run, simulate_film
from tests.inferers.tiny_stages import write_bundles
from xct_components.failures import ExitCode, Failure

ROOT = Path(__file__).parent.parent
FILES = ["ct.nii.gz", "preview.png", "report.html", "report.json"]
LONGEST_COMPLAINT = 320
# Voxels of 20 and 10 mm that do not lie pixel on voxel, as the field follows the lungs: 1.6 % and 0.8 % on a real CT.
EXPLAINED = 0.03


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundles(tmp_path_factory.mktemp("bundles"), count=2)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate_film(tmp_path_factory.mktemp("film"))


def test_the_volume_lies_over_the_ct_that_the_film_was_made_from(film, bundles, tmp_path):
    assert run(film, tmp_path / "out", bundles) == FILES
    image, truth = nibabel.load(tmp_path / "out" / "ct.nii.gz"), nibabel.load(film.parent / "ct.nii.gz")
    assert image.get_data_dtype() == np.int16
    assert nibabel.aff2axcodes(image.affine) == nibabel.aff2axcodes(truth.affine) == ("P", "I", "L")
    assert [int(image.header["qform_code"]), int(image.header["sform_code"])] == [1, 1]
    np.testing.assert_allclose(image.get_qform(), image.get_sform(), atol=1e-4)
    middle = image.affine @ [*((np.array(image.shape) - 1) / 2), 1.0]
    true_middle = truth.affine @ [*((np.array(truth.shape) - 1) / 2), 1.0]
    # The field is centred on the lungs as the film shows them: at most a shift within the film, never in depth.
    assert np.abs(middle - true_middle)[1] < 10.0
    assert np.abs(middle - true_middle).max() < 80.0
    volume = np.asarray(image.dataobj, dtype=float)
    lungs = [volume[tuple(_voxel(image.affine, side * 75.0, 10.0, 20.0))] for side in (1.0, -1.0)]
    assert lungs[1] > lungs[0] + 100.0  # the ball is at x = -75 mm from the middle: the patient's left


def _voxel(affine: np.ndarray, *from_middle_mm: float) -> np.ndarray:
    world = np.array([*(np.array(CENTER_MM) + from_middle_mm), 1.0])
    return np.rint(np.linalg.solve(affine, world))[:3].astype(int)


def test_the_report_holds_every_decision_and_the_preview_is_a_picture(film, bundles, tmp_path):
    names = run(film, tmp_path, bundles, samples=2, steps=2, seed=5)
    assert names == ["ct.nii.gz", "std.nii.gz", "preview.png", "report.html", "report.json"]
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["settings"] == {
        "steps": 2,
        "samples": 2,
        "mode": "mean",
        "members": 0,
        "seed": 5,
        "column": None,
        "stages": 2,
        "consistency": "auto",
        "full_size": False,
    }
    assert report["film_is_exact"]
    assert all(stage["film_error"][0] <= EXPLAINED for stage in report["stages"])
    assert [len(weights["sha256"]) for weights in report["weights"]] == [64, 64]
    assert "not for diagnosis" in report["notice"]
    assert str(tmp_path) not in json.dumps(report)
    preview = np.asarray(Image.open(tmp_path / "preview.png").convert("L"))
    assert preview.std() > 20.0
    std, image = (nibabel.load(tmp_path / name) for name in ("std.nii.gz", "ct.nii.gz"))
    np.testing.assert_array_equal(std.affine, image.affine)
    assert 0 < float(np.asarray(std.dataobj).mean()) < 500


def test_how_sure_it_is_is_written_without_any_sample_where_cts_are_bent(film, tmp_path):
    bundles, out = write_bundles(tmp_path / "bundles", count=2, atlas_cts=3), tmp_path / "out"
    with_std = ["ct.nii.gz", "std.nii.gz", "report.json"]
    assert run(film, out, bundles, format="nifti") == with_std
    assert json.loads((out / "report.json").read_text())["deviation"]["bent_cts"] == 3
    std, image = (nibabel.load(out / name) for name in ("std.nii.gz", "ct.nii.gz"))
    np.testing.assert_array_equal(std.affine, image.affine)
    assert np.asarray(std.dataobj).std() > 0
    assert run(film, tmp_path / "again", bundles, format="nifti", std=False) == ["ct.nii.gz", "report.json"]
    assert (tmp_path / "again" / "ct.nii.gz").read_bytes() == (out / "ct.nii.gz").read_bytes()


@pytest.mark.parametrize("change", [{"std": False}, {"mode": "sample", "steps": 1}])
def test_the_deviation_of_another_ct_does_not_stay_beside_a_new_one(change, film, tmp_path):
    bundles, out = write_bundles(tmp_path / "bundles", count=1, atlas_cts=3), tmp_path / "out"
    run(film, out, bundles, stages=1, format="nifti")
    assert run(film, out, bundles, stages=1, format="nifti", overwrite=True, **change) == ["ct.nii.gz", "report.json"]
    assert sorted(path.name for path in out.iterdir()) == ["ct.nii.gz", "report.json"]


def test_members_are_written_and_shown_and_those_of_another_ct_do_not_stay(film, tmp_path):
    bundles, out = write_bundles(tmp_path / "bundles", count=2, atlas_cts=3), tmp_path / "out"
    names = run(film, out, bundles, members=2, format="nifti,png")
    assert names == ["ct.nii.gz", "member_1.nii.gz", "member_2.nii.gz", "std.nii.gz", "preview.png", "report.json"]
    assert json.loads((out / "report.json").read_text())["settings"]["members"] == 2
    images = [nibabel.load(out / name) for name in names[:3]]
    for image in images[1:]:
        np.testing.assert_array_equal(image.affine, images[0].affine)
        assert 5.0 < np.abs(np.asarray(image.dataobj, float) - np.asarray(images[0].dataobj, float)).mean() < 500.0
    height = Image.open(out / "preview.png").height
    run(film, tmp_path / "itself", bundles, mode="member", seed=1, format="nifti")
    assert (tmp_path / "itself" / "ct.nii.gz").read_bytes() != (out / "ct.nii.gz").read_bytes()
    np.testing.assert_array_equal(nibabel.load(tmp_path / "itself" / "ct.nii.gz").dataobj, images[2].dataobj)
    assert run(film, out, bundles, members=1, format="nifti,png", overwrite=True)[1:3] == ["member_1.nii.gz", "std.nii.gz"]
    assert not (out / "member_2.nii.gz").exists()
    assert Image.open(out / "preview.png").height < height


def test_a_deviation_that_lies_there_alone_is_not_touched_unasked(film, bundles, tmp_path):
    (tmp_path / "std.nii.gz").write_bytes(b"mine")
    with pytest.raises(Failure, match=r"std\.nii\.gz"):
        run(film, tmp_path, bundles, stages=1, format="nifti", std=False)
    assert (tmp_path / "std.nii.gz").read_bytes() == b"mine"


def test_the_same_seed_gives_the_same_bytes(film, bundles, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run(film, tmp_path / name, bundles, format="nifti", mode="sample", steps=2, seed=seed, stages=1)
    first, again, other = ((tmp_path / name / "ct.nii.gz").read_bytes() for name in "abc")
    assert first == again
    assert first != other


def test_a_refused_film_weights_and_settings_leave_no_file(film, bundles, tmp_path):
    turned, output = tmp_path / "turned.png", tmp_path / "out"
    Image.fromarray(np.rot90(np.asarray(Image.open(REAL_FILM)), 2).copy()).save(turned)
    (tmp_path / "empty.png").touch()
    tries: dict[ExitCode, list[dict[str, Any]]] = {
        ExitCode.REFUSED: [{"film": turned, "accept": False}, {"lateral": str(REAL_FILM)}],
        ExitCode.UNREADABLE: [{"film": tmp_path / "empty.png"}, {"film": tmp_path / "none.png"}],
        ExitCode.WEIGHTS: [{"stages": 3}, {"bundles": str(tmp_path)}],
        ExitCode.OUT_OF_RESOURCES: [{"device": "cuda:99"}],
        ExitCode.CANNOT_WRITE: [{"output": tmp_path / "no" / "out"}, {"output": turned}],
        ExitCode.USAGE: [
            {"stages": 4},
            {"stages": 0},
            {"samples": 0},
            {"steps": 0},
            {"mode": "best"},
            {"mode": "member"},  # these weights hold no CTs
            {"mode": "member", "samples": 2},
            {"members": 1},
            {"members": -1},
            {"members": 17},
            {"format": "jpeg"},
            {"format": ","},
            {"view": "LL"},
            {"full_size": True},
        ],
    }
    for code, options in tries.items():
        for option in options:
            with pytest.raises(Failure) as failure:
                run(**{"film": film, "output": output, "bundles": bundles, **option})
            assert failure.value.exit_code == code, option
            assert len(str(failure.value)) < LONGEST_COMPLAINT
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty.png", "turned.png"]


def test_nothing_is_replaced_unasked(film, bundles, tmp_path):
    (tmp_path / "preview.png").write_bytes(b"mine")
    with pytest.raises(Failure, match="overwrite") as failure:
        run(film, tmp_path, bundles, stages=1)
    assert failure.value.exit_code == ExitCode.CANNOT_WRITE
    assert run(film, tmp_path, bundles, stages=1, overwrite=True) == FILES


#: One run in an interpreter of its own, so that limits and signals meet nobody else.
SCRIPT = """
import resource, signal, sys, warnings
warnings.simplefilter("ignore")
from xct_components.__main__ import main
import monai.bundle, monai.data, xct_components.bundle_io.parent_stages, xct_components.inferers.cascade
import xct_components.inferers.film_reading, xct_components.report
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs inherit a deaf ear to it
limit, size = sys.argv[1], int(sys.argv[2])
if limit == "RLIMIT_AS":  # on top of what the libraries have mapped
    size += int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(getattr(resource, limit), (size, size))
print("ready", flush=True)
sys.exit(main(sys.argv[3:]))
"""


def started(limit: str, size: int, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SCRIPT, limit, str(size), "generate", *arguments, "--accept"]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_full_disk_and_little_memory_are_one_line_and_nothing_on_the_disk(film, bundles, tmp_path):
    settings = ("--output", str(tmp_path / "out"), "--bundles", str(bundles), "--stages", "1")
    for limit, size, code, format_ in (
        ("RLIMIT_FSIZE", 600, ExitCode.CANNOT_WRITE, "nifti"),
        ("RLIMIT_FSIZE", 600, ExitCode.CANNOT_WRITE, "dicom"),
        ("RLIMIT_AS", 150 << 20, ExitCode.OUT_OF_RESOURCES, "nifti"),
    ):
        process = started(limit, size, str(film), *settings, "--format", format_)
        _, error = process.communicate()
        assert (process.returncode, error.count("\n")) == (code, 1), error
        assert list(tmp_path.iterdir()) == []


def test_an_interruption_leaves_nothing(film, bundles, tmp_path):
    output = tmp_path / "out"
    many = ("--samples", "1000", "--steps", "1000", "--stages", "2")
    process = started("RLIMIT_CORE", 0, str(film), "--output", str(output), "--bundles", str(bundles), *many)
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(1.0)  # in whichever part of the work that is
    process.send_signal(signal.SIGINT)
    _, error = process.communicate()
    assert process.returncode == ExitCode.INTERRUPTED, error
    assert list(tmp_path.iterdir()) == []

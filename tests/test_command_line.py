"""The command line writes what it says, or fails with one line, the documented exit code and nothing on the disk."""

from __future__ import annotations

import gzip
import inspect
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from pydicom.uid import generate_uid
from skimage.io import imread, imsave

from tests.data_layer.made_cts import PLACEMENTS, one_slice, write_dicom, write_itk, write_nifti
from xct_components.__main__ import main
from xct_components.data.simulate.chest_exposure import chest_exposure_for
from xct_components.failures import ExitCode
from xct_components.geometry import Beam, VolumeGrid
from xct_components.physics.attenuation import FILM_ENERGY_KEV
from xct_components.simulate_command import simulate

ROOT = Path(__file__).parent.parent
CT = ROOT / "tests" / "data" / "cip-ct-64.nrrd"
FILM = ROOT / "tests" / "data" / "films" / "00000001_000.png"
STRAIGHT = PLACEMENTS["as scanners do"]
SMALL = ("--rows", "32", "--cols", "32")
# Longest line of a failure: two lines of a terminal.
LONGEST_COMPLAINT = 320


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def assert_refused(code: int, expected: ExitCode, capsys: pytest.CaptureFixture[str], outputs: Path) -> str:
    """The documented code, one line on stderr, nothing on stdout or the disk; the line."""
    out, err = capsys.readouterr()
    assert code == expected
    assert out == ""
    assert len(err.splitlines()) == 1
    assert err.startswith("xct: ")
    assert len(err) < LONGEST_COMPLAINT
    assert files_in(outputs) == []
    return err


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    folder = tmp_path / "outputs"
    folder.mkdir()
    return folder


def empty_file(folder: Path) -> Path:
    path = folder / "ct.nii.gz"
    path.touch()
    return path


def empty_folder(folder: Path) -> Path:
    path = folder / "series"
    path.mkdir()
    return path


def truncated(folder: Path, write: Callable[[Path, np.ndarray], Path], name: str) -> Path:
    path = write(folder / name, STRAIGHT)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def text_file(folder: Path) -> Path:
    path = folder / "ct.nii.gz"
    path.write_text("not an image\n" * 100)
    return path


def damaged_gzip(folder: Path) -> Path:
    path = folder / "ct.nii.gz"
    path.write_bytes(gzip.compress(b"not a NIfTI file" * 100))
    return path


def picture(folder: Path) -> Path:
    path = folder / "chest.png"
    imsave(path, np.zeros((32, 32), np.uint8), check_contrast=False)
    return path


def dicom_film(folder: Path) -> Path:
    path = folder / "film.dcm"
    image = one_slice(np.zeros((32, 32), np.int16), Modality="DX", SeriesInstanceUID=generate_uid())
    image.save_as(path, enforce_file_format=True)
    return path


def coloured(folder: Path) -> Path:
    colours = np.zeros((8, 8, 8), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    return write_nifti(folder / "ct.nii.gz", STRAIGHT, colours)


def constant(folder: Path) -> Path:
    return write_nifti(folder / "ct.nii.gz", STRAIGHT, np.zeros((16, 16, 16), np.int16))


BAD_INPUTS: dict[str, tuple[Callable[[Path], Path], ExitCode, str]] = {
    "missing": (lambda folder: folder / "nowhere.nii.gz", ExitCode.UNREADABLE, "does not exist"),
    "empty file": (empty_file, ExitCode.UNREADABLE, "empty"),
    "empty folder": (empty_folder, ExitCode.UNREADABLE, "no DICOM"),
    "truncated NIfTI": (lambda folder: truncated(folder, write_nifti, "ct.nii.gz"), ExitCode.UNREADABLE, "truncated"),
    "truncated NRRD": (lambda folder: truncated(folder, write_itk, "ct.nrrd"), ExitCode.UNREADABLE, "truncated"),
    "text named NIfTI": (text_file, ExitCode.UNREADABLE, "named wrongly"),
    "gzip of something": (damaged_gzip, ExitCode.UNREADABLE, "named wrongly"),
    "picture": (picture, ExitCode.REFUSED, "picture"),
    "DICOM film": (dicom_film, ExitCode.REFUSED, "modality DX"),
    "colours": (coloured, ExitCode.REFUSED, "colours"),
    "constant volume": (constant, ExitCode.REFUSED, "no air"),
    "text": (lambda _: ROOT / "tests" / "data" / "README.md", ExitCode.REFUSED, "not a CT"),
    "lung labels": (lambda _: CT.with_name("cip-ct-64-lung-labels.nrrd"), ExitCode.REFUSED, "not a CT"),
}


@pytest.mark.parametrize("case", BAD_INPUTS)
def test_a_bad_input_is_one_line_and_its_exit_code(case, tmp_path, outputs, capsys):
    make, expected, reason = BAD_INPUTS[case]
    code = main(["simulate", str(make(tmp_path)), "--output", str(outputs / "film.png")])
    assert reason in assert_refused(code, expected, capsys, outputs)


BAD_OPTIONS: dict[str, tuple[list[str], str]] = {
    "misspelt option": (["--vew", "PA"], "did you mean --view?"),
    "unknown option": (["--wavelength", "3"], "--wavelength"),
    "left-over word": (["PA"], "PA"),
    "unknown view": (["--view", "OBLIQUE"], "view must be one of PA, AP, LATERAL"),
    "number that is none": (["--rows", "many"], "rows must be a whole number"),
    "no rows": (["--rows", "0"], "rows"),
    "broken pixel": (["--cols", "12.5"], "cols must be a whole number"),
    "negative field": (["--field_mm", "-3"], "field_mm must be positive"),
    "patient behind the detector": (["--source_to_patient_mm", "1900"], "source_to_patient_mm must lie between"),
    "source in the patient": (["--source_to_patient_mm", "40"], "source"),
    "energy": (["--energy_kev", "5000"], "energy_kev must lie within"),
    "footprint": (["--footprint", "round"], "footprint must be one of area, ray"),
    "film formation": (["--film_formation", "{noise:3}"], "settings must be among"),
    "series of a file": (["--series_uid", "1.2.3"], "leave it out"),
    "overwrite": (["--overwrite", "maybe"], "overwrite must be True or False"),
}


@pytest.mark.parametrize("case", BAD_OPTIONS)
def test_a_bad_option_is_an_error_of_usage(case, outputs, capsys):
    options, reason = BAD_OPTIONS[case]
    code = main(["simulate", str(CT), "--output", str(outputs / "film.png"), *options])
    assert reason in assert_refused(code, ExitCode.USAGE, capsys, outputs)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["simulate"], "ct"),
        (["simulate", str(CT)], "output"),
        (["simulate", str(CT), "--output", "film.jpg"], "output must end in .png"),
        (["simulate", str(CT), "--output", ".png"], "output must end in .png"),
        (["reconstruct", "film.png"], "unknown command 'reconstruct'"),
    ],
)
def test_a_command_without_what_it_needs_is_an_error_of_usage(arguments, reason, outputs, capsys, monkeypatch):
    monkeypatch.chdir(outputs)
    assert reason in assert_refused(main(arguments), ExitCode.USAGE, capsys, outputs)


def test_a_missing_folder_is_not_made_up(outputs, capsys):
    code = main(["simulate", str(CT), "--output", str(outputs / "nowhere" / "film.png")])
    assert "does not exist" in assert_refused(code, ExitCode.CANNOT_WRITE, capsys, outputs)


def test_a_file_in_place_of_the_folder_cannot_be_written_to(tmp_path, outputs, capsys):
    (tmp_path / "file").write_text("")
    code = main(["simulate", str(CT), "--output", str(tmp_path / "file" / "film.png")])
    assert_refused(code, ExitCode.CANNOT_WRITE, capsys, outputs)


def test_a_full_or_foreign_disk_is_one_line_too(outputs, capsys):
    code = main(["simulate", str(CT), "--output", "/proc/film.png", *SMALL])
    assert "/proc/film.png" in assert_refused(code, ExitCode.CANNOT_WRITE, capsys, outputs)


def test_nothing_is_replaced_unless_asked(outputs, capsys):
    film = outputs / "film.png"
    film.write_text("precious")
    arguments = ["simulate", str(CT), "--output", str(film), *SMALL]
    assert main(arguments) == ExitCode.CANNOT_WRITE
    assert film.read_text() == "precious"
    assert "--overwrite" in capsys.readouterr().err
    assert main([*arguments, "--overwrite"]) == ExitCode.OK
    assert imread(film).shape == (32, 32)


def test_a_json_of_another_film_is_not_replaced_either(outputs, capsys):
    assert main(["simulate", str(CT), "--output", str(outputs / "film.png"), *SMALL]) == ExitCode.OK
    assert main(["simulate", str(CT), "--output", str(outputs / "film.dcm"), *SMALL, "--view", "AP"]) == ExitCode.CANNOT_WRITE
    assert files_in(outputs) == ["film.json", "film.png"]


@pytest.mark.parametrize("name", ["film.nii", "ct.nii"])
def test_the_ct_is_never_replaced(name, tmp_path, capsys):
    ct = write_nifti(tmp_path / "ct.nii", STRAIGHT)
    before = ct.read_bytes()
    target = tmp_path / name
    if name != ct.name:
        target.symlink_to(ct)
    assert main(["simulate", str(ct), "--output", str(target), "--overwrite", *SMALL]) == ExitCode.CANNOT_WRITE
    assert ct.read_bytes() == before


def test_a_slice_of_the_ct_is_never_replaced(tmp_path, capsys):
    folder = write_dicom(tmp_path / "series", STRAIGHT)
    victim = sorted(folder.iterdir())[0].rename(folder / "slice.dcm")
    before = victim.read_bytes()
    assert main(["simulate", str(folder), "--output", str(victim), "--overwrite", *SMALL]) == ExitCode.CANNOT_WRITE
    assert victim.read_bytes() == before


def test_the_three_films_of_one_exposure_agree_and_share_a_json(outputs, capsys):
    for suffix in (".png", ".dcm", ".nii.gz"):
        assert main(["simulate", str(CT), "--view", "pa", "--output", str(outputs / f"film{suffix}"), *SMALL]) == ExitCode.OK
        assert capsys.readouterr().out.splitlines() == [str(outputs / f"film{suffix}"), str(outputs / "film.json")]
    assert files_in(outputs) == ["film.dcm", "film.json", "film.nii.gz", "film.png"]
    png, dcm = imread(outputs / "film.png"), pydicom.dcmread(outputs / "film.dcm")
    assert np.array_equal(png, dcm.pixel_array)
    black, white = json.loads((outputs / "film.json").read_text())["display"]["window"]
    values = nibabel.load(outputs / "film.nii.gz").get_fdata()[:, :, 0].T
    shown = ((values - black) / (white - black)).clip(0.0, 1.0) * 65535
    assert np.abs(shown - png).max() <= 0.51  # rounding, and float32


def test_the_json_tells_where_the_film_lies_and_nothing_about_folders(outputs, capsys):
    assert main(["simulate", str(CT), "--view", "LATERAL", "--output", str(outputs / "film.png"), *SMALL]) == ExitCode.OK
    text = (outputs / "film.json").read_text()
    geometry = json.loads(text)
    assert (geometry["schema"], geometry["view"]) == ("xct-film-geometry", "LL")
    beam, grid = Beam.from_json(geometry["beam"]), VolumeGrid.from_json(geometry["ct"]["grid"])
    assert (beam.detector.rows, grid.shape) == (32, (79, 64, 64))
    assert geometry["ct"]["name"] == CT.name
    assert str(ROOT) not in text
    assert capsys.readouterr().err.splitlines() == [f"xct: warning: {line}" for line in geometry["warnings"]]


def test_the_same_command_writes_the_same_bytes(tmp_path, capsys):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        options = [*SMALL, "--film_formation", "typical", "--seed", "7"]
        assert main(["simulate", str(CT), "--output", str(tmp_path / name / "film.dcm"), *options]) == ExitCode.OK
    for file in ("film.dcm", "film.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    assert json.loads((tmp_path / "a" / "film.json").read_text())["physics"]["seed"] == 7


def test_paths_are_taken_as_they_are(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_nifti(tmp_path / "2024,1.nii", STRAIGHT)
    assert main(["simulate", "2024,1.nii", "--output", "1e3 [x].png", *SMALL]) == ExitCode.OK
    assert files_in(tmp_path) == ["1e3 [x].json", "1e3 [x].png", "2024,1.nii"]


def test_the_demo_turns_a_real_film_into_a_ct_and_a_ct_into_films(outputs, capsys):
    folder = outputs / "demo"
    folder.mkdir()
    for name in ("pa.png", "pa.json"):
        (folder / name).write_text("of an earlier demo")
    assert main(["demo", str(FILM), str(CT), "--output", str(folder), "--stages", "1"]) == ExitCode.OK
    first = [str(folder / "ct_of_film" / name) for name in ("report.html", "preview.png")]
    assert capsys.readouterr().out.splitlines()[:2] == first
    names = [f"{view}{suffix}" for view in ("lateral", "pa") for suffix in (".json", ".nii.gz", ".png")]
    assert files_in(folder) == ["ct_of_film", *names, "radiographs.png"]
    volumes = ["ct.nii.gz", "member_1.nii.gz", "member_2.nii.gz"]
    assert files_in(folder / "ct_of_film") == [*volumes, "preview.png", "report.html", "report.json", "std.nii.gz"]
    for picture in (imread(folder / "radiographs.png"), imread(folder / "ct_of_film" / "preview.png")):
        assert min(picture.shape[:2]) > 1000
        assert float(picture[..., :3].std()) > 40.0  # films and slices, not an empty page


def test_an_unexpected_error_is_one_line_unless_a_traceback_is_asked_for(tmp_path, outputs, capsys, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()  # a relative path now leads nowhere
    arguments = ["simulate", str(CT), "--output", "film.png"]
    assert "unexpected FileNotFoundError" in assert_refused(main(arguments), ExitCode.UNEXPECTED, capsys, outputs)
    monkeypatch.setenv("XCT_TRACEBACK", "1")
    assert main(arguments) == ExitCode.UNEXPECTED
    assert "Traceback" in capsys.readouterr().err


def test_the_defaults_of_the_command_are_those_of_the_library():
    of_command, of_library = (
        {name: parameter.default for name, parameter in inspect.signature(function).parameters.items()}
        for function in (simulate, chest_exposure_for)
    )
    shared = {"rows", "cols", "field_mm", "source_to_detector_mm", "source_to_patient_mm"}
    assert {name: of_command[name] for name in shared} == {name: of_library[name] for name in shared}
    assert of_command["energy_kev"] == FILM_ENERGY_KEV


def test_a_reader_that_has_seen_enough_is_no_failure():
    command = [sys.executable, "-m", "xct_components", "generate", "--help"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.close()  # before Python has started
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert process.returncode == ExitCode.OK


def test_help_is_on_stdout_and_needs_no_heavy_library():
    code = "import sys; from xct_components.__main__ import main; rc = main(['simulate', '--help'])\n"
    code += "print(sorted({'torch', 'numpy', 'monai', 'itk', 'nibabel', 'pydicom'} & set(sys.modules))); sys.exit(rc)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (ExitCode.OK, "")
    assert done.stdout.splitlines()[-1] == "[]"
    for option in ("--view", "--output", "--field_mm", "--overwrite"):
        assert option in done.stdout


def test_the_process_returns_the_exit_code_and_says_one_line(tmp_path, outputs):
    ct = truncated(tmp_path, write_nifti, "ct.nii.gz")
    command = [sys.executable, "-m", "xct_components", "simulate", str(ct), "--output", str(outputs / "film.png")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (ExitCode.UNREADABLE, "")
    assert len(done.stderr.splitlines()) == 1
    assert files_in(outputs) == []


def test_ctrl_c_stops_without_a_trace(outputs, capsys):
    # A timer presses it: 20 ms after the start the work, which takes longer, is under way.
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        code = main(["simulate", str(CT), "--output", str(outputs / "film.png"), "--rows", "2048", "--cols", "2048"])
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
    assert "interrupted" in assert_refused(code, ExitCode.INTERRUPTED, capsys, outputs)

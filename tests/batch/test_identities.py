"""What names a patient goes into DICOM outputs and nowhere else; what a DICOM file says never becomes a path."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pydicom
import pytest

from tests.batch.mixed_folder import STRUCTURED_REPORT, write_object
from tests.batch.started_batch import ROOT
from tests.generate_runs import simulate_film
from tests.inferers.tiny_stages import write_bundles
from xct_components.failures import ExitCode
from xct_components.simulate_command import simulate

IDENTITY = {
    "PatientName": "Mustermann^Erika",
    "PatientID": "PID-4711-XYZ",
    "PatientBirthDate": "19640812",
    "AccessionNumber": "ACC998877",
    "OtherPatientNames": "Gabler^Erika",
    "ReferringPhysicianName": "Brinkmann^Klaus",
    "InstitutionName": "Schwarzwaldklinik",
    "StudyInstanceUID": "1.2.826.0.1.3680043.8.498.4711",
}
#: Pieces of them that no text may hold.
TELLING = ["mustermann", "erika", "4711", "19640812", "998877", "gabler", "brinkmann", "schwarzwald"]
HOSTILE = [
    "../../../escaped",
    "/tmp/xct-escaped",
    "..\\..\\escaped",
    "$(touch escaped)",
    "`touch escaped`",
    "| touch escaped",
    "<script>alert(1)</script>",
    "\x1b]0;escaped\x07",
    "a\r\n\r\nxct: 0 failed",
    "=HYPERLINK(escaped)",
]


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundles(tmp_path_factory.mktemp("bundles"), count=1)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated film as a DICOM DX file; its JSON stays behind."""
    folder = tmp_path_factory.mktemp("film")
    simulate_film(folder)
    simulate(str(folder / "ct.nii.gz"), output=str(folder / "dx.dcm"), rows=96, cols=96)
    return folder / "dx.dcm"


def altered(film: Path, path: Path, **attributes: Any) -> Path:
    """A copy with other attributes, valid or not."""
    before = pydicom.config.settings.writing_validation_mode
    pydicom.config.settings.writing_validation_mode = pydicom.config.IGNORE
    try:
        dataset = pydicom.dcmread(film)
        for name, value in attributes.items():
            setattr(dataset, name, value)
        dataset.save_as(path)
    finally:
        pydicom.config.settings.writing_validation_mode = before
    return path


def generated(films: Path, output: Path, bundles: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """The command as a shell runs it: loggers and warnings reach stderr as they do there."""
    settings = ("--bundles", str(bundles), "--stages", "1", "--accept", *options)
    command = [sys.executable, "-m", "xct_components", "generate", str(films), "--output", str(output), *settings]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    folder = output.parent / "cwd"
    folder.mkdir()
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.filterwarnings("ignore:Invalid value")
def test_no_text_names_a_patient(film, bundles, tmp_path):
    films = tmp_path / "in"
    films.mkdir()
    named = altered(film, films / "good.dcm", **IDENTITY)
    altered(film, films / "lateral.dcm", **IDENTITY, ViewPosition="LL")
    altered(film, films / "hand.dcm", **IDENTITY, BodyPartExamined="HAND", PhotometricInterpretation="RGB")
    altered(film, films / "odd.dcm", **{**IDENTITY, "StudyInstanceUID": "Mustermann^Erika", "PatientBirthDate": "Gabler"})
    (films / "cut.dcm").write_bytes(named.read_bytes()[:-4000])
    (films / "torn.dcm").write_bytes(named.read_bytes()[:900])
    write_object(films / "report.dcm", STRUCTURED_REPORT, "SR", **IDENTITY)
    done = generated(films, tmp_path / "out", bundles, "--format", "nifti,dicom")
    assert done.returncode == ExitCode.PARTIAL, done.stderr
    texts = {"stdout": done.stdout, "stderr": done.stderr} | texts_in(tmp_path / "out")
    assert {"summary.json", "summary.csv", "index.html", "good.dcm/report.json", "good.dcm/ct.nii.gz"} <= set(texts)
    assert [(name, word) for name, text in texts.items() for word in TELLING if word in text.lower()] == []
    assert pydicom.dcmread(tmp_path / "out" / "good.dcm" / "dicom" / "IM0001.dcm").PatientName == IDENTITY["PatientName"]


def texts_in(output: Path) -> dict[str, str]:
    """All that was written but the DICOM series, with its path."""
    files = [path for path in output.rglob("*") if path.is_file() and path.parent.name != "dicom"]
    contents = {path: gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes() for path in files}
    return {path.relative_to(output).as_posix(): f"{path} {data.decode('latin-1')}" for path, data in contents.items()}


@pytest.mark.filterwarnings("ignore:Invalid value", "ignore:The value length", "ignore:A value of type")
def test_hostile_names_stay_in_the_folder_and_in_their_line(film, bundles, tmp_path):
    (tmp_path / "in").mkdir()
    names = ("PatientName", "PatientID", "SeriesDescription", "StudyDescription")
    for number in range(0, len(HOSTILE), 5):
        words = HOSTILE[number : number + 5]
        tags = dict(zip(names, words, strict=False))
        altered(film, tmp_path / "in" / f"film{number}.dcm", **tags, StudyID=words[4], AccessionNumber=words[4])
    before = sorted(path for path in tmp_path.rglob("*"))
    done = generated(tmp_path / "in", tmp_path / "out", bundles, "--format", "nifti,dicom")
    assert done.returncode == ExitCode.OK, done.stderr
    outside = [path for path in tmp_path.rglob("*") if tmp_path / "out" not in path.parents and path not in before]
    assert sorted(outside) == [tmp_path / "cwd", tmp_path / "out"]
    assert list((tmp_path / "cwd").iterdir()) == []
    assert not Path("/tmp/xct-escaped").exists()
    folders = {path.relative_to(tmp_path / "out").parts[0] for path in (tmp_path / "out").rglob("*")}
    assert folders == {"film0.dcm", "film5.dcm", "index.html", "summary.csv", "summary.json"}
    texts = {"stdout": done.stdout, "stderr": done.stderr} | texts_in(tmp_path / "out")
    assert [name for name, text in texts.items() if "escaped" in text or "<script>alert" in text] == []
    assert [name for name, text in texts.items() if "\x1b" in text and not name.endswith(".gz")] == []

"""A study in, a series in the archive out: ``xct pacs`` and a real Orthanc, by both ways."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.network_namespace import own_network
from tests.pacs.orthanc_server import is_installed
from tests.pacs.round_trip import PATIENT
from xct_components.dicom.elements import SYNTHETIC

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    if not is_installed():
        pytest.skip("Orthanc is missing: make outside-tools (Debian: apt-get install orthanc orthanc-dicomweb)")
    namespace = own_network()
    if namespace is None:
        pytest.skip("no network namespaces here: unshare -n and unshare -rn both fail")
    folder = tmp_path_factory.mktemp("round_trip")
    finished = subprocess.run(
        [*namespace, sys.executable, "-m", "tests.pacs.round_trip", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    result: dict[str, Any] = json.loads(finished.stdout)
    return result


@pytest.mark.parametrize(("way", "images"), [("STOW-RS", 17), ("C-STORE", 16), ("folder", 16)])  # two samples have a map too
def test_a_study_goes_in_and_its_series_comes_back_pixel_by_pixel(way, images, done):
    run, archive = done["runs"][way], done["archive"][way]
    assert run["code"] == 0, run["err"]
    assert run["out"].startswith(f"stored {images} images of {SYNTHETIC!r}")
    assert (archive["kept"], archive["instances"]) == (images, images)
    assert archive["pixels_equal"]
    assert archive["headers_equal"]
    assert archive["descriptions"][0] == SYNTHETIC


def test_film_and_series_are_of_one_patient_and_study_and_every_run_is_a_series_of_its_own(done):
    archive = done["archive"]["C-STORE"]
    assert archive["modalities"] == ["CT", "CT", "CT", "DX", "OT"]  # the film, three runs, one of them with a map
    assert archive["patients"] == [f"{PATIENT['PatientName']}, {PATIENT['PatientID']}"]


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        (
            "two frontal",
            4,
            "2 films that may be the frontal one: 1 (PA, 1024 x 1024), 2 (AP, 1024 x 1024); choose by --instance",
        ),
        ("a number that no film has", 2, "1 (PA, 1024 x 1024), 2 (LL, 1024 x 1024); got 9"),
        ("thumbnail", 4, "film.dcm"),
        ("wrong password", 3, "XCT_PACS_USER"),
        ("no such study", 3, "has no such study"),
        ("wrong AE title", 7, "rejected the association"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_a_code(name, code, words, done):
    run = done["runs"][name]
    assert (run["code"], run["out"]) == (code, "")
    assert run["err"].count("\n") == 1
    assert words in run["err"]


def test_no_output_names_the_patient_and_nothing_stays_in_the_temporary_folder(done):
    said = json.dumps(done["runs"])
    for secret in (*PATIENT.values(), "Doe", "Jane", "2.25.", 'wrong"'):
        assert secret not in said
    assert done["left"] == []

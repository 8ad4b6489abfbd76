"""The MONAI Label app on the films of a real DICOMweb server, for those who are logged in; training on prepared CTs."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from pydicom.uid import UID

from tests.bundles.prepared_folder import prepared_folder
from tests.bundles.tiny_bundles import TINY_SIZE, copied_bundles
from tests.generate_runs import REAL_FILM, run
from tests.monailabel.label_visits import Visit, infer, put_label, train, visit
from tests.pacs.orthanc_server import PASSWORD, URL, USER, is_installed
from xct_components.bundle_io.parent_stages import WEIGHTS

PATIENT = {"PatientName": "Doe^Jane", "PatientID": "PID-4711", "AccessionNumber": "ACC-0815"}
#: Series -> modality and views of its images.
SERIES = {
    "2.25.11": ("DX", ["PA"]),
    "2.25.12": ("CR", ["LL", "PA"]),
    "2.25.13": ("DX", ["PA", "AP"]),
    "2.25.14": ("CT", ["PA"]),
}
CREDENTIALS = {"MONAI_LABEL_DICOMWEB_USERNAME": USER, "MONAI_LABEL_DICOMWEB_PASSWORD": PASSWORD}


def films(folder: Path) -> list[Path]:
    """The real film as images of four series; every image a little different."""
    paths = []
    for series, (modality, views) in SERIES.items():
        for number, view in enumerate(views, start=1):
            film = pydicom.dcmread(REAL_FILM.with_name("NIH_00000001_000_DX.dcm"))
            for keyword, value in {**PATIENT, "Modality": modality, "ViewPosition": view, "InstanceNumber": number}.items():
                setattr(film, keyword, value)
            film.SeriesInstanceUID, film.StudyInstanceUID = series, "2.25.1"
            film.SOPInstanceUID = film.file_meta.MediaStorageSOPInstanceUID = UID(f"{series}.{number}")
            paths.append(folder / f"{series}.{number}.dcm")
            film.save_as(paths[-1])
    return paths


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Visit:
    if not is_installed():
        pytest.skip("Orthanc is missing (Debian: apt-get install orthanc orthanc-dicomweb)")
    folder = tmp_path_factory.mktemp("served")
    bundles = copied_bundles(folder / "bundles")
    prepared = prepared_folder(folder / "prepared", TINY_SIZE.values())
    requests = [
        {"name": "info", "method": "GET", "path": "/info/"},
        *({"name": who, "method": "GET", "path": "/datastore/", "who": who} for who in ("nobody", "stranger", "forged")),
        infer("one.nii.gz", "xct_stage1", "2.25.11"),
        infer("frontal and lateral.nii.gz", "xct_stage1", "2.25.12"),
        infer("two frontal", "xct_stage1", "2.25.13"),
        infer("path", "xct_stage1", "../../.."),
        infer("absent", "xct_stage1", "2.25.99"),
        infer("kept", "xct_stage1", "2.25.11", save_label=True),
        put_label("label", "2.25.11", str(folder / "one.nii.gz")),
        train("train", max_epochs=1, real_repeats=1),
    ]
    conf = {"bundles": str(bundles), "prepared": str(prepared)}
    return visit(folder, URL, requests, films=films(folder), conf=conf, environment=CREDENTIALS, login=True)


@pytest.mark.parametrize(("name", "film"), [("one", "2.25.11.1"), ("frontal and lateral", "2.25.12.2")])
def test_a_series_becomes_what_the_command_line_makes_of_its_frontal_film(served, tmp_path, name, film):
    run(served.folder / f"{film}.dcm", tmp_path, served.folder / "bundles", stages=1, format="nifti")
    ours, theirs = nibabel.load(served.folder / f"{name}.nii.gz"), nibabel.load(tmp_path / "ct.nii.gz")
    np.testing.assert_array_equal(np.asarray(ours.dataobj), np.asarray(theirs.dataobj))
    np.testing.assert_array_equal(ours.affine, theirs.affine)


def test_the_studies_are_the_cr_and_dx_series(served):
    assert served.json("info")["datastore"]["total"] == 3


@pytest.mark.parametrize(
    ("name", "status", "words"),
    [
        ("two frontal", 422, "the series has 2 images, 2 of which could be meant"),
        ("path", 400, "not a path"),
        ("absent", 404, "no such series"),
        ("kept", 400, "a CT cannot be saved as a label on a DICOMweb server"),
        ("label", 400, "a CT cannot be saved as a label on a DICOMweb server"),
    ],
)
def test_what_cannot_be_done_is_told_in_a_line(served, name, status, words):
    assert served.statuses[name] == status
    assert words in served.json(name)["detail"]


def test_only_those_who_are_logged_in_and_have_a_role_are_let_in(served):
    assert [served.statuses[who] for who in ("nobody", "forged", "stranger")] == [401, 401, 403]
    assert served.statuses["info"] == 200


def test_training_leaves_the_served_weights_alone(served):
    trained = served.json("train")
    assert served.statuses["train"] == 200
    assert 0.0 < trained["metrics"]["val_rmse_hu"] < 1000.0
    assert Path(trained["weights"]) == served.folder / "app" / "model" / "xct_stage1" / "model.pt"
    own, bundle = Path(trained["weights"]).read_bytes(), (served.folder / "bundles" / "stage1" / WEIGHTS).read_bytes()
    assert own != bundle
    assert sorted(path.name for path in (served.folder / "bundles" / "stage1" / WEIGHTS).parent.iterdir()) == ["model.pt"]


def test_the_log_names_no_patient_and_no_password(served):
    log = (served.folder / "server.log").read_text(errors="replace")
    assert [word for word in (*PATIENT.values(), "Doe", PASSWORD) if word in log] == []

"""The MONAI Label app, by its real server, without a network: what a client gets is what the command line makes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from tests.bundles.tiny_bundles import copied_bundles
from tests.generate_runs import REAL_FILM, run, simulate_film
from tests.monailabel.label_visits import Visit, infer, put_label, train, visit

DICOM_FILM = REAL_FILM.with_name("NIH_00000001_000_DX.dcm")
#: Rounding a coarse volume to whole HU on its way through a file moves the next stage's by a few.
ROUNDING_HU = 10
MODELS = ["xct_stage1", "xct_stage2", "xct_stage3", "xct_cascade"]
#: What a client asks for; the cascade's own settings are all other than their defaults.
SETTINGS: dict[str, dict[str, Any]] = {model: {} for model in MODELS}
SETTINGS["xct_cascade"] = {"stages": 2, "mode": "sample", "seed": 5, "steps": 2}
STUDIES = ["film.nii.gz", "film.json", DICOM_FILM.name, REAL_FILM.name]
#: What a browser asks before a page of another origin may train or delete.
OF_A_WEB_PAGE = {"Origin": "https://elsewhere.example", "Access-Control-Request-Method": "DELETE"}
#: MONAI would run this, if it came to be the value of a setting.
CODE = '$__import__("os").system("touch /tmp/xct-label-test-was-run")'


def requests(folder: Path) -> list[dict[str, Any]]:
    """All that a client does; answers of earlier requests are inputs of later ones."""
    volume = str(folder / "xct_stage1.nii.gz")
    return [
        {"name": "info", "method": "GET", "path": "/info/"},
        {"name": "web page", "method": "OPTIONS", "path": "/info/", "headers": OF_A_WEB_PAGE},
        *(infer(f"{model}.nii.gz", model, "film", **SETTINGS[model]) for model in MODELS),
        infer("from coarse.nii.gz", "xct_stage2", "film", files={"label": volume}),
        infer("upload.nii.gz", "xct_stage1", files={"file": str(DICOM_FILM)}),
        infer("upload of a CT", "xct_stage1", files={"file": volume}),
        infer("nobody", "xct_stage1", "nobody"),
        infer("path", "xct_stage1", str(folder / "studies" / "film.nii.gz")),
        infer("misspelt", "xct_stage1", "film", sead=1),
        infer("code", "xct_stage1", "film", mode=CODE),
        infer("code as label", "xct_stage2", "film", label=CODE),
        train("no CTs"),
        train("code in training", max_epochs=CODE),
        *(put_label(f"label of {image}", image, volume) for image in ("film", DICOM_FILM.stem, REAL_FILM.stem)),
        train("own results"),
    ]


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copied_bundles(tmp_path_factory.mktemp("bundles"))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, bundles: Path) -> Visit:
    folder = tmp_path_factory.mktemp("served")
    studies = folder / "studies"
    studies.mkdir()
    simulate_film(folder)
    for name in STUDIES[:2]:
        shutil.move(folder / name, studies)
    for film in (DICOM_FILM, REAL_FILM):
        shutil.copy(film, studies)
    return visit(folder, str(studies), requests(folder), conf={"bundles": str(bundles)})


def read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    image = nibabel.load(path)
    return np.asarray(image.dataobj), image.affine


def assert_equal(volume: Path, expected: Path) -> None:
    for ours, theirs in zip(read(volume), read(expected), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(("model", "stages"), list(zip(MODELS, (1, 2, 3, 2), strict=True)))
def test_what_the_server_returns_is_what_the_command_line_makes(served, bundles, tmp_path, model, stages):
    """Voxels and affine, of a patient who stands far from the origin; hence millimetres, and left and right."""
    options = {"stages": stages, **SETTINGS[model]}
    run(served.folder / "studies" / "film.nii.gz", tmp_path, bundles, format="nifti", **options)
    assert served.statuses[f"{model}.nii.gz"] == 200
    assert_equal(served.folder / f"{model}.nii.gz", tmp_path / "ct.nii.gz")
    assert nibabel.aff2axcodes(read(tmp_path / "ct.nii.gz")[1]) == ("P", "I", "L")


def test_settings_reach_the_cascade(served):
    sample, mean = (read(served.folder / name)[0] for name in ("xct_cascade.nii.gz", "xct_stage2.nii.gz"))
    assert sample.shape == mean.shape
    assert (sample != mean).any()


def test_a_stage_goes_on_from_the_volume_that_is_uploaded(served):
    (refined, affine), (whole, other) = (read(served.folder / name) for name in ("from coarse.nii.gz", "xct_stage2.nii.gz"))
    np.testing.assert_array_equal(affine, other)
    assert np.abs(refined.astype(int) - whole).max() <= ROUNDING_HU


def test_an_uploaded_film_is_read_like_one_of_the_studies(served, bundles, tmp_path):
    run(DICOM_FILM, tmp_path, bundles, stages=1, format="nifti")
    assert_equal(served.folder / "upload.nii.gz", tmp_path / "ct.nii.gz")


def test_info_names_the_models_and_says_that_the_results_are_synthetic(served):
    info = served.json("info")
    assert sorted(info["models"]) == sorted(MODELS)
    assert all("not for diagnosis" in model["description"] for model in info["models"].values())
    assert sorted(info["trainers"]) == MODELS[:3]
    assert info["datastore"]["total"] == 3


@pytest.mark.parametrize(
    ("name", "status", "words"),
    [
        ("upload of a CT", 422, "a CT is no film"),
        ("nobody", 404, "no image of the studies"),
        ("path", 400, "not a path"),
        ("misspelt", 400, "no such setting: sead; there are mode, steps, seed, view, accept"),
        ("code", 400, "mode must be one of mean, sample"),
        ("code as label", 400, "label must be uploaded"),
        ("code in training", 400, "max_epochs must be a whole number"),
        ("no CTs", 400, "at least 3 CTs"),
        ("own results", 422, "synthetic CT: no truth to train on"),
    ],
)
def test_what_cannot_be_done_is_told_in_a_line(served, name, status, words):
    assert served.statuses[name] == status
    assert words in served.json(name)["detail"]


def test_web_pages_of_others_may_not_talk_to_the_server(served):
    assert served.statuses["web page"] == 400
    assert b"Disallowed CORS origin" in (served.folder / "web page").read_bytes()


def test_nothing_a_client_wrote_is_run_as_code(served):
    assert not Path("/tmp/xct-label-test-was-run").exists()
    assert served.statuses["code"] == served.statuses["code as label"] == 400


def test_only_what_the_document_names_is_written_into_the_studies(served):
    """docs/monailabel.md lists it."""
    studies = served.folder / "studies"
    written = {str(path.relative_to(studies)) for path in studies.rglob("*") if path.is_file()} - set(STUDIES)
    labels = {f"labels/final/{name}.nii.gz" for name in ("film", DICOM_FILM.stem, REAL_FILM.stem)}
    assert written == {"datastore_v2.json", ".lock"} | labels


def test_no_film_and_no_volume_stays_in_the_temporary_folder(served):
    left = [path for path in (served.folder / "tmp").iterdir() if path.name.startswith(("tmp", "xct-label"))]
    assert [path.name for path in left if path.suffix != ".json"] == []  # MONAI Label's logging settings


def test_a_server_with_damaged_weights_does_not_start(served, bundles, tmp_path):
    damaged = tmp_path / "bundles"
    shutil.copytree(bundles, damaged)
    (damaged / "stage2" / "models" / "model.pt").write_bytes(b"damaged")
    (tmp_path / "visit").mkdir()
    with pytest.raises(AssertionError, match="the bundles cannot be served"):
        visit(tmp_path / "visit", str(tmp_path), [], conf={"bundles": str(damaged)})

"""What the MONAI Deploy app does with a folder of films, without the SDK; with it, if it is installed here."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pydicom
import pytest

from tests.generate_runs import REAL_FILM
from tests.inferers.tiny_stages import write_bundles
from xct_components.cascade import UnifiedHybridViTCascade
from xct_components.failures import Failure, RefusedInput, UnreadableInput

FOLDER = Path(__file__).parent.parent.parent / "deploy"
DICOM_FILM = REAL_FILM.with_name("NIH_00000001_000_DX.dcm")


@pytest.fixture(scope="module")
def film_series() -> ModuleType:
    """deploy/film_series.py; the folder is no package, as an application package of the SDK is none."""
    spec = importlib.util.spec_from_file_location("film_series", FOLDER / "film_series.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def cascade(tmp_path_factory: pytest.TempPathFactory) -> UnifiedHybridViTCascade:
    return UnifiedHybridViTCascade.from_pretrained(write_bundles(tmp_path_factory.mktemp("bundles"), count=1), stages=1)


def write_film(path: Path, *, modality: str = "DX", upside_down: bool = False) -> Path:
    film = pydicom.dcmread(DICOM_FILM)
    film.Modality = modality
    if upside_down:
        film.PixelData = film.pixel_array[::-1].tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    film.save_as(path)
    return path


def test_the_films_are_the_cr_and_dx_files_at_any_depth(film_series, tmp_path):
    films = [write_film(tmp_path / "a" / "b" / "one", modality="CR"), write_film(tmp_path / "two.dcm")]
    write_film(tmp_path / "ct.dcm", modality="CT")
    (tmp_path / "notes.txt").write_text("no film")
    assert film_series.films_in(tmp_path) == films


def test_a_folder_without_films_is_told_of(film_series, tmp_path):
    write_film(tmp_path / "ct.dcm", modality="CT")
    with pytest.raises(UnreadableInput, match="no file below it has the modality CR or DX"):
        film_series.films_in(tmp_path)


def test_every_film_becomes_a_series_in_its_own_study(film_series, cascade, tmp_path):
    (folder,) = film_series.write_series([DICOM_FILM], tmp_path, cascade)
    assert folder == tmp_path / "1"
    assert sorted(path.name for path in folder.iterdir()) == ["dicom", "preview.png", "report.json"]
    film, first = pydicom.dcmread(DICOM_FILM), pydicom.dcmread(folder / "dicom" / "IM0001.dcm")
    assert (first.PatientID, first.StudyInstanceUID) == (film.PatientID, film.StudyInstanceUID)
    assert first.Modality == "CT"


def test_a_refused_film_does_not_stop_the_others_and_is_told_of_by_number(film_series, cascade, tmp_path):
    films = [write_film(tmp_path / "in" / "Doe_Jane.dcm", upside_down=True), DICOM_FILM]
    with pytest.raises(Failure, match=r"1 of 2 films became a CT; film 1: it ") as caught:
        film_series.write_series(films, tmp_path / "out", cascade)
    assert "Doe" not in str(caught.value)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["2"]


def test_one_refused_film_is_its_own_reason(film_series, cascade, tmp_path):
    with pytest.raises(RefusedInput):
        film_series.write_series([write_film(tmp_path / "film.dcm", upside_down=True)], tmp_path / "out", cascade)


@pytest.mark.skipif(importlib.util.find_spec("holoscan") is None, reason="the SDK is missing: docs/deploy.md installs it")
def test_the_application_writes_what_the_functions_write(tmp_path, monkeypatch):
    write_film(tmp_path / "in" / "film.dcm")
    monkeypatch.setenv("XCT_BUNDLES", str(write_bundles(tmp_path / "bundles", count=1)))
    monkeypatch.setenv("XCT_STAGES", "1")
    command = [sys.executable, str(FOLDER / "app.py"), "-i", str(tmp_path / "in"), "-o", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "out" / "1" / "dicom").iterdir())) == 16

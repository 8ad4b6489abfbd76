"""What other people's tools say of our files: David Clunie's validators (dicom3tools) and Chris Rorden's dcm2niix.

They are Debian packages: ``apt-get install dicom3tools dcm2niix``. Where one is missing its tests are skipped, and say so.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest

from tests.dicom.made_series import DICOM_FILM, GRIDS, PNG_FILM, film_with, hu_on, same_voxels, the_run
from xct_components.dicom.ct_writer import ct_slices, write_ct_series
from xct_components.dicom.source_film import source_film
from xct_components.dicom.uncertainty_writer import write_uncertainty_map

#: All that the validator of 2022 may say against us: it does not know (0008,001C) Synthetic Data, which is younger.
ALLOWED = "Error - Attribute with an even group number is not a recognized standard attribute - (0x0008,0x001c)"
FILMS = ("picture", "DICOM", "odd DICOM")


def needs(tool: str, package: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(tool) is None, reason=f"{tool} is missing: apt-get install {package}")


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    """Of each kind of film the CT's files and, last, the map."""
    folder = tmp_path_factory.mktemp("outputs")
    odd = {"SpecificCharacterSet": "ISO_IR 100", "PatientName": "Müller^Jörg", "PatientID": "4711", "PatientAge": "058Y"}
    odd |= dict.fromkeys(("PatientBirthDate", "StudyDate", "StudyTime", "StudyID", "AccessionNumber"), "")
    films = dict(zip(FILMS, (PNG_FILM, DICOM_FILM, film_with(folder, **odd, ReferringPhysicianName="Roe^R")), strict=True))
    return {kind: write_both(folder / kind.replace(" ", "_"), film) for kind, film in films.items()}


def write_both(folder: Path, film: Path) -> list[Path]:
    pytest.importorskip("highdicom", reason="highdicom comes with the extra [dicom]")
    folder.mkdir()
    grid, source, run_ = GRIDS["chest"], source_film(film), the_run()
    slices = ct_slices(hu_on(grid), grid, source, run_)
    write_uncertainty_map(folder / "std.dcm", hu_on(grid).abs(), grid, slices, source, run_)
    return [*write_ct_series(folder, slices), folder / "std.dcm"]


@needs("dciodvfy", "dicom3tools")
@pytest.mark.parametrize("kind", FILMS)
def test_dciodvfy_finds_no_error_but_the_tag_that_it_does_not_know(kind, outputs):
    for path in (outputs[kind][0], outputs[kind][-1]):
        errors = [line for line in run("dciodvfy", path).stdout.splitlines() if line.startswith("Error")]
        assert len(errors) == 1
        assert errors[0].startswith(ALLOWED)


@needs("dciodvfy", "dicom3tools")
@pytest.mark.parametrize("kind", FILMS)
def test_dciodvfy_finds_no_error_at_all_without_that_tag(kind, outputs, tmp_path):
    for path in (outputs[kind][0], outputs[kind][-1]):
        image = pydicom.dcmread(path)
        del image.SyntheticData
        image.save_as(tmp_path / "image.dcm")
        said = run("dciodvfy", tmp_path / "image.dcm")
        assert (said.returncode, "Error" in said.stdout) == (0, False), said.stdout


@needs("dciodvfy", "dicom3tools")
def test_dciodvfy_would_have_found_something(outputs, tmp_path):
    image = pydicom.dcmread(outputs["picture"][0])
    del image.SyntheticData, image.RescaleIntercept, image.PatientID
    image.save_as(tmp_path / "image.dcm")
    said = run("dciodvfy", tmp_path / "image.dcm").stdout
    assert "Element=<RescaleIntercept>" in said
    assert "Element=<PatientID>" in said


@needs("dcentvfy", "dicom3tools")
@pytest.mark.parametrize("kind", FILMS)
def test_dcentvfy_finds_one_patient_and_one_study(kind, outputs):
    said = run("dcentvfy", *outputs[kind])
    assert (said.returncode, said.stdout) == (0, "")


@needs("dcentvfy", "dicom3tools")
def test_the_film_itself_belongs_to_that_study(outputs):
    film = outputs["odd DICOM"][0].parents[1] / "film.dcm"
    said = run("dcentvfy", film, *outputs["odd DICOM"])
    assert (said.returncode, said.stdout) == (0, "")


@needs("dcentvfy", "dicom3tools")
def test_dcentvfy_would_have_found_another_patient(outputs, tmp_path):
    image = pydicom.dcmread(outputs["picture"][0])
    image.PatientName, image.SOPInstanceUID = "Doe^Jane", "1.2.3.4"
    image.save_as(tmp_path / "image.dcm")
    assert "Element=<PatientName>" in run("dcentvfy", tmp_path / "image.dcm", *outputs["picture"]).stdout


@needs("dcm2niix", "dcm2niix")
def test_dcm2niix_makes_the_same_nifti_of_it_unless_told_to_skip_what_is_derived(outputs, tmp_path):
    (tmp_path / "skipped").mkdir()
    for path in outputs["picture"][:-1]:
        shutil.copy(path, tmp_path)
    run("dcm2niix", "-i", "y", "-o", tmp_path / "skipped", tmp_path)
    assert list((tmp_path / "skipped").iterdir()) == []
    run("dcm2niix", "-z", "n", "-b", "n", "-f", "ct", "-o", tmp_path, tmp_path)
    image = nibabel.load(tmp_path / "ct.nii")
    assert same_voxels(np.asarray(image.dataobj), image.affine, GRIDS["chest"])

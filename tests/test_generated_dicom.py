"""``xct generate --format dicom``: the same volume as the NIfTI, of the film's patient, whole or not at all."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest

from tests.generate_runs import REAL_FILM, run, simulate_film
from tests.inferers.tiny_stages import write_bundles
from xct_components.cascade import UnifiedHybridViTCascade
from xct_components.data.ct.reading import read_ct
from xct_components.failures import CannotWrite, Failure, UnreadableInput
from xct_components.generated_files import free_targets, write_generated

DICOM_FILM = REAL_FILM.with_name("NIH_00000001_000_DX.dcm")


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundles(tmp_path_factory.mktemp("bundles"), count=2)


def read_series(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """HU by (slice, row, column) and their affine, RAS mm."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        hu, grid = read_ct(folder)
    return hu[0, 0].numpy(), grid.affine.numpy()


def test_the_dicom_series_is_the_nifti_slice_by_slice(bundles, tmp_path):
    out = tmp_path / "out"
    names = run(simulate_film(tmp_path), out, bundles, samples=2, steps=2, format="nifti,dicom")
    assert names == ["ct.nii.gz", "std.nii.gz", "dicom", "dicom_std.dcm", "report.json"]
    assert sorted(path.name for path in (out / "dicom").iterdir()) == [f"IM{n:04d}.dcm" for n in range(1, 33)]
    image = nibabel.load(out / "ct.nii.gz")
    hu, affine = read_series(out / "dicom")
    to_nifti = np.rint(np.linalg.inv(image.affine) @ affine)  # whole steps from one lattice to the other
    np.testing.assert_allclose(image.affine @ to_nifti, affine, atol=1e-3)  # the NIfTI header is float32
    indices = np.moveaxis(np.indices(hu.shape), 0, -1).reshape(-1, 3) @ to_nifti[:3, :3].T + to_nifti[:3, 3]
    np.testing.assert_array_equal(np.asarray(image.dataobj)[tuple(indices.astype(int).T)], hu.ravel())
    std = pydicom.dcmread(out / "dicom_std.dcm")
    first = pydicom.dcmread(out / "dicom" / "IM0001.dcm")
    assert std.FrameOfReferenceUID == first.FrameOfReferenceUID
    in_nifti = float(np.asarray(nibabel.load(out / "std.nii.gz").dataobj).mean())
    assert float(std.pixel_array.mean()) == pytest.approx(in_nifti, abs=0.5)  # the NIfTI is rounded to whole HU
    assert json.loads((out / "report.json").read_text())["dicom"] == {
        "series_instance_uid": first.SeriesInstanceUID,
        "frame_of_reference_uid": first.FrameOfReferenceUID,
        "patient_and_study": "anonymous",
    }


def test_the_series_of_a_member_says_whose_anatomy_it_shows(tmp_path):
    bundles, film = write_bundles(tmp_path / "bundles", count=1, atlas_cts=3), simulate_film(tmp_path)
    said = {}
    for mode in ("mean", "member"):
        run(film, tmp_path / mode, bundles, mode=mode, stages=1, format="dicom")
        said[mode] = str(pydicom.dcmread(tmp_path / mode / "dicom" / "IM0001.dcm").DerivationDescription)
    assert "another patient" in said["member"]
    assert "another patient" not in said["mean"]


def test_the_series_of_a_dicom_film_goes_into_its_study_and_is_new_every_time(bundles, tmp_path):
    images = []
    for name in ("a", "b"):
        assert run(DICOM_FILM, tmp_path / name, bundles, stages=1, format="dicom") == ["dicom", "report.json"]
        images.append(pydicom.dcmread(tmp_path / name / "dicom" / "IM0001.dcm"))
    film, weights = pydicom.dcmread(DICOM_FILM), json.loads((tmp_path / "a" / "report.json").read_text())["weights"]
    for image in images:
        assert (image.PatientID, image.StudyInstanceUID) == (film.PatientID, film.StudyInstanceUID)
        assert image.SourceImageSequence[0].ReferencedSOPInstanceUID == film.SOPInstanceUID
        assert weights[0]["sha256"] in image.DerivationDescription
        assert image.DerivationDescription.count("seed 0") == 1
    assert images[0].SeriesInstanceUID != images[1].SeriesInstanceUID


def test_a_series_is_replaced_as_a_whole_and_other_files_never(bundles, tmp_path):
    (tmp_path / "dicom").mkdir()
    (tmp_path / "dicom" / "IM0099.dcm").write_bytes(b"of a longer series")
    with pytest.raises(Failure, match="overwrite"):
        run(REAL_FILM, tmp_path, bundles, stages=1, format="dicom")
    run(REAL_FILM, tmp_path, bundles, stages=1, format="dicom", overwrite=True)
    assert len(list((tmp_path / "dicom").iterdir())) == 16
    (tmp_path / "dicom" / "notes.txt").write_text("mine")
    with pytest.raises(CannotWrite, match=r"notes\.txt"):
        run(REAL_FILM, tmp_path, bundles, stages=1, format="dicom", overwrite=True)
    assert len(list((tmp_path / "dicom").iterdir())) == 17


def test_a_film_that_changes_under_way_is_nobodys(bundles, tmp_path):
    moving = tmp_path / "film.png"
    moving.write_bytes(REAL_FILM.read_bytes())
    ct = UnifiedHybridViTCascade.from_pretrained(bundles, stages=1).generate(moving)
    moving.write_bytes(REAL_FILM.with_name("00027426_000.png").read_bytes())
    targets = free_targets(tmp_path / "out", ["dicom"], with_std=False, overwrite=False)
    with pytest.raises(UnreadableInput, match="changed"):
        write_generated(targets, ct, moving)
    assert not (tmp_path / "out").exists()

"""A series that leaves as DICOM is, for every reader, the volume it was made of; and says everywhere that it is synthetic."""

from __future__ import annotations

from pathlib import Path

import itk
import numpy as np
import pydicom
import pytest
import torch
from pydicom.uid import UID, CTImageStorage

from tests.dicom.made_series import DICOM_FILM, GRIDS, PNG_FILM, WEIGHTS, a_run, hu_on, same_voxels, the_run, write_series
from xct_components.data.ct.reading import read_ct
from xct_components.dicom.ct_writer import ct_slices
from xct_components.dicom.source_film import source_film
from xct_components.geometry import VolumeGrid

RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def read_by_itk(files: list[Path]) -> tuple[np.ndarray, np.ndarray]:
    """HU (i, j, k) and their affine, LPS mm."""
    image = itk.imread([str(path) for path in files])
    lps = np.eye(4)
    lps[:3, :3] = np.asarray(image.GetDirection()) * np.asarray(image.GetSpacing())
    lps[:3, 3] = np.asarray(image.GetOrigin())
    return itk.array_from_image(image).T, lps


@pytest.mark.parametrize("name", GRIDS)
def test_itk_finds_every_voxel_where_the_nifti_has_it(name, tmp_path):
    # ITK wants slices along its own normal, hence last file first.
    values, lps = read_by_itk(write_series(tmp_path / "ct", GRIDS[name])[::-1])
    assert same_voxels(values, RAS_FROM_LPS @ lps, GRIDS[name])


@pytest.mark.parametrize("name", GRIDS)
def test_highdicom_finds_every_voxel_where_the_nifti_has_it(name, tmp_path):
    highdicom = pytest.importorskip("highdicom", reason="highdicom comes with the extra [dicom]")
    files = write_series(tmp_path / "ct", GRIDS[name])
    volume = highdicom.get_volume_from_series([pydicom.dcmread(path) for path in files])
    assert same_voxels(volume.array, RAS_FROM_LPS @ volume.affine, GRIDS[name])


@pytest.mark.parametrize("name", GRIDS)
def test_our_own_reader_takes_it_for_the_same_ct(name, tmp_path):
    write_series(tmp_path / "ct", GRIDS[name])
    hu, grid = read_ct(tmp_path / "ct")
    assert same_voxels(hu[0, 0].numpy(), grid.affine.numpy(), GRIDS[name])


def test_the_patients_left_is_left_and_the_head_comes_first(tmp_path):
    grid = VolumeGrid.chest((8, 8, 8), 40.0)
    hu = torch.full((1, 8, 8, 8), -1000.0)
    anterior, superior, left = 1, 1, 7
    hu[0, anterior, superior, left] = 500.0
    slices = ct_slices(hu, grid, source_film(PNG_FILM), the_run())
    (found,) = [image for image in slices if image.pixel_array.max() == 500]
    row, col = np.unravel_index(found.pixel_array.argmax(), found.pixel_array.shape)
    assert found.InstanceNumber == 2
    assert (row, col) == (1, 7)  # near the picture's top: anterior; at its right edge: the patient's left
    assert [float(cosine) for cosine in found.ImageOrientationPatient] == [1, 0, 0, 0, 1, 0]
    x_mm, y_mm, z_mm = (float(mm) for mm in found.ImagePositionPatient)
    place = (x_mm + col * 40.0, y_mm + row * 40.0, z_mm)
    assert place == (140.0, -100.0, 100.0)  # DICOM's +x is left, +y posterior, +z superior
    heights = [float(image.ImagePositionPatient[2]) for image in slices]
    assert heights == sorted(heights, reverse=True)


def test_rows_and_columns_have_their_own_spacing(tmp_path):
    image = pydicom.dcmread(write_series(tmp_path / "ct")[0])
    assert [float(mm) for mm in image.PixelSpacing] == [13.0, 20.0]
    assert (image.Rows, image.Columns, float(image.SliceThickness)) == (7, 5, 16.5)


def test_stored_values_are_the_hu_themselves_over_the_whole_range():
    hu = torch.tensor([-1024.0, -0.4, 0.6, 4000.5, 40000.0, -40000.0]).reshape(1, 1, 1, 6)
    (image,) = ct_slices(hu, VolumeGrid.chest((1, 1, 6), 1.0), source_film(PNG_FILM), the_run())
    assert image.pixel_array.tolist() == [[-1024, 0, 1, 4000, 32767, -32768]]  # halves go to the even number
    assert (float(image.RescaleIntercept), float(image.RescaleSlope), image.RescaleType) == (0.0, 1.0, "HU")


def test_it_says_that_it_is_synthetic_wherever_a_viewer_may_look(tmp_path):
    for path in write_series(tmp_path / "ct"):
        image = pydicom.dcmread(path)
        assert list(image.ImageType) == ["DERIVED", "SECONDARY", "AXIAL"]
        assert (image.SyntheticData, image.BurnedInAnnotation) == ("YES", "NO")
        assert image.SeriesDescription == "SYNTHETIC from CXR - NOT FOR DIAGNOSIS"
        assert "NOT FOR DIAGNOSIS" in image.ImageComments
        assert image.DerivationCodeSequence[0].CodeMeaning == "Artificial Intelligence"
        purposes = [item.PurposeOfReferenceCodeSequence[0].CodeMeaning for item in image.ContributingEquipmentSequence]
        assert purposes[-1] == "Synthesizing Equipment"
        assert (image.KVP, image.AcquisitionNumber, image.PatientPosition) == (None, None, "")


def test_the_weights_are_named_by_their_hash(tmp_path):
    image = pydicom.dcmread(write_series(tmp_path / "ct")[0])
    assert image.SoftwareVersions[0] == "xct-components 0.1.0"
    for version, (stage, sha256) in zip(image.SoftwareVersions[1:], WEIGHTS, strict=True):
        name, digest = version.split()
        assert name == stage
        assert sha256.startswith(digest)
        assert f"Weights {stage} SHA-256 {sha256}" in image.DerivationDescription


def test_the_series_lies_in_the_films_study_and_points_at_the_film(tmp_path):
    film, image = pydicom.dcmread(DICOM_FILM), pydicom.dcmread(write_series(tmp_path / "ct")[0])
    for keyword in ("PatientID", "PatientSex", "StudyInstanceUID", "StudyDescription"):
        assert image[keyword].value == film[keyword].value
    (source,) = image.SourceImageSequence
    assert (source.ReferencedSOPClassUID, source.ReferencedSOPInstanceUID) == (film.SOPClassUID, film.SOPInstanceUID)
    assert image.SeriesInstanceUID != film.SeriesInstanceUID


def test_uids_are_valid_and_each_image_has_its_own(tmp_path):
    images = [pydicom.dcmread(path) for path in write_series(tmp_path / "ct")]
    assert len({image.SOPInstanceUID for image in images}) == len(images)
    for image in images:
        assert image.SOPClassUID == CTImageStorage
        assert image.SOPInstanceUID == image.file_meta.MediaStorageSOPInstanceUID
        for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
            assert UID(image[keyword].value).is_valid
    for keyword in ("SeriesInstanceUID", "FrameOfReferenceUID", "StudyInstanceUID"):
        assert len({image[keyword].value for image in images}) == 1


def test_every_run_has_its_own_series_of_the_same_patient(tmp_path):
    first, second = (pydicom.dcmread(write_series(tmp_path / name, run=a_run())[0]) for name in ("a", "b"))
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        assert first[keyword].value != second[keyword].value
    for keyword in ("PatientID", "StudyInstanceUID"):
        assert first[keyword].value == second[keyword].value


def test_a_run_that_is_named_writes_the_same_bytes_again(tmp_path):
    first, again = (write_series(tmp_path / name) for name in ("a", "b"))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in again]
    assert [path.name for path in first] == [f"IM{number:04d}.dcm" for number in range(1, 7)]


def test_another_volume_or_film_of_a_named_run_is_another_series():
    grid, film, run = GRIDS["chest"], source_film(DICOM_FILM), the_run()
    volumes = ((hu_on(grid), grid, film), (hu_on(grid) + 1, grid, film), (hu_on(grid), grid, source_film(PNG_FILM)))
    moved = (hu_on(grid), VolumeGrid.chest(grid.shape, grid.spacing_mm), film)
    series = {ct_slices(*volume, run)[0].SeriesInstanceUID for volume in (*volumes, moved)}
    assert len(series) == 4


def test_a_sheared_volume_is_refused():
    affine = GRIDS["chest"].affine
    affine[:3, 0] += 0.1 * affine[:3, 1]
    grid = VolumeGrid.from_affine(GRIDS["chest"].shape, affine)
    with pytest.raises(ValueError, match="perpendicular"):
        ct_slices(hu_on(grid), grid, source_film(PNG_FILM), the_run())

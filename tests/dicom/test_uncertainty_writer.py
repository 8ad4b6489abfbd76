"""The uncertainty map lies voxel on voxel over the CT series, in its frame of reference, of its patient."""

from __future__ import annotations

import logging
from datetime import datetime
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import UID, ParametricMapStorage
from torch import Tensor

from tests.dicom.made_series import DICOM_FILM, GRIDS, PNG_FILM, film_with, hu_on, the_run
from xct_components.dicom.ct_writer import ct_slices
from xct_components.dicom.source_film import source_film
from xct_components.dicom.uncertainty_writer import write_uncertainty_map
from xct_components.geometry import VolumeGrid

highdicom = pytest.importorskip("highdicom", reason="highdicom comes with the extra [dicom]")


def std_on(grid: VolumeGrid) -> Tensor:
    return hu_on(grid).abs() / 7.0  # broken numbers: nothing is rounded


def written(path: Path, name: str = "chest", film: Path = DICOM_FILM) -> tuple[pydicom.Dataset, list[pydicom.Dataset]]:
    """The map and the CT it belongs to."""
    grid, source = GRIDS[name], source_film(film)
    slices = ct_slices(hu_on(grid), grid, source, the_run())
    write_uncertainty_map(path, std_on(grid), grid, slices, source, the_run())
    return pydicom.dcmread(path), slices


@pytest.mark.parametrize("name", ["chest", "permuted", "oblique"])
def test_every_voxel_lies_over_that_of_the_ct(name, tmp_path):
    _, slices = written(tmp_path / "std.dcm", name)
    std = highdicom.imread(tmp_path / "std.dcm").get_volume(apply_real_world_transform=False)
    ct = highdicom.get_volume_from_series(slices)
    np.testing.assert_allclose(std.affine, ct.affine, atol=1e-4)
    # The CT holds what the map is made of: whole HU.
    np.testing.assert_array_equal(std.array, (np.abs(ct.array.astype(np.float32)) / np.float32(7.0)))


def test_it_shares_patient_study_and_frame_of_reference_with_the_ct_and_refers_to_it(tmp_path):
    std, slices = written(tmp_path / "std.dcm")
    for keyword in ("PatientID", "PatientName", "StudyInstanceUID", "StudyDescription", "FrameOfReferenceUID"):
        assert std[keyword].value == slices[0][keyword].value
    assert std.SOPClassUID == ParametricMapStorage
    assert std.SeriesInstanceUID != slices[0].SeriesInstanceUID
    referred = {item.ReferencedSOPInstanceUID for item in std.ReferencedSeriesSequence[0].ReferencedInstanceSequence}
    assert referred == {image.SOPInstanceUID for image in slices}
    assert all(UID(std[keyword].value).is_valid for keyword in ("SOPInstanceUID", "SeriesInstanceUID"))


def test_it_says_what_it_is_and_that_it_is_synthetic(tmp_path):
    std, _ = written(tmp_path / "std.dcm", film=PNG_FILM)
    assert (std.SyntheticData, std.ContentQualification, std.ImageType[0]) == ("YES", "RESEARCH", "DERIVED")
    assert "NOT FOR DIAGNOSIS" in std.SeriesDescription
    mapping = std.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0]
    assert mapping.MeasurementUnitsCodeSequence[0].CodeValue == "[hnsf'U]"
    assert (mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept) == (1.0, 0.0)
    assert std.PatientID.startswith("ANON-")


def test_a_named_run_writes_the_same_bytes_again(tmp_path):
    for name in ("a.dcm", "b.dcm"):
        written(tmp_path / name)
    assert (tmp_path / "a.dcm").read_bytes() == (tmp_path / "b.dcm").read_bytes()
    date = pydicom.dcmread(tmp_path / "a.dcm").ContentDate
    assert date == datetime(2026, 11, 22).strftime("%Y%m%d")


def test_nobody_reads_a_name_in_a_log(tmp_path, caplog):
    film = film_with(tmp_path, PatientName="Doe Jane without carets", PatientID="4711")
    with caplog.at_level(logging.DEBUG):
        std, _ = written(tmp_path / "std.dcm", film=film)
    assert std.PatientName == "Doe Jane without carets"
    assert "Doe" not in caplog.text
    assert "4711" not in caplog.text


def test_a_map_of_another_size_than_the_series_is_refused(tmp_path):
    grid, source = GRIDS["chest"], source_film(PNG_FILM)
    slices = ct_slices(hu_on(grid), grid, source, the_run())[1:]
    with pytest.raises(ValueError, match="slices must be those"):
        write_uncertainty_map(tmp_path / "std.dcm", std_on(grid), grid, slices, source, the_run())
    assert list(tmp_path.iterdir()) == []

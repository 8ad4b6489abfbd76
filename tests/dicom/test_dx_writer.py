"""A film that leaves as DICOM carries the same pixels, the true geometry, and says everywhere that it is simulated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.pixels.processing import apply_voi_lut
from pydicom.sr.codedict import codes
from pydicom.uid import UID, DigitalXRayImageStorageForPresentation

from xct_components.data.simulate.chest_exposure import ChestExposure
from xct_components.dicom.dx_writer import write_dx_film
from xct_components.geometry import ChestView, Detector, chest_beam_from_dicom, chest_cone_beam

# Decimal strings keep 10 digits.
DECIMAL_TOLERANCE = 1e-9
SHA256 = "ab" * 32
ISOCENTER_MM = (12.0, -30.0, -500.0)
VIEW_CODES = {
    "PA": codes.SCT.PosteroAnterior,
    "AP": codes.SCT.AnteroPosterior,
    "LL": codes.SCT.LeftLateral,
    "RL": codes.SCT.RightLateral,
}


def exposure_of(view: ChestView) -> ChestExposure:
    return ChestExposure(view, chest_cone_beam(view, Detector(30, 20, (0.7, 0.7)), isocenter_mm=ISOCENTER_MM), ISOCENTER_MM)


def pixels() -> np.ndarray:
    return (np.arange(600) * 109).reshape(30, 20).astype(np.uint16)


def written(path: Path, view: ChestView = "PA", sha256: str = SHA256, grey: np.ndarray | None = None) -> pydicom.Dataset:
    write_dx_film(path, pixels() if grey is None else grey, exposure_of(view), ct_sha256=sha256, description="60 keV")
    return pydicom.dcmread(path)


def test_the_pixels_come_back_unchanged_and_unwindowed(tmp_path):
    film = written(tmp_path / "film.dcm")
    assert np.array_equal(film.pixel_array, pixels())
    shown = apply_voi_lut(film.pixel_array, film)
    assert np.abs(shown - pixels()).max() < 1.0  # the window spans the whole range


@pytest.mark.parametrize("view", ["PA", "AP", "LL", "RL"])
def test_the_header_alone_gives_the_beam_back(view, tmp_path):
    film, exposure = written(tmp_path / "film.dcm", view), exposure_of(view)
    beam = chest_beam_from_dicom(film, isocenter_mm=ISOCENTER_MM)
    assert beam.detector.pitch_mm == pytest.approx(exposure.beam.detector.pitch_mm, abs=DECIMAL_TOLERANCE)
    assert beam.source_mm == pytest.approx(exposure.beam.source_mm)
    assert beam.row_direction == exposure.beam.row_direction
    assert float(film.EstimatedRadiographicMagnificationFactor) == pytest.approx(1.125)
    assert [float(size) for size in film.PixelSpacing] == pytest.approx([0.7 / 1.125] * 2)


@pytest.mark.parametrize("view", ["PA", "AP", "LL", "RL"])
def test_view_and_orientation_agree_with_the_beam(view, tmp_path):
    film, beam = written(tmp_path / "film.dcm", view), exposure_of(view).beam
    letters = {(-1.0, 0.0, 0.0): "L", (0.0, -1.0, 0.0): "P", (0.0, 1.0, 0.0): "A", (0.0, 0.0, -1.0): "F"}
    assert list(film.PatientOrientation) == [letters[beam.col_direction], letters[beam.row_direction]]
    code = film.ViewCodeSequence[0]
    assert (code.CodeValue, code.CodingSchemeDesignator) == (VIEW_CODES[view].value, "SCT")
    assert film.ViewPosition == view


def test_it_is_marked_as_simulated_wherever_a_viewer_may_look(tmp_path):
    film = written(tmp_path / "film.dcm")
    assert film.SyntheticData == "YES"
    assert list(film.ImageType)[:2] == ["DERIVED", "SECONDARY"]
    for keyword in ("SeriesDescription", "StudyDescription", "ImageComments"):
        assert "SIMULATED" in film[keyword].value
        assert "NOT FOR DIAGNOSIS" in film[keyword].value
    assert film.ContributingEquipmentSequence[0].PurposeOfReferenceCodeSequence[0].CodeMeaning == "Synthesizing Equipment"


def test_grey_values_are_declared_as_attenuation(tmp_path):
    film = written(tmp_path / "film.dcm")
    assert (film.PhotometricInterpretation, film.PresentationLUTShape) == ("MONOCHROME2", "IDENTITY")
    assert (film.PixelIntensityRelationship, film.PixelIntensityRelationshipSign) == ("LOG", -1)
    assert (film.BitsStored, film.HighBit, film.BurnedInAnnotation) == (16, 15, "NO")


def test_the_patient_is_anonymous_but_never_nameless(tmp_path):
    first, again, other = (written(tmp_path / f"{i}.dcm", sha256=sha) for i, sha in enumerate((SHA256, SHA256, "cd" * 32)))
    assert first.PatientID == again.PatientID == "XCT-abababababababab"
    assert other.PatientID != first.PatientID
    assert first.StudyInstanceUID == again.StudyInstanceUID != other.StudyInstanceUID


def test_uids_are_valid_and_follow_the_content(tmp_path):
    first, again = written(tmp_path / "a.dcm"), written(tmp_path / "b.dcm")
    brighter, lateral = written(tmp_path / "c.dcm", grey=pixels() + 1), written(tmp_path / "d.dcm", "LL")
    assert first.SOPClassUID == DigitalXRayImageStorageForPresentation
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
        assert UID(first[keyword].value).is_valid
        assert first[keyword].value == again[keyword].value
    assert first.SOPInstanceUID == first.file_meta.MediaStorageSOPInstanceUID != brighter.SOPInstanceUID
    assert first.SeriesInstanceUID == brighter.SeriesInstanceUID != lateral.SeriesInstanceUID
    assert first.StudyInstanceUID == lateral.StudyInstanceUID


def test_the_same_film_is_the_same_file(tmp_path):
    written(tmp_path / "a.dcm")
    written(tmp_path / "b.dcm")
    assert (tmp_path / "a.dcm").read_bytes() == (tmp_path / "b.dcm").read_bytes()

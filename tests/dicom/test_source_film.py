"""What is made of a film belongs to the film's patient; a film without one gets a patient of its own, always the same."""

from __future__ import annotations

import shutil
import warnings

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import UID

from tests.dicom.made_series import DICOM_FILM, PNG_FILM, film_with, write_series
from xct_components.dicom.source_film import source_film
from xct_components.failures import InputWarning, UnreadableInput


def test_a_picture_has_the_same_anonymous_patient_wherever_it_lies(tmp_path):
    (tmp_path / "Doe^John.png").write_bytes(PNG_FILM.read_bytes())
    here, there = source_film(PNG_FILM), source_film(tmp_path / "Doe^John.png")
    assert here.patient_and_study == there.patient_and_study
    assert here.patient_and_study.PatientID == f"ANON-{here.sha256[:16]}"
    assert UID(here.patient_and_study.StudyInstanceUID).is_valid
    assert (here.is_named, here.references, here.equipment) == (False, (), None)
    assert "Doe" not in str(there.patient_and_study)


def test_two_pictures_are_two_patients():
    first, second = source_film(PNG_FILM), source_film(PNG_FILM.with_name("00027426_000.png"))
    assert first.patient_and_study.PatientID != second.patient_and_study.PatientID
    assert first.patient_and_study.StudyInstanceUID != second.patient_and_study.StudyInstanceUID


def test_patient_and_study_of_a_dicom_film_are_copied_and_nothing_else(tmp_path):
    issuer = Dataset()
    issuer.UniversalEntityID, issuer.UniversalEntityIDType = "1.2.3", "ISO"
    tags = {
        "PatientName": "Doe^Jane",
        "PatientID": "4711",
        "PatientBirthDate": "19400305",
        "PatientAge": "058Y",
        "IssuerOfPatientIDQualifiersSequence": [issuer],
        "StudyDate": "20261122",
        "AccessionNumber": "A1",
        "StudyID": "S1",
        "DeidentificationMethod": "none",
    }
    film = source_film(film_with(tmp_path, **tags, InstitutionName="General Hospital", SeriesDate="20261122"))
    for keyword, value in tags.items():
        assert film.patient_and_study[keyword].value == value
    assert film.is_named
    for keyword in ("InstitutionName", "SeriesDate", "PixelData", "SeriesInstanceUID", "SOPInstanceUID", "Modality"):
        assert keyword not in film.patient_and_study


def test_a_name_keeps_its_characters(tmp_path):
    film = film_with(tmp_path, SpecificCharacterSet="ISO_IR 100", PatientName="Müller^Jörg", StudyDescription="Thorax, groß")
    for path in write_series(tmp_path / "ct", film=source_film(film)):
        image = pydicom.dcmread(path)
        assert image.PatientName == "Müller^Jörg"
        assert image.StudyDescription == "Thorax, groß"
        assert "Müller^Jörg".encode("latin-1") in path.read_bytes()


def test_what_breaks_the_rules_of_its_tag_is_left_out_unless_it_is_the_identity(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = film_with(tmp_path, PatientAge="58", PatientBirthDate="5.3.1940", PatientSex="M", PatientID="x" * 65)
        warnings.simplefilter("error")  # pydicom's would quote what it finds odd of the patient
        film = source_film(path)
        write_series(tmp_path / "ct", film=film)
    copied = film.patient_and_study
    assert "PatientAge" not in copied
    assert (copied.PatientBirthDate, copied.PatientSex, copied.PatientID) == ("", "M", "x" * 65)


@pytest.mark.parametrize(
    ("missing", "empty"),
    [("PatientID", None), ("PatientID", ""), ("PatientID", "  "), ("StudyInstanceUID", None), ("StudyInstanceUID", "")],
)
def test_a_dicom_film_of_nobody_gets_an_anonymous_patient_and_a_warning_without_names(missing, empty, tmp_path):
    path = film_with(tmp_path, **{"PatientName": "Doe^Jane", missing: empty})
    with pytest.warns(InputWarning, match="no PatientID or no StudyInstanceUID") as noticed:
        film = source_film(path)
    assert "Doe" not in str(noticed[0].message)
    assert film.patient_and_study.PatientID == f"ANON-{film.sha256[:16]}"
    assert "Doe" not in str(film.patient_and_study)
    assert not film.is_named
    assert len(film.references) == 1


def test_both_films_are_referred_to_and_the_frontal_one_says_whose_they_are(tmp_path):
    lateral = film_with(tmp_path, PatientID="other", SOPInstanceUID="1.2.3.4")
    film = source_film(DICOM_FILM, lateral)
    assert [instance for _, instance in film.references] == [str(pydicom.dcmread(DICOM_FILM).SOPInstanceUID), "1.2.3.4"]
    assert film.patient_and_study.PatientID == "1"
    assert source_film(PNG_FILM, lateral).references == film.references[1:]


def test_what_took_the_film_is_named_as_contributing_equipment(tmp_path):
    film = source_film(film_with(tmp_path, Manufacturer="Philips", ManufacturerModelName="THORAVISION"))
    image = pydicom.dcmread(write_series(tmp_path / "ct", film=film)[0])
    took, made = image.ContributingEquipmentSequence
    assert (took.Manufacturer, took.ManufacturerModelName) == ("Philips", "THORAVISION")
    assert took.PurposeOfReferenceCodeSequence[0].CodeMeaning == "Acquisition Equipment"
    assert made.Manufacturer == image.Manufacturer == "xct-components"


def test_a_film_that_is_gone_or_damaged_is_unreadable(tmp_path):
    with pytest.raises(UnreadableInput, match=r"gone\.dcm"):
        source_film(tmp_path / "gone.dcm")
    damaged = tmp_path / "damaged.dcm"
    shutil.copy(DICOM_FILM, damaged)
    damaged.write_bytes(damaged.read_bytes()[:140] + b"\xff" * 40)
    with pytest.raises(UnreadableInput, match=r"damaged\.dcm"):
        source_film(damaged)

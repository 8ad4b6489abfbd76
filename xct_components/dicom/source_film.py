"""Whose film it is: the patient and the study into which everything made of the film goes.

A DICOM film lends its Patient and Study attributes (PS3.3 C.7.1 and C.7.2), as they are; any other film gets an anonymous
patient and study that derive from its bytes alone: the same film is the same patient wherever and whenever it is read.
"""

from __future__ import annotations

import warnings as python_warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from xct_components.data.ct.dicom_series import is_dicom
from xct_components.data.file_hash import file_sha256
from xct_components.data.film.dicom_reading import damage_named, film_header
from xct_components.dicom.elements import SYNTHETIC, uid
from xct_components.failures import InputWarning, UnreadableInput, first_line

#: Copied whatever they hold: another spelling would be another patient, or another study.
_IDENTITY = ("SpecificCharacterSet", "PatientName", "PatientID", "StudyInstanceUID", "AccessionNumber", "StudyID")
#: Copied where they hold what the standard allows there.
_PATIENT = (
    "IssuerOfPatientID", "TypeOfPatientID", "IssuerOfPatientIDQualifiersSequence", "OtherPatientIDsSequence",
    "OtherPatientNames", "PatientBirthDate", "PatientBirthTime", "PatientSex", "EthnicGroup", "PatientComments",
    "QualityControlSubject", "PatientIdentityRemoved", "DeidentificationMethod", "DeidentificationMethodCodeSequence",
    "ClinicalTrialSponsorName", "ClinicalTrialProtocolID", "ClinicalTrialProtocolName", "ClinicalTrialSiteID",
    "ClinicalTrialSiteName", "ClinicalTrialSubjectID", "ClinicalTrialSubjectReadingID",
)  # fmt: skip
_STUDY = (
    "StudyDate", "StudyTime", "StudyDescription", "ReferringPhysicianName", "PhysiciansOfRecord",
    "IssuerOfAccessionNumberSequence", "ProcedureCodeSequence", "AdmittingDiagnosesDescription", "PatientAge", "PatientSize",
    "PatientWeight", "PatientSexNeutered", "ClinicalTrialTimePointID", "ClinicalTrialTimePointDescription",
    "LongitudinalTemporalInformationModified",
)  # fmt: skip
#: Present in every object, if only empty (type 2).
_ALWAYS = (
    "PatientName", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName",
    "StudyID",
)  # fmt: skip


@dataclass(frozen=True)
class SourceFilm:
    """Patient and study of a film, and how to refer to it.

    Args:
        sha256: of the film's file.
        patient_and_study: a pydicom ``Dataset`` of their attributes; PatientID and StudyInstanceUID are never empty.
        references: (SOP class, SOP instance) of each DICOM film, the frontal one first; empty for pictures.
        equipment: (Manufacturer, ManufacturerModelName) of what took the film, or None if unknown.
    """

    sha256: str
    patient_and_study: Any
    references: tuple[tuple[str, str], ...] = ()
    equipment: tuple[str, str] | None = None

    @property
    def is_named(self) -> bool:
        """Whether patient and study are those that the film itself names."""
        return self.patient_and_study.StudyInstanceUID != _anonymous_study(self.sha256)


def source_film(frontal: Path, lateral: Path | None = None) -> SourceFilm:
    """The patient and study of a film that the cascade has taken.

    Args:
        frontal: any film file; it decides on patient and study.
        lateral: a second film; it is referred to if it is DICOM.

    Raises:
        UnreadableInput: if a file is gone, or its DICOM header damaged.
    """
    try:
        sha256 = file_sha256(frontal)
        headers = {path: _header(path) for path in (frontal, lateral) if path is not None and is_dicom(path)}
    except OSError as error:
        raise UnreadableInput(f"{frontal.name} cannot be read again: {error.strerror or first_line(error)}") from error
    film, header = anonymous_film(sha256), headers.get(frontal)
    if header is not None and _is_identified(header):
        film = replace(film, patient_and_study=_patient_and_study(header))
    elif header is not None:
        note = "has no PatientID or no StudyInstanceUID: what is made of it goes to an anonymous patient and study of its own"
        python_warnings.warn(f"{frontal.name} {note}", InputWarning, stacklevel=2)
    references = [_reference(header) for header in headers.values()]
    return replace(film, references=tuple(filter(None, references)), equipment=_equipment(header))


def anonymous_film(sha256: str) -> SourceFilm:
    """A film without any name: patient and study derive from the fingerprint of its bytes.

    Args:
        sha256: of the film's file, 64 hexadecimal digits.
    """
    from pydicom.dataset import Dataset

    anonymous = Dataset()
    anonymous.SpecificCharacterSet = "ISO_IR 192"
    anonymous.PatientID = f"ANON-{sha256[:16]}"
    anonymous.PatientName = f"ANONYMOUS^{sha256[:16]}"
    anonymous.StudyInstanceUID = _anonymous_study(sha256)
    anonymous.StudyID = sha256[:16]
    anonymous.StudyDescription = SYNTHETIC
    return SourceFilm(sha256, _complete(anonymous))


def _anonymous_study(sha256: str) -> Any:
    return uid("film", sha256, "study")


def _header(path: Path) -> Any:
    """All tags but the pixels, within the limits of a film, decoded."""
    header = film_header(path)
    with damage_named(path):
        header.decode()
    return header


def _is_identified(header: Any) -> bool:
    return all(str(header.get(keyword) or "").strip() for keyword in ("PatientID", "StudyInstanceUID"))


def _patient_and_study(header: Any) -> Any:
    """Its identity as it is, the rest where it is valid: a damaged value would make every slice invalid."""
    from pydicom.dataset import Dataset

    copied = Dataset()
    for keyword in (*_IDENTITY, *_PATIENT, *_STUDY):
        if keyword in header and (keyword in _IDENTITY or _is_valid(header[keyword])):
            copied.add(header[keyword])
    return _complete(copied)


def _is_valid(element: Any) -> bool:
    """Whether every value keeps to the rules of its representation (PS3.5, 6.2)."""
    from pydicom.config import RAISE
    from pydicom.valuerep import validate_value

    if element.VR == "SQ":
        return all(_is_valid(inner) for item in element.value for inner in item)
    values = element.value if element.VM > 1 else [element.value]
    try:
        for value in values:
            validate_value(element.VR, value if isinstance(value, (str, bytes)) else str(value), RAISE)
    except ValueError:
        return False
    return True


def _complete(dataset: Any) -> Any:
    for keyword in _ALWAYS:
        if keyword not in dataset:
            setattr(dataset, keyword, "")
    return dataset


def _reference(header: Any) -> tuple[str, str] | None:
    instance, kind = (str(header.get(keyword) or "").strip() for keyword in ("SOPInstanceUID", "SOPClassUID"))
    return (kind, instance) if kind and instance else None


def _equipment(header: Any) -> tuple[str, str] | None:
    maker, model = (str((header or {}).get(keyword) or "").strip() for keyword in ("Manufacturer", "ManufacturerModelName"))
    return (maker, model) if maker else None

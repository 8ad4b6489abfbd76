"""Whether two film files can be of one patient: DICOM files say whose they are."""

from __future__ import annotations

from pathlib import Path

from xct_components.failures import RefusedInput, UnreadableInput


def require_one_patient(first: Path, second: Path) -> None:
    """Refuse two DICOM films whose PatientID differ; other files, and empty tags, say nothing.

    Raises:
        RefusedInput: without the identifiers themselves.
    """
    owners = [_patient(path) for path in (first, second)]
    if all(owners) and owners[0] != owners[1]:
        raise RefusedInput(
            f"{first.name} and {second.name} are films of two patients (their PatientID differ); give two of one patient"
        )


def _patient(path: Path) -> tuple[str, str] | None:
    """Identifier and its issuer, or None if the file names no patient."""
    from xct_components.data.ct.dicom_series import is_dicom
    from xct_components.data.film.dicom_reading import damage_named, film_header

    if not path.is_file() or not is_dicom(path):
        return None
    try:
        header = film_header(path)
        with damage_named(path):  # tags are decoded when they are asked for
            patient, issuer = (str(header.get(keyword) or "").strip() for keyword in ("PatientID", "IssuerOfPatientID"))
    except (UnreadableInput, RefusedInput):  # reading it as a film will say why
        return None
    return (patient, issuer) if patient else None

"""Whether two film files can be of one patient: DICOM files say whose they are."""

from __future__ import annotations

from pathlib import Path

from xct_components.failures import RefusedInput


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
    import pydicom

    from xct_components.data.ct.dicom_series import is_dicom

    if not path.is_file() or not is_dicom(path):
        return None
    try:
        dataset = pydicom.dcmread(path, specific_tags=["PatientID", "IssuerOfPatientID"], stop_before_pixels=True)
    except Exception:
        return None
    patient = str(dataset.get("PatientID") or "").strip()
    return (patient, str(dataset.get("IssuerOfPatientID") or "").strip()) if patient else None

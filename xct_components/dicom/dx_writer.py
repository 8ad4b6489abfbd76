"""A simulated film as Digital X-Ray Image, For Presentation: marked as synthetic in every place a viewer may look.

Tags follow PS3.3 A.26 (Digital X-Ray Image IOD) and C.8.11. Patient, study and UIDs derive from the CT's fingerprint: the same
film has the same UIDs wherever it is made, and nothing of the CT's header is carried over.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt16

from xct_components import __version__
from xct_components.data.simulate.chest_exposure import ChestExposure
from xct_components.dicom.elements import code, decimal, item, uid

SIMULATED = "SIMULATED FROM CT - NOT FOR DIAGNOSIS"
#: View Code Sequence, PS3.16 CID 4010 (SNOMED CT).
_VIEW_CODES = {
    "PA": ("272479007", "postero-anterior"),
    "AP": ("399348003", "antero-posterior"),
    "LL": ("399173006", "left lateral"),
    "RL": ("399198007", "right lateral"),
}
#: Patient directions in which columns and rows grow, as the beams of ``geometry.chest`` run.
_ORIENTATIONS = {"PA": ["L", "F"], "AP": ["L", "F"], "LL": ["P", "F"], "RL": ["A", "F"]}


def write_dx_film(
    path: Path, pixels: UInt16[np.ndarray, "rows cols"], exposure: ChestExposure, *, ct_sha256: str, description: str = ""
) -> None:
    """One DX file, uncompressed.

    Args:
        path: where to write.
        pixels: grey values, 0 black to 65535 white, linear in the line integral.
        exposure: view and geometry.
        ct_sha256: fingerprint of the CT, from which the anonymous patient and all UIDs derive.
        description: how the film was computed, free text.
    """
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = uid(ct_sha256, repr(exposure), description, hashlib.sha256(pixels.tobytes()).hexdigest())
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = uid("implementation")
    film = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    film.SOPClassUID, film.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    _identify(film, exposure, ct_sha256)
    _derive(film, description)
    _position(film, exposure)
    _picture(film, pixels)
    film.save_as(path, enforce_file_format=True)


def _identify(film: Any, exposure: ChestExposure, ct_sha256: str) -> None:
    """Patient, study, series, equipment: anonymous, never empty (servers merge patients without an ID)."""
    film.SpecificCharacterSet = "ISO_IR 192"
    film.PatientID = f"XCT-{ct_sha256[:16]}"
    film.PatientName = f"SIMULATED^{film.PatientID}"
    film.PatientBirthDate = film.PatientSex = ""
    film.StudyInstanceUID = uid(ct_sha256, "study")
    film.SeriesInstanceUID = uid(ct_sha256, "series", repr(exposure))
    film.StudyDate = film.StudyTime = film.AccessionNumber = film.ReferringPhysicianName = ""
    film.StudyID = "1"
    film.StudyDescription = SIMULATED
    film.SeriesDescription = f"{exposure.view} {SIMULATED}"
    film.SeriesNumber = film.InstanceNumber = 1
    film.Modality = "DX"
    film.PresentationIntentType = "FOR PRESENTATION"
    film.Manufacturer = "xct-components"
    film.ManufacturerModelName = "xct simulate"
    film.SoftwareVersions = __version__


def _derive(film: Any, description: str) -> None:
    """Not an acquisition: derived, synthetic, and saying so."""
    film.ImageType = ["DERIVED", "SECONDARY", ""]
    film.SyntheticData = "YES"
    film.BurnedInAnnotation = "NO"
    film.LossyImageCompression = "00"
    film.DerivationDescription = f"Radiograph computed from a CT. {description}".strip()
    film.ImageComments = SIMULATED
    equipment = item(Manufacturer="xct-components", ManufacturerModelName="xct simulate", SoftwareVersions=__version__)
    equipment.PurposeOfReferenceCodeSequence = [code("109100", "DCM", "Synthesizing Equipment")]
    film.ContributingEquipmentSequence = [equipment]


def _position(film: Any, exposure: ChestExposure) -> None:
    """View, distances and scale (C.8.11.4, C.8.11.5, 10.7)."""
    value, meaning = _VIEW_CODES[exposure.view]
    view = code(value, "SCT", meaning)
    view.ViewModifierCodeSequence = []
    film.ViewPosition = exposure.view
    film.ViewCodeSequence = [view]
    film.PatientOrientation = _ORIENTATIONS[exposure.view]
    film.ImageLaterality = "U"
    film.BodyPartExamined = "CHEST"
    film.AnatomicRegionSequence = [code("816094009", "SCT", "Chest")]
    film.AcquisitionContextSequence = []
    film.PositionerType, film.DetectorType = "NONE", ""
    film.DistanceSourceToDetector = decimal(exposure.beam.source_to_detector_mm)
    film.DistanceSourceToPatient = decimal(exposure.source_to_patient_mm)
    film.EstimatedRadiographicMagnificationFactor = decimal(exposure.magnification)
    film.ImagerPixelSpacing = [decimal(size) for size in exposure.beam.detector.pitch_mm]
    film.PixelSpacing = [decimal(size) for size in exposure.pixel_in_patient_mm]
    film.PixelSpacingCalibrationType = "GEOMETRY"
    film.PixelSpacingCalibrationDescription = "In the plane of the body's middle"


def _picture(film: Any, pixels: np.ndarray) -> None:
    """Grey values, larger = less radiation, shown as they are."""
    film.Rows, film.Columns = pixels.shape
    film.SamplesPerPixel = 1
    film.PhotometricInterpretation = "MONOCHROME2"
    film.BitsAllocated = film.BitsStored = 16
    film.HighBit, film.PixelRepresentation = 15, 0
    film.PixelIntensityRelationship, film.PixelIntensityRelationshipSign = "LOG", -1
    film.RescaleIntercept, film.RescaleSlope, film.RescaleType = "0", "1", "US"
    film.PresentationLUTShape = "IDENTITY"
    film.WindowCenter, film.WindowWidth = "32768", "65536"
    film.PixelData = pixels.astype("<u2").tobytes()

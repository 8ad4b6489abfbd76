"""Films and series of a made-up patient whom every test would recognise in a message."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.uid import (
    UID,
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    ParametricMapStorage,
)

STUDY, SERIES = "1.2.3", "1.2.3.4"
SECRETS = ("Doe", "4711", STUDY)


def image(kind: str, instance: str, **tags: Any) -> pydicom.Dataset:
    """A little image of our patient."""
    made = pydicom.Dataset()
    made.file_meta = pydicom.dataset.FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = UID(kind)
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = UID(instance)
    made.StudyInstanceUID, made.SeriesInstanceUID = STUDY, SERIES
    made.PatientName, made.PatientID = "Doe^Jane", "4711"
    made.Rows, made.Columns, made.SamplesPerPixel, made.PhotometricInterpretation = 4, 3, 1, "MONOCHROME2"
    made.BitsAllocated = made.BitsStored = 16
    made.HighBit, made.PixelRepresentation = 15, 0
    made.PixelData = np.arange(12, dtype="<u2").tobytes()
    for keyword, value in tags.items():
        setattr(made, keyword, value)
    return made


def film(number: int = 1, **tags: Any) -> pydicom.Dataset:
    """A DX film; too small for the cascade, large enough for a PACS."""
    tags = {"Modality": "DX", "InstanceNumber": number, "SeriesNumber": 1, "BodyPartExamined": "CHEST", **tags}
    return image(DigitalXRayImageStorageForPresentation, f"{SERIES}.{number}", **tags)


def header(made: pydicom.Dataset) -> pydicom.Dataset:
    """What WADO-RS metadata hold of an image."""
    return pydicom.Dataset({element.tag: element for element in made if element.keyword != "PixelData"})


def written_series(folder: Path, slices: int = 3, *, with_map: bool = False) -> list[Path]:
    """Files of a CT series and, if asked for, of what claims to be a Parametric Map."""
    images = [image(CTImageStorage, f"{SERIES}.{100 + n}", Modality="CT", InstanceNumber=n) for n in range(1, slices + 1)]
    if with_map:
        images.append(image(ParametricMapStorage, f"{SERIES}.999", Modality="OT"))
    paths = [folder / f"IM{number:04d}.dcm" for number in range(1, len(images) + 1)]
    for path, one in zip(paths, images, strict=True):
        one.save_as(path, enforce_file_format=True)
    return paths


def instance_of(path: Path) -> str:
    return str(pydicom.dcmread(path).SOPInstanceUID)

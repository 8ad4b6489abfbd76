"""DICOM films made for tests: of any bit depth, in any transfer syntax, by encoders of other projects."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ComputedRadiographyImageStorage, DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

SYNTAXES = {
    "implicit": "1.2.840.10008.1.2",
    "explicit": "1.2.840.10008.1.2.1",
    "deflated": "1.2.840.10008.1.2.1.99",
    "big endian": "1.2.840.10008.1.2.2",
    "RLE": "1.2.840.10008.1.2.5",
    "JPEG baseline": "1.2.840.10008.1.2.4.50",
    "JPEG extended": "1.2.840.10008.1.2.4.51",
    "JPEG lossless": "1.2.840.10008.1.2.4.57",
    "JPEG lossless SV1": "1.2.840.10008.1.2.4.70",
    "JPEG-LS": "1.2.840.10008.1.2.4.80",
    "JPEG-LS near": "1.2.840.10008.1.2.4.81",
    "JPEG 2000": "1.2.840.10008.1.2.4.90",
    "JPEG 2000 lossy": "1.2.840.10008.1.2.4.91",
    "HTJ2K": "1.2.840.10008.1.2.4.201",
}
#: What pydicom encodes, with its options. The near-lossless one may miss a grey value by 2.
BY_PYDICOM: dict[str, dict[str, Any]] = {
    "RLE": {"encoding_plugin": "pydicom"},
    "JPEG-LS": {},
    "JPEG-LS near": {"jls_error": 2},
    "JPEG 2000": {},
    "JPEG 2000 lossy": {"j2k_cr": [5]},
}
_BY_IMAGECODECS: dict[str, dict[str, Any]] = {
    "JPEG baseline": {"level": 95},
    "JPEG extended": {"level": 95},
    "JPEG lossless": {"lossless": True, "predictor": 6},
    "JPEG lossless SV1": {"lossless": True, "predictor": 1},
}


def film_pixels(bits: int, rows: int = 96, cols: int = 80) -> np.ndarray:
    """Waves and a little noise, from 0 to the largest value."""
    y, x = np.mgrid[:rows, :cols] / 16.0
    waves = np.sin(y) * np.cos(1.3 * x) + np.random.default_rng(bits).normal(0.0, 0.02, (rows, cols))
    grey = (waves - waves.min()) / (waves.max() - waves.min()) * (2**bits - 1)
    return grey.round().astype(np.uint8 if bits <= 8 else np.uint16)


def film(
    pixels: np.ndarray, bits: int, *, modality: str = "CR", photometric: str = "MONOCHROME2", **tags: Any
) -> pydicom.FileDataset:
    """A plain film in explicit little endian."""
    meta = FileMetaDataset()
    kind = DigitalXRayImageStorageForPresentation if modality == "DX" else ComputedRadiographyImageStorage
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = kind, UID("2.25.1")
    meta.TransferSyntaxUID, meta.ImplementationClassUID = ExplicitVRLittleEndian, UID("2.25.9")
    made = pydicom.FileDataset("", Dataset(), file_meta=meta, preamble=b"\0" * 128)
    made.SOPClassUID, made.SOPInstanceUID = kind, meta.MediaStorageSOPInstanceUID
    made.StudyInstanceUID, made.SeriesInstanceUID, made.PatientID, made.PatientName = "2.25.2", "2.25.3", "9", "Test^Film"
    made.Modality, made.PhotometricInterpretation, made.SamplesPerPixel = modality, photometric, 1
    made.Rows, made.Columns = pixels.shape
    made.BitsAllocated, made.BitsStored, made.HighBit = 8 * pixels.dtype.itemsize, bits, bits - 1
    made.PixelRepresentation = int(pixels.dtype.kind == "i")
    made.PixelData = pixels.tobytes()
    made["PixelData"].VR = "OW"
    for name, value in tags.items():
        if name.startswith("PixelPadding"):  # its representation depends on the pixels', and has to be said
            made.add_new(name, "SS" if made.PixelRepresentation else "US", value)
        else:
            setattr(made, name, value)
    return made


def written(path: Path, made: pydicom.FileDataset, syntax: str = "explicit") -> Path:
    """The film as a file of that syntax."""
    pixels = np.frombuffer(made.PixelData, f"<u{made.BitsAllocated // 8}").reshape(made.Rows, made.Columns)
    if syntax in BY_PYDICOM:
        made.compress(UID(SYNTAXES[syntax]), generate_instance_uid=False, **BY_PYDICOM[syntax])
    elif syntax in _BY_IMAGECODECS:
        options = {**_BY_IMAGECODECS[syntax], "bitspersample": made.BitsStored}
        _encapsulate(made, imagecodecs.jpeg8_encode(pixels, **options))
    elif syntax == "HTJ2K":
        _encapsulate(made, imagecodecs.htj2k_encode(pixels))
    elif syntax == "big endian" and made.BitsAllocated == 16:
        made.PixelData = pixels.byteswap().tobytes()
    made.file_meta.TransferSyntaxUID = UID(SYNTAXES[syntax])
    # not save_as, which refuses to change the order of bytes
    order = {"implicit_vr": syntax == "implicit", "little_endian": syntax != "big endian"}
    pydicom.dcmwrite(path, made, enforce_file_format=True, **order)
    return path


def _encapsulate(made: pydicom.FileDataset, frame: bytes | bytearray) -> None:
    made.PixelData = encapsulate([bytes(frame)])
    made["PixelData"].VR = "OB"
    made["PixelData"].is_undefined_length = True

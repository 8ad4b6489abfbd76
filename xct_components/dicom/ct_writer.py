"""A generated CT as a series of CT Image Storage: the one form that every viewer opens as a volume.

Tags follow PS3.3 A.3 (CT Image IOD). The series lies in the film's study. Stored values are whole HU as they are (int16,
slope 1, intercept 0), so that a reader that forgets the rescale is right too. What no scanner was there to do stays empty: no
tube voltage, no acquisition, no position on a table.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int16
from torch import Tensor

from xct_components.dicom.axial_slices import AxialSlices, axial_slices
from xct_components.dicom.elements import SYNTHETIC, code, decimal, item, uid
from xct_components.dicom.source_film import SourceFilm
from xct_components.dicom.synthetic_run import SyntheticRun
from xct_components.geometry import VolumeGrid

#: Far from the numbers that modalities give.
SERIES_NUMBER = 9001
#: Window centre and width in HU.
WINDOWS_HU = {"MEDIASTINUM": (40, 400), "LUNG": (-600, 1500)}


def ct_slices(volume_hu: Float[Tensor, "1 d h w"], grid: VolumeGrid, film: SourceFilm, run: SyntheticRun) -> list[Any]:
    """The images of the series, head first, not yet written.

    Args:
        volume_hu: (1, D, H, W) HU, rounded to whole HU here.
        grid: where its voxels lie, RAS mm.
        film: whose it is.
        run: what made it; its UIDs, together with film and voxels, give those of series, images and frame of reference.

    Returns:
        One pydicom ``FileDataset`` per slice.

    Raises:
        ValueError: if the axes of the grid are not perpendicular.
    """
    slices = axial_slices(volume_hu, grid)
    limits = np.iinfo(np.int16)
    hu = np.rint(slices.values).clip(limits.min, limits.max).astype("<i2")
    voxels = hashlib.sha256(repr(slices.grid).encode() + hu.tobytes()).hexdigest()
    common = _common(slices, film, run, voxels)
    return [
        _slice(common, pixels, number, position, run.uid(film.sha256, voxels, str(number)))
        for number, (pixels, position) in enumerate(zip(hu, slices.positions, strict=True), start=1)
    ]


def write_ct_series(folder: Path, slices: Sequence[Any]) -> list[Path]:
    """Write the images as IM0001.dcm, IM0002.dcm, ...: names from the order alone.

    Args:
        folder: an empty folder.
        slices: what ``ct_slices`` gives.

    Returns:
        The files, in order.
    """
    paths = [folder / f"IM{number:04d}.dcm" for number in range(1, len(slices) + 1)]
    for path, image in zip(paths, slices, strict=True):
        image.save_as(path, enforce_file_format=True)
    return paths


def _common(slices: AxialSlices, film: SourceFilm, run: SyntheticRun, voxels_sha256: str) -> Any:
    """All that the images share."""
    from pydicom.dataset import Dataset
    from pydicom.uid import CTImageStorage

    image = Dataset()
    image.update(copy.deepcopy(film.patient_and_study))
    image.SOPClassUID = CTImageStorage
    image.SeriesInstanceUID = run.uid(film.sha256, voxels_sha256, "series")
    image.FrameOfReferenceUID = run.uid(film.sha256, voxels_sha256, "frame of reference")
    image.SeriesNumber, image.SeriesDescription = SERIES_NUMBER, SYNTHETIC
    image.Modality, image.BodyPartExamined = "CT", "CHEST"
    image.PatientPosition = image.PositionReferenceIndicator = ""
    image.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]
    image.AcquisitionNumber = image.KVP = None
    run.mark(image, film)
    if film.references:
        image.SourceImageSequence = [_source(*reference) for reference in film.references]
    image.ImageOrientationPatient, image.PixelSpacing = slices.orientation, slices.pixel_spacing
    image.SliceThickness = slices.thickness
    image.Rows, image.Columns = slices.values.shape[1:]
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated = image.BitsStored = 16
    image.HighBit, image.PixelRepresentation = 15, 1
    image.RescaleIntercept, image.RescaleSlope, image.RescaleType = "0", "1", "HU"
    centers, widths = zip(*WINDOWS_HU.values(), strict=True)
    image.WindowCenter, image.WindowWidth = [str(one) for one in centers], [str(one) for one in widths]
    image.WindowCenterWidthExplanation = list(WINDOWS_HU)
    return image


def _source(sop_class: str, sop_instance: str) -> Any:
    return item(
        ReferencedSOPClassUID=sop_class,
        ReferencedSOPInstanceUID=sop_instance,
        SpatialLocationsPreserved="NO",
        PurposeOfReferenceCodeSequence=[code("121322", "DCM", "Source image for image processing operation")],
    )


def _slice(common: Any, pixels: Int16[np.ndarray, "r c"], number: int, position: list[str], instance_uid: Any) -> Any:
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = common.SOPClassUID, instance_uid
    meta.TransferSyntaxUID, meta.ImplementationClassUID = ExplicitVRLittleEndian, uid("implementation")
    image = FileDataset("", copy.deepcopy(common), file_meta=meta, preamble=b"\0" * 128)
    image.SOPInstanceUID, image.InstanceNumber = instance_uid, number
    image.ImagePositionPatient, image.SliceLocation = position, decimal(float(position[2]))
    image.PixelData = pixels.tobytes()
    return image

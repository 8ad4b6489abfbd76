"""CT files of a known body, in every format: the HU at a place is a formula, so any reader can be checked at any voxel."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import itk
import nibabel
import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
# Unequal counts, so that swapped axes show.
SHAPE_IJK = (20, 24, 16)
SPACING_MM = np.array([3.0, 2.0, 5.0])
# Stored value = HU + 1024, as scanners write it.
INTERCEPT = -1024


def hu_at(world_mm: np.ndarray) -> np.ndarray:
    """HU at RAS positions (..., 3): air, tissue and bone, different in every direction, smooth (at most 32 HU/mm)."""
    x, y, z = np.moveaxis(world_mm, -1, 0)
    return -300.0 + 600.0 * np.sin(x / 20.0) + 2.0 * y + 3.0 * z


def rotation(axis: int, angle_rad: float) -> np.ndarray:
    first, second = [i for i in range(3) if i != axis]
    turn = np.eye(3)
    turn[first, first] = turn[second, second] = np.cos(angle_rad)
    turn[first, second], turn[second, first] = -np.sin(angle_rad), np.sin(angle_rad)
    return turn


def affine(axes: np.ndarray) -> np.ndarray:
    """4x4 RAS affine of (i, j, k) with the columns of ``axes`` as directions, its middle near (12, -7, 30) mm."""
    matrix = np.eye(4)
    matrix[:3, :3] = axes * SPACING_MM
    matrix[:3, 3] = np.array([12.0, -7.0, 30.0]) - matrix[:3, :3] @ (np.array(SHAPE_IJK) - 1) / 2
    return matrix


#: Ways a volume can lie; columns are the RAS directions of i, j, k.
PLACEMENTS = {
    "as scanners do": affine(np.diag([-1.0, -1.0, 1.0])),
    "flipped": affine(np.diag([1.0, -1.0, -1.0])),
    "permuted": affine(np.array([[0.0, 0.0, -1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])),
    "oblique": affine(rotation(0, 0.3) @ rotation(2, -0.4) @ np.diag([-1.0, -1.0, 1.0])),
}


def voxels_ijk(world_from_ijk: np.ndarray) -> np.ndarray:
    """Whole HU (i, j, k) of the body on a lattice."""
    indices = np.stack(np.meshgrid(*map(np.arange, SHAPE_IJK), indexing="ij"), axis=-1)
    return np.round(hu_at(indices @ world_from_ijk[:3, :3].T + world_from_ijk[:3, 3])).astype(np.int16)


def write_nifti(path: Path, world_from_ijk: np.ndarray, voxels: np.ndarray | None = None) -> Path:
    nibabel.save(nibabel.Nifti1Image(voxels_ijk(world_from_ijk) if voxels is None else voxels, world_from_ijk), path)
    return path


def write_itk(path: Path, world_from_ijk: np.ndarray, voxels: np.ndarray | None = None) -> Path:
    """NRRD or MetaImage, as the suffix says."""
    lps = LPS_FROM_RAS @ world_from_ijk
    values = voxels_ijk(world_from_ijk) if voxels is None else voxels
    image = itk.image_from_array(np.ascontiguousarray(values.T))
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetDirection(itk.matrix_from_array(lps[:3, :3] / spacing))
    itk.imwrite(image, str(path))
    return path


def write_dicom(folder: Path, world_from_ijk: np.ndarray, **tags: Any) -> Path:
    """A CT series of one file per k, i along the rows of the image and j down its columns, in shuffled file order."""
    lps, values = LPS_FROM_RAS @ world_from_ijk, voxels_ijk(world_from_ijk)
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    along_row, down_column = (lps[:3, axis] / spacing[axis] for axis in (0, 1))
    series = {"SeriesInstanceUID": generate_uid(), "StudyInstanceUID": generate_uid(), **tags}
    folder.mkdir(exist_ok=True)
    numbers = random.Random(0).sample(range(1000), SHAPE_IJK[2])
    for k, number in enumerate(numbers):
        position = lps[:3, :3] @ np.array([0, 0, k]) + lps[:3, 3]
        image = one_slice(values[:, :, k].T, **series)
        image.ImagePositionPatient = [f"{x:.8g}" for x in position]
        image.ImageOrientationPatient = [f"{x:.9g}" for x in (*along_row, *down_column)]
        image.PixelSpacing = [f"{spacing[1]:.8g}", f"{spacing[0]:.8g}"]
        image.save_as(folder / f"image-{number:04}", enforce_file_format=True)
    return folder


def one_slice(hu: np.ndarray, **tags: Any) -> FileDataset:
    """A DICOM CT image of (Rows, Columns) HU, without a position."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = CTImageStorage, ExplicitVRLittleEndian
    meta.MediaStorageSOPInstanceUID = generate_uid()
    image = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    image.Modality, image.ImageType, image.PatientID = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"], "made"
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.Rows, image.Columns = hu.shape
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 16, 15, 0
    image.RescaleSlope, image.RescaleIntercept = "1", str(INTERCEPT)
    image.PixelData = (hu - INTERCEPT).astype("<u2").tobytes()
    for keyword, value in tags.items():
        setattr(image, keyword, value)
    return image

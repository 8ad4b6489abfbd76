"""Inputs that must not become a case: damaged, hostile, or not one chest CT. Each with a word of the reason to expect."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pydicom

from tests.data_layer.made_chests import chest_voxels, straight_affine, write_chest_dicom
from tests.data_layer.made_cts import one_slice, write_itk, write_nifti

#: Voxel bytes that the bombs unfold to; far more than their size on disk.
BOMB_SHAPE = (512, 512, 256)

#: Name of the input -> (name of the case, part of the reason); a DICOM case is named by a fingerprint, found by its path.
EXPECTED = {
    "truncated.nii.gz": "truncated",
    "shorter.nii": "truncated",
    "empty.nii.gz": "empty",
    "text.nii.gz": "damaged",
    "text.nrrd": "header",
    "four_d.nii": "2 volumes",
    "flat.nii": "2-D",
    "colour.nii": "colours",
    "constant.nii": "not a CT in Hounsfield units",
    "nan_affine.nii": "where its voxels lie",
    "singular_affine.nii": "where its voxels lie",
    "nan_voxels.nii": "NaN",
    "no_orientation.nii": "orientation",
    "unscaled.nii": "not a CT in Hounsfield units",
    "no_lungs.nii": "no lungs",
    "claims_3gb.nii": "truncated",
    "claims_too_much.nii": "more than",
    "bomb.nii.gz": "unfold",
    "bomb.nrrd": "unfold",
    "no_voxels.mhd": "missing",
    "cut_header.dcm": "header cannot be read",
    "zero_slices": "single CT image",
    "missing_slice": "incomplete",
    "twice_the_same_place": "several images at one position",
    "two_patients_one_series": "2 patients",
    "two_sizes": "differ in Rows",
    "truncated_slice": "truncated",
    "no_rescale": "not a CT in Hounsfield units",
}


def write_all(folder: Path) -> None:
    """Write every input of EXPECTED, one sound CT, and things that are no CT at all."""
    folder.mkdir()
    affine = straight_affine()
    voxels = chest_voxels(affine)
    write_nifti(folder / "sound.nii.gz", affine, voxels)
    _write_niftis(folder, affine, voxels)
    _write_bombs(folder)
    _write_series(folder, affine, voxels)
    write_itk(folder / "no_voxels.mhd", affine, voxels)
    (folder / "no_voxels.raw").unlink()
    (folder / "readme.txt").write_text("not a CT")
    write_chest_dicom(folder / "mr", affine, voxels[:, :, :3], Modality="MR")
    one_slice(np.zeros((8, 8)), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"], SeriesInstanceUID="1.2.3").save_as(
        folder / "scout.dcm"
    )


def _write_niftis(folder: Path, affine: np.ndarray, voxels: np.ndarray) -> None:
    whole = (folder / "sound.nii.gz").read_bytes()
    (folder / "truncated.nii.gz").write_bytes(whole[: len(whole) // 2])
    write_nifti(folder / "shorter.nii", affine, voxels)
    with (folder / "shorter.nii").open("r+b") as stream:
        stream.truncate(100_000)
    (folder / "empty.nii.gz").touch()
    (folder / "text.nii.gz").write_text("this is not an image")
    (folder / "text.nrrd").write_text("this is not an image")
    write_nifti(folder / "four_d.nii", affine, np.stack([voxels, voxels], axis=-1))
    write_nifti(folder / "flat.nii", affine, voxels[:, :, :1])
    colours = np.zeros((8, 8, 8), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    nibabel.save(nibabel.Nifti1Image(colours, affine), folder / "colour.nii")
    write_nifti(folder / "constant.nii", affine, np.full_like(voxels, -5))
    for name, place, value in (("nan_affine", (0, 3), np.nan), ("singular_affine", (slice(0, 3), 0), 0.0)):
        damaged = affine.copy()
        damaged[place] = value
        image = nibabel.Nifti1Image(voxels, None)
        image.header.set_sform(damaged, code=1)
        image.header["qform_code"] = 0
        nibabel.save(image, folder / f"{name}.nii")
    holed = voxels.astype(np.float32)
    holed[3, 3, 3] = np.nan
    write_nifti(folder / "nan_voxels.nii", affine, holed)
    nibabel.save(nibabel.Nifti1Image(voxels, None), folder / "no_orientation.nii")
    write_nifti(folder / "unscaled.nii", affine, (voxels + 1024).astype(np.int16))
    write_nifti(folder / "no_lungs.nii", affine, chest_voxels(affine, lungs=()))


def _write_bombs(folder: Path) -> None:
    for name, shape in (("claims_3gb", (1024, 1024, 500)), ("claims_too_much", (2000, 2000, 2000))):
        header = nibabel.Nifti1Header()
        header.set_data_dtype(np.float32 if name == "claims_3gb" else np.int16)
        header.set_data_shape(shape)
        header.set_sform(straight_affine(), code=1)
        header["vox_offset"] = 352
        (folder / f"{name}.nii").write_bytes(header.binaryblock + bytes(4 + 1000))
    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.int16)
    header.set_data_shape(BOMB_SHAPE)
    header.set_sform(straight_affine(), code=1)
    header["vox_offset"] = 352
    zeros = bytes(int(np.prod(BOMB_SHAPE)) * 2)
    (folder / "bomb.nii.gz").write_bytes(gzip.compress(header.binaryblock + bytes(4) + zeros, 6))
    text = (
        "NRRD0004\ntype: short\ndimension: 3\nspace: left-posterior-superior\nsizes: 512 512 256\nendian: little\n"
        "encoding: gzip\nspace directions: (1,0,0) (0,1,0) (0,0,1)\nspace origin: (0,0,0)\n\n"
    )
    (folder / "bomb.nrrd").write_bytes(text.encode() + gzip.compress(zeros, 6))


def _write_series(folder: Path, affine: np.ndarray, voxels: np.ndarray) -> None:
    few = voxels[:, :, 18:28]

    def series(name: str, **tags: str) -> list[Path]:
        return sorted(write_chest_dicom(folder / name, affine, few, **tags).iterdir())

    for file in series("zero_slices")[1:]:
        file.unlink()
    series("missing_slice")[4].unlink()
    file = series("twice_the_same_place")[4]
    copy = pydicom.dcmread(file)
    copy.SOPInstanceUID = copy.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    copy.save_as(file.with_name("again.dcm"))
    for file in series("two_patients_one_series")[5:]:
        _change(file, PatientID="somebody else")
    for file in series("two_sizes")[5:]:
        _change(file, Rows=26, PixelData=bytes(26 * 76 * 2))
    file = series("truncated_slice")[2]
    file.write_bytes(file.read_bytes()[:-3000])
    series("no_rescale", RescaleIntercept="0")
    file = series("cut")[0]
    (folder / "cut_header.dcm").write_bytes(file.read_bytes()[:160])
    shutil.rmtree(folder / "cut")


def _change(file: Path, **tags: object) -> None:
    image = pydicom.dcmread(file)
    for keyword, value in tags.items():
        setattr(image, keyword, value)
    image.save_as(file)

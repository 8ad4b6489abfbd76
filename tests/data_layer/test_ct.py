"""Whatever the format and however it lies, a CT has the same HU at the same place of the patient; the rest is refused."""

from __future__ import annotations

import gzip
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path

import itk
import nibabel
import numpy as np
import pydicom
import pytest
import torch
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGLosslessSV1, RLELossless, generate_uid

from tests.data_layer.made_cts import (
    PLACEMENTS,
    SHAPE_IJK,
    hu_at,
    one_slice,
    voxels_ijk,
    write_dicom,
    write_itk,
    write_nifti,
)
from xct_components.data.ct.reading import read_ct
from xct_components.failures import InputWarning, RefusedInput, UnreadableInput, UsageFailure
from xct_components.geometry import VolumeGrid

# Half a HU of rounding in the file, and at most 32 HU/mm times the 5e-4 mm to which float32 headers place a voxel.
HU_TOLERANCE = 0.52

STRAIGHT = PLACEMENTS["as scanners do"]
WRITERS: dict[str, Callable[[Path, np.ndarray], Path]] = {
    "ct.nii": write_nifti,
    "ct.nii.gz": write_nifti,
    "ct.nrrd": write_itk,
    "ct.nhdr": write_itk,
    "ct.mhd": write_itk,
    "ct.mha": write_itk,
    "series": write_dicom,
}


def error_hu(ct_hu: torch.Tensor, grid: VolumeGrid) -> float:
    """Largest difference between a volume and the body at the places where its grid puts the voxels."""
    indices = torch.cartesian_prod(*(torch.arange(n) for n in grid.shape))
    expected = hu_at(grid.world_from_voxels(indices).numpy()).clip(min=-1024.0)
    return float(np.abs(ct_hu.flatten().numpy() - expected).max())


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_same_hu_at_the_same_place(name, placement, tmp_path):
    ct_hu, grid = read_ct(WRITERS[name](tmp_path / name, PLACEMENTS[placement]))
    assert ct_hu.dtype == torch.float32
    assert sorted(ct_hu.shape[2:]) == sorted(SHAPE_IJK)
    assert error_hu(ct_hu, grid) <= HU_TOLERANCE


def test_a_tilted_gantry_is_kept_as_shear(tmp_path):
    tilted = STRAIGHT.copy()
    tilted[1, 2] += 1.4  # slices move 1.4 mm forward for every 5 mm up: about 16 degrees
    ct_hu, grid = read_ct(write_dicom(tmp_path / "series", tilted))
    assert error_hu(ct_hu, grid) <= HU_TOLERANCE
    assert abs(float(grid.affine[1, 0])) == pytest.approx(1.4)


def test_one_file_of_a_series_stands_for_the_series(tmp_path):
    folder = write_dicom(tmp_path / "series", STRAIGHT)
    from_folder, from_file = read_ct(folder), read_ct(sorted(folder.iterdir())[3])
    assert torch.equal(from_folder[0], from_file[0])
    assert from_folder[1] == from_file[1]


def test_itk_reads_the_made_series_as_we_do(tmp_path):
    folder = write_dicom(tmp_path / "series", PLACEMENTS["oblique"])
    names = itk.GDCMSeriesFileNames.New(Directory=str(folder))
    theirs = itk.imread(list(names.GetFileNames(names.GetSeriesUIDs()[0])), itk.F)
    ours, grid = read_ct(folder)
    assert np.array_equal(itk.array_from_image(theirs), ours[0, 0].numpy())
    corner_lps = np.asarray(theirs.TransformIndexToPhysicalPoint([3, 2, 1]))
    corner_ras = grid.world_from_voxels(torch.tensor([1, 2, 3])).numpy()
    assert np.allclose(corner_ras, corner_lps * [-1, -1, 1], atol=1e-4)  # decimal strings hold 8 digits


def test_padding_below_air_becomes_air(tmp_path):
    voxels = voxels_ijk(STRAIGHT)
    voxels[:2] = -3024
    ct_hu, _ = read_ct(write_nifti(tmp_path / "ct.nii", STRAIGHT, voxels))
    assert float(ct_hu.min()) == -1024.0


def test_pixels_that_dicom_marks_as_padding_become_air(tmp_path):
    folder = write_dicom(tmp_path / "series", STRAIGHT, PixelPaddingValue=63536)
    for file in folder.iterdir():
        image = pydicom.dcmread(file)
        pixels = image.pixel_array.copy()
        pixels[:3] = 63536
        image.PixelData = pixels.tobytes()
        image.save_as(file)
    ct_hu, _ = read_ct(folder)
    assert bool((ct_hu[..., :3, :] == -1024.0).all())


def test_the_rescaling_of_each_slice_is_applied(tmp_path):
    folder = write_dicom(tmp_path / "series", STRAIGHT)
    first = sorted(folder.iterdir())[0]
    image = pydicom.dcmread(first)
    image.PixelData = (image.pixel_array // 2).astype("<u2").tobytes()
    image.RescaleSlope = "2"
    image.save_as(first)
    ct_hu, grid = read_ct(folder)
    assert error_hu(ct_hu, grid) <= HU_TOLERANCE + 1.0  # halving lost up to 1 HU


def test_the_largest_of_several_series_is_taken_and_said(tmp_path):
    folder = write_dicom(tmp_path / "study", STRAIGHT)
    other = write_dicom(tmp_path / "study" / "other", PLACEMENTS["flipped"])
    sorted(other.iterdir())[0].unlink()
    with pytest.warns(InputWarning, match="2 CT series"):
        ct_hu, _ = read_ct(folder)
    assert ct_hu.shape[2] == SHAPE_IJK[2]


def test_a_series_behind_a_link_is_read_once_and_a_link_that_leads_back_is_told_of(tmp_path):
    share = write_dicom(tmp_path / "share", STRAIGHT)
    study = tmp_path / "study"
    study.mkdir()
    (study / "series").symlink_to(share)
    (study / "again").symlink_to(share)
    (study / "loop").symlink_to(study)
    with pytest.warns(InputWarning, match="left out loop: a link back to a folder around it") as told:
        ct_hu, _ = read_ct(study)
    assert len(told) == 1
    assert torch.equal(ct_hu, read_ct(share)[0])


def test_a_series_is_chosen_by_its_uid(tmp_path):
    wanted = generate_uid()
    write_dicom(tmp_path / "study", STRAIGHT)
    write_dicom(tmp_path / "study" / "other", PLACEMENTS["flipped"], SeriesInstanceUID=wanted)
    _, grid = read_ct(tmp_path / "study", series_uid=wanted)
    assert grid.axis_codes == "IPR"
    with pytest.raises(RefusedInput, match=str(wanted)):  # the message names the series there are
        read_ct(tmp_path / "study", series_uid="1.2.3")


def test_other_modalities_and_localizers_in_the_folder_are_passed_over(tmp_path):
    folder = write_dicom(tmp_path / "study", STRAIGHT)
    one_slice(np.zeros((8, 8)), Modality="SR", SeriesInstanceUID=generate_uid()).save_as(folder / "report")
    scout = one_slice(np.zeros((8, 8)), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"], SeriesInstanceUID=generate_uid())
    scout.ImagePositionPatient = [0, 0, 0]
    scout.save_as(folder / "scout")
    (folder / "notes.txt").write_text("not DICOM")
    with warnings.catch_warnings():
        warnings.simplefilter("error", InputWarning)
        assert read_ct(folder)[0].shape[2] == SHAPE_IJK[2]


def test_second_copies_of_images_are_left_out(tmp_path):
    folder = write_dicom(tmp_path / "series", STRAIGHT)
    shutil.copy(sorted(folder.iterdir())[0], folder / "copy")
    with pytest.warns(InputWarning, match="second copies"):
        assert read_ct(folder)[0].shape[2] == SHAPE_IJK[2]


def test_a_missing_slice_is_noticed(tmp_path):
    folder = write_dicom(tmp_path / "series", STRAIGHT)
    by_height = sorted(folder.iterdir(), key=lambda file: float(pydicom.dcmread(file).ImagePositionPatient[2]))
    by_height[6].unlink()
    with pytest.raises(UnreadableInput, match=r"10\.00 mm from slice 6 to 7.*usually 5\.00 mm"):
        read_ct(folder)


def test_two_images_at_one_position_are_refused(tmp_path):
    folder = write_dicom(tmp_path / "series", STRAIGHT)
    twin = pydicom.dcmread(sorted(folder.iterdir())[0])
    twin.SOPInstanceUID = twin.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    twin.save_as(folder / "twin")
    with pytest.raises(RefusedInput, match="one position"):
        read_ct(folder)


def no_orientation(path: Path) -> Path:
    image = nibabel.Nifti1Image(voxels_ijk(STRAIGHT), None)
    nibabel.save(image, path)
    return path


def flat_axis(path: Path) -> Path:
    image = nibabel.Nifti1Image(voxels_ijk(STRAIGHT), STRAIGHT)
    image.set_sform(np.diag([1.0, 1.0, 0.0, 1.0]), code=1)
    nibabel.save(image, path)
    return path


def no_space(path: Path) -> Path:
    header = b"NRRD0004\ntype: short\ndimension: 3\nsizes: 20 24 16\nspacings: 3 2 5\nendian: little\nencoding: raw\n\n"
    path.write_bytes(header + voxels_ijk(STRAIGHT).tobytes())
    return path


def with_nan(path: Path) -> Path:
    voxels = voxels_ijk(STRAIGHT).astype(np.float32)
    voxels[3, 4, 5] = np.nan
    return write_nifti(path, STRAIGHT, voxels)


def huge_claim(path: Path) -> Path:
    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.float32)
    header.set_data_shape((32767, 32767, 2000))
    header.set_sform(STRAIGHT, code=1)
    path.write_bytes(gzip.compress(header.binaryblock + bytes(4096)))
    return path


def stack(path: Path, copies: int) -> Path:
    return write_nifti(path, STRAIGHT, np.stack([voxels_ijk(STRAIGHT)] * copies, axis=-1))


REFUSED = {
    "left and right are unknown": (no_orientation, "ct.nii"),
    "where its voxels lie": (flat_axis, "ct.nii"),
    "no patient orientation": (no_space, "ct.nrrd"),
    "NaN": (with_nan, "ct.nii.gz"),
    "more than any CT": (huge_claim, "ct.nii.gz"),
    "2 volumes": (lambda path: stack(path, 2), "ct.nii.gz"),
    "no air": (lambda path: write_nifti(path, STRAIGHT, voxels_ijk(STRAIGHT) + np.int16(1024)), "ct.nii"),
    "no soft tissue": (lambda path: write_nifti(path, STRAIGHT, np.full(SHAPE_IJK, -1000, np.int16)), "ct.nii"),
    "2-D image": (lambda path: write_nifti(path, STRAIGHT, voxels_ijk(STRAIGHT)[:, :, :1]), "ct.nii"),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_cannot_be_a_ct_is_refused_with_the_reason(reason, tmp_path):
    make, name = REFUSED[reason]
    with pytest.raises(RefusedInput, match=reason):
        read_ct(make(tmp_path / name))


def test_a_trailing_axis_of_one_volume_is_dropped(tmp_path):
    ct_hu, grid = read_ct(stack(tmp_path / "ct.nii", 1))
    assert error_hu(ct_hu, grid) <= HU_TOLERANCE


@pytest.mark.parametrize("name", ["ct.nii", "ct.nii.gz", "ct.nrrd", "ct.mha"])
@pytest.mark.parametrize("share", [0.02, 0.6, 0.99])
def test_a_truncated_file_is_never_read(name, share, tmp_path, capfd):
    path = WRITERS[name](tmp_path / name, STRAIGHT)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(UnreadableInput, match=name):
        read_ct(path)
    assert capfd.readouterr().err == ""


def test_a_truncated_dicom_file_is_never_read(tmp_path):
    folder = write_dicom(tmp_path / "series", STRAIGHT)
    victim = sorted(folder.iterdir())[5]
    victim.write_bytes(victim.read_bytes()[:-300])
    with pytest.raises(UnreadableInput, match=victim.name):
        read_ct(folder)


def test_a_lossless_compressed_series_is_read(tmp_path):
    folder = write_dicom(tmp_path / "series", STRAIGHT)
    plain, _ = read_ct(folder)
    for file in folder.iterdir():
        image = pydicom.dcmread(file)
        image.compress(RLELossless, generate_instance_uid=False)
        image.save_as(file)
    assert torch.equal(read_ct(folder)[0], plain)


def test_a_compression_without_a_decoder_is_named_with_the_way_out(tmp_path):
    folder = write_dicom(tmp_path / "series", STRAIGHT)
    for file in folder.iterdir():
        image = pydicom.dcmread(file)
        image.PixelData = encapsulate([b"\xff\xd8 not really JPEG"])
        image["PixelData"].is_undefined_length = True
        image.file_meta.TransferSyntaxUID = JPEGLosslessSV1
        image.save_as(file)
    with pytest.raises(UnreadableInput, match="decompress the series"):
        read_ct(folder)


@pytest.mark.parametrize("name", ["ct.mhd", "ct.nhdr"])
def test_a_header_without_its_data_file_is_unreadable(name, tmp_path, capfd):
    path = write_itk(tmp_path / name, STRAIGHT)
    (data,) = [file for file in tmp_path.iterdir() if file != path]
    data.unlink()
    with pytest.raises(UnreadableInput):
        read_ct(path)
    assert capfd.readouterr().err == ""


def test_a_series_uid_without_dicom_is_an_error_of_usage(tmp_path):
    with pytest.raises(UsageFailure, match="leave it out"):
        read_ct(write_nifti(tmp_path / "ct.nii", STRAIGHT), series_uid="1.2.3")

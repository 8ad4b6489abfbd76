"""A CT from disk, in Hounsfield units, with where its voxels lie: NIfTI, NRRD, MetaImage or a DICOM series.

The voxels keep the order of the file, slice by slice: tensor axes are (slice, row, column). Orientation is in the grid's affine
alone. Padding below air becomes air; what cannot be a CT is refused.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from xct_components.data.ct.dicom_series import is_dicom, read_dicom_files, read_dicom_series
from xct_components.failures import Failure, RefusedInput, UnreadableInput, UsageFailure, first_line
from xct_components.geometry import VolumeGrid

#: HU of air as scanners clip it; lower values are padding outside the reconstructed circle.
AIR_HU = -1024.0
#: A CT of a patient shows air (below, HU) and soft tissue (between, HU), each in at least this share of the voxels.
AIR_BELOW_HU, TISSUE_HU, SMALLEST_SHARE = -500.0, (-200.0, 300.0), 0.002
#: Values looked at to judge the range.
JUDGED_VOXELS = 2_000_000
#: More voxels than any scanner writes (a 1024 x 1024 matrix with 2000 slices): a damaged or hostile header.
MOST_VOXELS = 1 << 31

_KINDS = "a NIfTI (.nii, .nii.gz), NRRD (.nrrd, .nhdr) or MetaImage (.mhd, .mha) file, or a DICOM CT series"
_PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif")


def read_ct(path: str | os.PathLike[str], *, series_uid: str | None = None) -> tuple[Float[Tensor, "1 1 d h w"], VolumeGrid]:
    """The CT at ``path``.

    Args:
        path: a NIfTI, NRRD or MetaImage file, a folder with a DICOM CT series, or one file of such a series.
        series_uid: SeriesInstanceUID (0020,000E) of the DICOM series to take; by default the one with most images.

    Returns:
        HU as float32 (1, 1, slices, rows, columns), at least -1024, and its grid in RAS mm.

    Raises:
        UnreadableInput: if the file or folder is missing, empty, truncated or damaged.
        RefusedInput: if it can be read but is not a CT volume: a film, colour, 4-D, no orientation, values that are not HU.
        UsageFailure: if ``series_uid`` is given for anything but DICOM.

    Example:
        >>> ct_hu, grid = read_ct("tests/data/cip-ct-64.nrrd")
        >>> tuple(ct_hu.shape), grid.axis_codes
        ((1, 1, 79, 64, 64), 'SPL')
    """
    path = Path(path)
    return _as_ct(path.name, lambda: _decode(path, series_uid))


def read_ct_images(files: Sequence[Path], name: str) -> tuple[Float[Tensor, "1 1 d h w"], VolumeGrid]:
    """The CT whose slices are these DICOM files, all of one series; otherwise as ``read_ct``.

    Args:
        files: one image each.
        name: what messages call the series.
    """
    return _as_ct(name, lambda: read_dicom_files(files, name))


def _as_ct(name: str, decode: Callable[[], tuple[np.ndarray, np.ndarray]]) -> tuple[Tensor, VolumeGrid]:
    """What ``decode`` gives, once it is certain that it is a CT; whatever it fails with, said in words."""
    try:
        values, world_from_voxel = decode()
    except (Failure, MemoryError):
        raise
    except Exception as error:  # the libraries fail in a dozen ways on damaged files
        raise UnreadableInput(f"{name} cannot be read; truncated, damaged or named wrongly? {first_line(error)}") from error
    _require_ct(values, name)
    np.maximum(values, AIR_HU, out=values)
    try:
        return torch.from_numpy(values)[None, None], VolumeGrid.from_affine(values.shape, world_from_voxel)
    except ValueError as error:
        raise RefusedInput(f"{name} does not say where its voxels lie: {error}") from error


def _decode(path: Path, series_uid: str | None) -> tuple[np.ndarray, np.ndarray]:
    """(slices, rows, columns) float32 and its 4x4 RAS affine."""
    if not path.exists():
        raise UnreadableInput(f"{path} does not exist")
    if path.is_file() and path.stat().st_size == 0:
        raise UnreadableInput(f"{path.name} is empty (0 bytes)")
    name = path.name.lower()
    if path.is_dir() or is_dicom(path):
        return read_dicom_series(path, series_uid)
    if series_uid is not None:
        raise UsageFailure(f"series_uid chooses among DICOM series, but {path.name} is not DICOM; leave it out")
    if name.endswith((".nii", ".nii.gz")):
        return _read_nifti(path)
    if name.endswith((".nrrd", ".nhdr", ".mhd", ".mha")):
        return _read_with_itk(path)
    what = "a picture" if name.endswith(_PICTURES) else "of an unknown kind"
    raise RefusedInput(f"{path.name} is {what}, not a CT volume; give {_KINDS}")


def _read_nifti(path: Path) -> tuple[np.ndarray, np.ndarray]:
    import nibabel
    from nibabel.imageglobals import LoggingOutputSuppressor

    with LoggingOutputSuppressor():
        image: Any = nibabel.load(path)
        _require_volume(image.shape, 1 if image.get_data_dtype().kind in "iuf" else 3, path.name)
        if not (int(image.header["sform_code"]) or int(image.header["qform_code"])):
            raise RefusedInput(f"{path.name} has no orientation (sform_code and qform_code are 0): left and right are unknown")
        values = image.get_fdata(dtype=np.float32, caching="unchanged").reshape(image.shape[:3], order="F")
    return np.ascontiguousarray(values.T), image.affine[:, [2, 1, 0, 3]]


def _read_with_itk(path: Path) -> tuple[np.ndarray, np.ndarray]:
    import itk

    nrrd = path.suffix.lower() in (".nrrd", ".nhdr")
    reader = (itk.NrrdImageIO if nrrd else itk.MetaImageIO).New()
    try:
        with _silent_stderr():
            if not reader.CanReadFile(str(path)):
                raise UnreadableInput(f"{path.name} has no {'NRRD' if nrrd else 'MetaImage'} header: damaged, or named wrongly")
            reader.SetFileName(str(path))
            reader.ReadImageInformation()
            shape = tuple(reader.GetDimensions(axis) for axis in range(reader.GetNumberOfDimensions()))
            _require_volume(shape, reader.GetNumberOfComponents(), path.name)
            image = itk.imread(str(path), itk.F, imageio=reader)
    except RuntimeError as error:  # its text is about C++ source lines
        raise UnreadableInput(f"{path.name} is truncated or damaged, or the data file of its header is missing") from error
    if nrrd and dict(image).get("NRRD_space") != "left-posterior-superior":  # what ITK turns every patient space into
        raise RefusedInput(f"{path.name} has no patient orientation (no usable 'space:' line): left and right are unknown")
    affine = np.eye(4)
    affine[:3, :3] = itk.array_from_matrix(image.GetDirection()) * np.asarray(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    ras_from_lps = np.diag([-1.0, -1.0, 1.0, 1.0])
    return itk.array_view_from_image(image), (ras_from_lps @ affine)[:, [2, 1, 0, 3]]


def _require_volume(shape: tuple[int, ...], channels: int, name: str) -> None:
    """Refuse, before any voxel is read, what is not one grey volume."""
    volumes = math.prod(shape[3:])
    if channels != 1:
        raise RefusedInput(f"{name} holds colours or vectors, not HU; give a CT volume")
    size = " x ".join(map(str, shape))
    if len(shape) < 3 or volumes != 1 or min(shape[:3]) < 2:
        kind = f"{volumes} volumes" if volumes != 1 else "a 2-D image"
        raise RefusedInput(f"{name} holds {kind} (shape {size}), not one 3-D CT")
    if math.prod(shape) > MOST_VOXELS:
        raise RefusedInput(f"{name} claims {size} voxels, more than any CT; is its header damaged?")


def _require_ct(values: np.ndarray, name: str) -> None:
    if not math.isfinite(float(values.sum(dtype=np.float64))):
        raise RefusedInput(f"{name} holds NaN or infinite values; set them to -1024 HU (air)")
    sample = values.reshape(-1)[:: max(1, values.size // JUDGED_VOXELS)]
    has_air = float((sample < AIR_BELOW_HU).mean()) >= SMALLEST_SHARE
    has_tissue = float(((sample > TISSUE_HU[0]) & (sample < TISSUE_HU[1])).mean()) >= SMALLEST_SHARE
    if not (has_air and has_tissue):
        found = "no air (below -500 HU)" if not has_air else "no soft tissue (-200 to 300 HU)"
        raise RefusedInput(
            f"{name} is not a CT in Hounsfield units: {found} among values from {sample.min():g} to {sample.max():g}; "
            "undo any rescaling or masking"
        )


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """Keep messages that compiled readers print past Python off the terminal; their errors still arrive as exceptions."""
    kept = os.dup(2)
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)

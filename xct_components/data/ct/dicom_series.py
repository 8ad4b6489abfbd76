"""A CT volume from the files of one DICOM series: sorted by position, checked for gaps, gantry tilt kept as shear."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xct_components.data.folder_walk import FolderWalk
from xct_components.failures import InputWarning, RefusedInput, UnreadableInput, first_line

#: HU of what the scanner did not reconstruct (Pixel Padding Value).
PADDING_HU = -1024.0
#: Slices must lie within this share of a slice spacing of their even place; a missing one shifts its neighbours by more.
PLACE_TOLERANCE = 0.1
#: Direction cosines and pixel spacings of one series agree within this; headers are decimal text of about 6 digits.
HEADER_TOLERANCE = 1e-3

_TAGS = [
    "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "Modality", "ImageType", "NumberOfFrames", "Rows", "Columns",
    "SamplesPerPixel", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing",
]  # fmt: skip


def is_dicom(path: Path) -> bool:
    """Whether a file starts as DICOM Part 10 files do (128 bytes of preamble, then DICM)."""
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def read_dicom_series(path: Path, series_uid: str | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The CT series in a folder and below it, also behind links; or the series that one file belongs to (within its folder).

    Args:
        path: folder or file.
        series_uid: SeriesInstanceUID to take; by default the file's own, or of the folder the one with most images.

    Returns:
        HU as float32 (slices, rows, columns) and the 4x4 affine in RAS mm.

    Raises:
        UnreadableInput: no DICOM there, a file that cannot be decoded, or a slice missing.
        RefusedInput: not a CT, or not one regular volume.
    """
    if path.is_file():
        own = _header(path)
        if own is None:
            raise UnreadableInput(f"{path.name} is damaged: its DICOM header cannot be read")
        _require_ct_images([own], path.name)
        series_uid = series_uid or own.SeriesInstanceUID
    folder = path if path.is_dir() else path.parent
    files = _files_below(folder) if path.is_dir() else sorted(file for file in folder.iterdir() if file.is_file())
    headers = [header for file in files if is_dicom(file) and (header := _header(file)) is not None]
    if not headers:
        raise UnreadableInput(f"{folder.name or folder} holds no DICOM file; of another format give the file itself")
    return _volume(_chosen_series(_require_ct_images(headers, folder.name), series_uid, folder.name), folder.name)


def read_dicom_files(files: Sequence[Path], name: str) -> tuple[np.ndarray, np.ndarray]:
    """The CT whose images are exactly these files: for a caller that has sorted a large folder into series already.

    Args:
        files: one image each, of one series.
        name: what messages call the series.

    Returns:
        As ``read_dicom_series``.

    Raises:
        UnreadableInput: a file that cannot be decoded, or a slice missing.
        RefusedInput: not a CT, or not one regular volume.
    """
    headers = [_header(file) for file in files]
    damaged = [file.name for file, header in zip(files, headers, strict=True) if header is None]
    if damaged or not files:
        raise UnreadableInput(
            f"{name} holds damaged files, the first of {len(damaged)} is {damaged[0]}" if damaged else f"{name} is empty"
        )
    return _volume(_require_ct_images([header for header in headers if header is not None], name), name)


def _files_below(folder: Path) -> list[Path]:
    """Every file; folders that cannot be read are warned of."""
    walk = FolderWalk(folder)
    files = sorted(here / name for here, names in walk for name in names)
    for place, reason in walk.unread:
        warnings.warn(f"left out {place.relative_to(folder)}: {reason}", InputWarning, stacklevel=3)
    return [file for file in files if file.is_file()]


def _volume(series: Sequence[Any], name: str) -> tuple[np.ndarray, np.ndarray]:
    ordered, affine_lps = _placed(_without_copies(series), name)
    volume = np.empty((len(ordered), ordered[0].Rows, ordered[0].Columns), dtype=np.float32)
    for target, header in zip(volume, ordered, strict=True):
        target[:] = _slice_hu(Path(header.filename))
    return volume, np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine_lps


def _header(file: Path) -> Any | None:
    """The tags that place an image, or None if the file's header is damaged."""
    import pydicom

    try:
        header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=_TAGS)
        return header if "SeriesInstanceUID" in header else None
    except (OSError, EOFError, ValueError, KeyError, AttributeError, NotImplementedError):
        return None


def _require_ct_images(headers: Sequence[Any], name: str) -> list[Any]:
    """The axial CT images among them; refuse if there is none."""
    modalities = sorted({str(header.get("Modality", "unknown")) for header in headers})
    found = [header for header in headers if header.get("Modality") == "CT"]
    if not found:
        raise RefusedInput(f"{name} is DICOM of modality {', '.join(modalities)}, not CT; give a CT series")
    if all(int(header.get("NumberOfFrames") or 1) > 1 for header in found):
        raise RefusedInput(f"{name} is a multi-frame CT; convert it to NIfTI first (dcm2niix)")
    images = [header for header in found if "LOCALIZER" not in header.get("ImageType", ()) and "ImagePositionPatient" in header]
    if not images:
        raise RefusedInput(f"{name} holds only CT localizers, or images without a position (0020,0032), not axial images")
    return images


def _chosen_series(images: Sequence[Any], series_uid: str | None, name: str) -> list[Any]:
    series: dict[str, list[Any]] = defaultdict(list)
    for image in images:
        series[str(image.SeriesInstanceUID)].append(image)
    if series_uid is None:
        series_uid = max(sorted(series), key=lambda uid: len(series[uid]))
        if len(series) > 1:
            others = ", ".join(str(len(group)) for uid, group in sorted(series.items()) if uid != series_uid)
            warnings.warn(
                f"{len(series)} CT series in the folder: took the one of {len(series[series_uid])} images (the others have "
                f"{others}); choose with series_uid",
                InputWarning,
                stacklevel=2,
            )
    if series_uid not in series:
        known = ", ".join(f"{uid} ({len(group)} images)" for uid, group in sorted(series.items()))
        raise RefusedInput(f"{name} has no CT series {series_uid}; it has {known}")
    return series[series_uid]


def _without_copies(series: Sequence[Any]) -> list[Any]:
    unique = {str(image.get("SOPInstanceUID")): image for image in series}
    if len(unique) < len(series):
        warnings.warn(f"left out {len(series) - len(unique)} second copies of images", InputWarning, stacklevel=2)
    return list(unique.values())


def _placed(series: Sequence[Any], name: str) -> tuple[list[Any], np.ndarray]:
    """The images in order, and the LPS affine of (slice, row, column): the slice step may be oblique to the image plane."""
    first = series[0]
    if len(series) < 2:
        raise RefusedInput(f"{name} has a single CT image, not a volume")
    for keyword in ("Rows", "Columns", "PixelSpacing", "ImageOrientationPatient"):
        given = [image.get(keyword) for image in series]
        if any(value is None or not np.allclose(value, given[0], atol=HEADER_TOLERANCE) for value in given):
            raise RefusedInput(f"{name}: the images of the series differ in {keyword}, or lack it; give one regular volume")
    along_row, down_column = np.split(np.asarray(first.ImageOrientationPatient, dtype=float), 2)
    normal = np.cross(along_row, down_column)
    ordered = sorted(series, key=lambda image: float(normal @ np.asarray(image.ImagePositionPatient, dtype=float)))
    corners = np.asarray([image.ImagePositionPatient for image in ordered], dtype=float)
    step = _even_step(corners, normal, name)
    row_mm, column_mm = (float(spacing) for spacing in first.PixelSpacing)
    affine = np.eye(4)
    affine[:3] = np.column_stack([step, down_column * row_mm, along_row * column_mm, corners[0]])
    return ordered, affine


def _even_step(corners_mm: np.ndarray, normal: np.ndarray, name: str) -> np.ndarray:
    gaps_mm = np.diff(corners_mm @ normal)
    usual_mm = float(np.median(gaps_mm))
    if gaps_mm.min() < PLACE_TOLERANCE * usual_mm or usual_mm <= 0.0:
        raise RefusedInput(f"{name} has several images at one position (phases or reconstructions); give one of them")
    step = (corners_mm[-1] - corners_mm[0]) / len(gaps_mm)
    places = corners_mm[0] + np.arange(len(corners_mm))[:, None] * step
    if float(np.linalg.norm(corners_mm - places, axis=1).max()) > PLACE_TOLERANCE * usual_mm:
        wide = int(gaps_mm.argmax())
        raise UnreadableInput(
            f"{name} is incomplete or uneven: {gaps_mm[wide]:.2f} mm from slice {wide + 1} to {wide + 2} of {len(corners_mm)}, "
            f"usually {usual_mm:.2f} mm; find the missing images"
        )
    return step


def _slice_hu(file: Path) -> np.ndarray:
    """One image in HU (Rows, Columns), float32."""
    import pydicom

    try:
        image = pydicom.dcmread(file)
        stored = image.pixel_array
    except (RuntimeError, NotImplementedError) as error:  # no decoder for its transfer syntax, or a damaged stream
        way_out = "decompress the series (dcmdjpeg, gdcmconv --raw); JPEG 2000, JPEG-LS: pip install 'xct-components[dicom]'"
        raise UnreadableInput(f"{file.name} cannot be decompressed here; {way_out}") from error
    except Exception as error:  # pydicom fails in a dozen ways on damaged files
        raise UnreadableInput(f"{file.name} is truncated or damaged: {first_line(error)}") from error
    if stored.ndim != 2:
        raise RefusedInput(f"{file.name} holds colours or several frames, not HU")
    hu = stored * np.float32(image.get("RescaleSlope") or 1) + np.float32(image.get("RescaleIntercept") or 0)
    if "PixelPaddingValue" in image:
        hu[stored == image.PixelPaddingValue] = PADDING_HU
    return hu.astype(np.float32, copy=False)

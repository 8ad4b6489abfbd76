"""A CR or DX film from one DICOM file: grey values after LUT and window, and what its tags say of size, view and sides."""

from __future__ import annotations

import math
import warnings as python_warnings
from pathlib import Path
from typing import Any, Literal

import numpy as np

from xct_components.data.film.source import FilmSource, require_film_size
from xct_components.failures import RefusedInput, UnreadableInput, first_line

MODALITIES = ("CR", "DX", "RG")
CHEST_PARTS = ("", "CHEST", "THORAX", "LUNG", "RIBS", "CHESTABDOMEN")
#: Not to be opened in this process: inflated without any limit of size.
DEFLATED = "1.2.840.10008.1.2.1.99"
#: Decoders that fail with an exception on damaged streams; gdcm would end the process.
DECODERS = {
    "1.2.840.10008.1.2.4.80": "pyjpegls",
    "1.2.840.10008.1.2.4.81": "pyjpegls",
    "1.2.840.10008.1.2.4.90": "pylibjpeg",
    "1.2.840.10008.1.2.4.91": "pylibjpeg",
    "1.2.840.10008.1.2.4.50": "pillow",
    "1.2.840.10008.1.2.4.51": "pillow",
}
LEAST_PIXEL_MM, MOST_PIXEL_MM = 0.02, 5.0
#: A window that makes more than this share of the pixels plain black or white is meant for a look, not for a film.
MOST_CLIPPED = 0.3
#: View codes of SNOMED CT (DICOM PS3.16, CID 4010): frontal and lateral ones with their ViewPosition, if they say it.
_FRONTAL_CODES = {"272479007": "PA", "399348003": "AP"}
_LATERAL_CODES: dict[str, str | None] = {"399067008": None, "399173006": "LL", "399198007": "RL"}


def film_from_dicom(path: Path) -> FilmSource:
    """The film in a DICOM file.

    Raises:
        UnreadableInput: for a damaged file, or a compression without a decoder.
        RefusedInput: for another modality, several frames, colours, or a size that no film has.
    """
    import pydicom

    meta = pydicom.filereader.read_file_meta_info(path)
    if str(meta.get("TransferSyntaxUID", "")) == DEFLATED:
        raise RefusedInput(f"{path.name} is a deflated DICOM file, whose size is unknown before it is read; convert it")
    with python_warnings.catch_warnings():
        # pydicom only warns, and hands over a dataset without any tag: the caller names the exception that this makes of it
        python_warnings.filterwarnings("error", message="End of file reached")
        dataset = pydicom.dcmread(path)
    _require_single_film(dataset, path.name)
    grey, facts, warnings = _presented(dataset, _stored(dataset, path.name))
    box = _shutter(dataset)
    if box is not None:
        (top, bottom), (left, right) = box
        grey = grey[top:bottom, left:right]
        facts["shutter_crop"] = {"rows": [top, bottom], "cols": [left, right]}
    grey, turns, side_known = _upright(dataset, grey)
    pixel_mm, pixel_source, magnification = _pixel_mm(dataset)
    view, position = _view(dataset)
    part = "".join(character for character in str(dataset.get("BodyPartExamined") or "").upper() if character.isalpha())
    concerns = [f"the tags say body part {part}"] if part not in CHEST_PARTS else []
    if dataset.get("PresentationIntentType") == "FOR PROCESSING":
        concerns.append("it is a raw FOR PROCESSING image")
    return FilmSource(
        np.ascontiguousarray(grey),
        "dicom",
        polarity="tags",
        pixel_mm=pixel_mm,
        pixel_mm_source=pixel_source,
        magnification=magnification,
        view=view,
        view_position=position,
        side_known=side_known,
        facing=_facing(dataset),
        facts={**facts, **({"turned_by_tags": turns} if turns else {})},
        concerns=tuple(concerns),
        warnings=tuple(warnings),
    )


def _require_single_film(dataset: Any, name: str) -> None:
    modality = str(dataset.get("Modality") or "")
    if modality not in MODALITIES:
        raise RefusedInput(f"{name} has the modality {modality or 'none'}, not a film (CR or DX)")
    if int(dataset.get("NumberOfFrames") or 1) != 1 or int(dataset.get("SamplesPerPixel") or 1) != 1:
        raise RefusedInput(f"{name} holds several frames or colours, not one grey film")
    require_film_size(int(dataset.get("Rows") or 0), int(dataset.get("Columns") or 0), name)
    if not str(dataset.get("PhotometricInterpretation")).startswith("MONOCHROME"):
        raise RefusedInput(f"{name} is not MONOCHROME1 or MONOCHROME2")


def _stored(dataset: Any, name: str) -> np.ndarray:
    """The stored pixels, decoded."""
    from pydicom.pixels.utils import pixel_array

    syntax = str(dataset.file_meta.TransferSyntaxUID)
    try:
        return pixel_array(dataset, decoding_plugin=DECODERS.get(syntax, ""))
    except (RuntimeError, NotImplementedError, ValueError) as error:
        if "missing" in str(error) or "not available" in str(error) or "Unable to decompress" in str(error):
            raise UnreadableInput(
                f"{name} is compressed ({dataset.file_meta.TransferSyntaxUID.name}) and cannot be decoded: "
                f"pip install 'xct-components[dicom]', or the file is damaged"
            ) from error
        raise UnreadableInput(f"{name} cannot be decoded: {first_line(error)}") from error


def _presented(dataset: Any, stored: np.ndarray) -> tuple[np.ndarray, dict[str, Any], list[str]]:
    """Float32 grey values, larger = brighter on a MONOCHROME2 display = more attenuation; the record; warnings."""
    from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut

    photometric = str(dataset.PhotometricInterpretation)
    facts: dict[str, Any] = {"size": list(stored.shape), "photometric_interpretation": photometric, "window": "none"}
    warnings = []
    modal = np.asarray(apply_modality_lut(stored, dataset))
    grey = modal.astype(np.float32)
    if "WindowCenter" in dataset or "VOILUTSequence" in dataset:
        try:
            shown = np.asarray(apply_voi_lut(modal, dataset)).astype(np.float32)
        except ValueError as error:
            warnings.append(f"the window of the tags cannot be applied ({first_line(error)})")
        else:
            clipped = float(((shown == shown.min()) | (shown == shown.max())).mean())
            facts["window"] = {"clipped_share": round(clipped, 4), "applied": clipped <= MOST_CLIPPED}
            grey = shown if clipped <= MOST_CLIPPED else grey
    if photometric == "MONOCHROME1":
        grey = grey.max() - grey
    padding = dataset.get("PixelPaddingValue")
    if padding is not None and not (stored == int(padding)).all():
        padded = stored == int(padding)
        grey[padded] = grey[~padded].min()
        facts["padded_share"] = round(float(padded.mean()), 4)
    return grey, facts, warnings


def _shutter(dataset: Any) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """Rows and columns (from, to) within the rectangular shutter or collimator of the tags."""
    for kind in ("Shutter", "Collimator"):
        if "RECTANGULAR" not in str(dataset.get(f"{kind}Shape") or ""):
            continue
        names = ("UpperHorizontal", "LowerHorizontal", "LeftVertical", "RightVertical")
        edges = [dataset.get(f"{kind}{name}Edge") for name in names]
        if any(edge is None for edge in edges):
            continue
        top, bottom, left, right = (int(edge) for edge in edges)
        rows, cols = (max(top, 0), min(bottom, dataset.Rows)), (max(left, 0), min(right, dataset.Columns))
        if rows[1] - rows[0] > dataset.Rows // 2 and cols[1] - cols[0] > dataset.Columns // 2:
            return rows, cols
    return None


def _upright(dataset: Any, grey: np.ndarray) -> tuple[np.ndarray, list[str], bool]:
    """The film flipped as PatientOrientation asks for; what was done; whether the tags fix the sides."""
    orientation = dataset.get("PatientOrientation") or ()
    along = [str(direction)[:1] for direction in orientation] if len(orientation) == 2 else []
    done: list[str] = []
    if len(along) == 2 and along[0] in ("L", "R") and along[1] in ("F", "H"):
        if along[0] == "R":
            grey, done = grey[:, ::-1], [*done, "left to right"]
        if along[1] == "H":
            grey, done = grey[::-1], [*done, "top to bottom"]
        return grey, done, True
    if len(along) == 2 and along[0] in ("A", "P") and along[1] == "H":
        return grey[::-1], ["top to bottom"], False
    return grey, done, False


def _facing(dataset: Any) -> Literal["left", "right"] | None:
    """Towards which side of a lateral picture the patient looks: PatientOrientation names where the columns grow."""
    orientation = dataset.get("PatientOrientation") or ()
    along = [str(direction)[:1] for direction in orientation][:1]
    return "right" if along == ["A"] else "left" if along == ["P"] else None


def _pixel_mm(dataset: Any) -> tuple[tuple[float, float] | None, str, float | None]:
    """Pixel size on the detector, its source, and the magnification if the tags give one (PS3.3 10.7)."""
    sid, sod = (_number(dataset.get(f"DistanceSourceTo{what}")) for what in ("Detector", "Patient"))
    factor = _number(dataset.get("EstimatedRadiographicMagnificationFactor"))
    magnification = factor if factor > 1.0 else sid / sod if 0.0 < sod < sid < math.inf else None
    on_detector, spacing = _pair(dataset.get("ImagerPixelSpacing")), _pair(dataset.get("PixelSpacing"))
    calibration = str(dataset.get("PixelSpacingCalibrationType") or "")
    if spacing and calibration in ("GEOMETRY", "FIDUCIAL"):
        height_mm, width_mm = spacing
        m = magnification or 1.125
        return (height_mm * m, width_mm * m), f"PixelSpacing calibrated by {calibration}, in the patient", m
    if on_detector:
        return on_detector, "ImagerPixelSpacing", magnification
    if spacing:
        return spacing, "PixelSpacing, taken to be on the detector", magnification
    return None, "unknown: no usable ImagerPixelSpacing or PixelSpacing", magnification


def _pair(value: Any) -> tuple[float, float] | None:
    numbers = [_number(number) for number in value] if value is not None and not isinstance(value, str | float) else []
    usable = len(numbers) == 2 and all(LEAST_PIXEL_MM <= number <= MOST_PIXEL_MM for number in numbers)
    return (numbers[0], numbers[1]) if usable else None


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def _view(dataset: Any) -> tuple[Any, str | None]:
    position = str(dataset.get("ViewPosition") or "").upper().strip()
    if position:
        kind = "frontal" if position in ("PA", "AP") else "lateral" if position in ("LL", "RL", "LAT", "LATERAL") else "other"
        return kind, position
    for code in dataset.get("ViewCodeSequence") or ():
        value = str(code.get("CodeValue") or "")
        if value in _FRONTAL_CODES or value in _LATERAL_CODES:
            return ("frontal" if value in _FRONTAL_CODES else "lateral"), _FRONTAL_CODES.get(value, _LATERAL_CODES.get(value))
    along = [str(direction)[:1] for direction in dataset.get("PatientOrientation") or ()]
    if len(along) == 2 and along[0] in ("A", "P"):
        return "lateral", None
    return None, None

"""Grey values of a picture (PNG, JPEG, TIFF, ...) or of a film stored as NIfTI."""

from __future__ import annotations

import json
import math
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xct_components.data.film.source import MOST_FILE_BYTES, FilmSource, require_contrast, require_film_size
from xct_components.data.simulate.film_geometry import SCHEMA
from xct_components.failures import Failure, RefusedInput, UnreadableInput, first_line

if TYPE_CHECKING:
    from PIL.Image import Image

#: Mean difference between the strongest and the weakest colour (of 255): markers and tinted films stay below, photos do not.
MOST_COLOUR = 20.0
#: Pillow's modes that hold one number per pixel, at full depth.
GREY_MODES = ("1", "L", "I", "F", "I;16", "I;16L", "I;16B", "I;16N")
COLOUR_MODES = ("RGB", "RGBA", "P", "PA", "LA", "CMYK", "YCbCr")
#: A pixel of exactly 1 mm is what readers write when they know none.
PLACEHOLDER_MM = 1.0
LEAST_PIXEL_MM, MOST_PIXEL_MM = 0.02, 6.0

_FRONTAL, _LATERAL = ("PA", "AP"), ("LL", "RL")


def film_from_file(path: Path) -> FilmSource:
    """The film in a picture, NIfTI or DICOM file.

    Raises:
        UnreadableInput: if the file is missing, empty, truncated or damaged.
        RefusedInput: if it can be read but is no single grey film.
    """
    from xct_components.data.ct.dicom_series import is_dicom
    from xct_components.data.film.dicom_film import film_from_dicom

    _require_file(path)
    if is_dicom(path) or path.suffix.lower() in (".dcm", ".dicom"):
        read = film_from_dicom
    else:
        read = _film_from_nifti if path.name.lower().endswith((".nii", ".nii.gz")) else _film_from_picture
    try:
        source = read(path)
    except (Failure, MemoryError):
        raise
    except Exception as error:  # decoders fail in a dozen ways on damaged files
        raise UnreadableInput(f"{path.name} cannot be read; truncated or damaged? {first_line(error)}") from error
    require_contrast(source.pixels, path.name)
    return source


def _require_file(path: Path) -> None:
    if path.is_dir():
        raise RefusedInput(f"{path.name} is a folder; give one film file")
    try:
        size = path.stat().st_size
    except OSError as error:
        raise UnreadableInput(f"{path} cannot be opened: {error.strerror}") from error
    if size == 0:
        raise UnreadableInput(f"{path.name} is empty")
    if size > MOST_FILE_BYTES:
        raise RefusedInput(f"{path.name} has {size >> 20} MiB, more than any single film")


def _film_from_picture(path: Path) -> FilmSource:
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the size is checked below
            image = Image.open(path)
    except UnidentifiedImageError as error:
        raise UnreadableInput(f"{path.name} is no picture, NIfTI or DICOM file, or damaged at its start") from error
    except Image.DecompressionBombError as error:
        raise RefusedInput(f"{path.name} claims more pixels than any film") from error
    with image:
        require_film_size(image.height, image.width, path.name)
        frames = getattr(image, "n_frames", 1)
        if frames != 1:
            raise RefusedInput(f"{path.name} holds {frames} pictures; give one film per file")
        facts: dict[str, Any] = {"mode": image.mode, "size": [image.height, image.width]}
        orientation = int(image.getexif().get(0x0112, 1))
        upright = ImageOps.exif_transpose(image)
        pixels = _grey(upright, path.name)
    if orientation != 1:
        facts["exif_orientation_undone"] = orientation
    return FilmSource(pixels, (image.format or "picture").lower(), facts=facts)


def _grey(image: Image, name: str) -> np.ndarray:
    """(rows, cols) float32 in the picture's own units; transparent pixels are black."""
    from PIL import Image as Pictures

    if image.mode in GREY_MODES:
        # Never convert("L") here: it clips 16-bit values at 255.
        return np.asarray(image).astype(np.float32)
    if image.mode not in COLOUR_MODES:
        raise RefusedInput(f"{name} has the colour space {image.mode}; save it as grey or RGB")
    colours = image.convert("RGBA")
    black = Pictures.new("RGBA", colours.size, (0, 0, 0, 255))
    rgb = np.asarray(Pictures.alpha_composite(black, colours).convert("RGB"))
    colour = float((rgb.max(-1).astype(np.float32) - rgb.min(-1)).mean())
    if colour > MOST_COLOUR:
        raise RefusedInput(f"{name} is a colour picture (mean colour difference {colour:.0f} of 255), not a film")
    return rgb.astype(np.float32).mean(-1)


def _film_from_nifti(path: Path) -> FilmSource:
    import nibabel

    image: Any = nibabel.load(path)
    shape = tuple(image.shape)
    if len(shape) < 2 or math.prod(shape[2:]) != 1:
        raise RefusedInput(f"{path.name} has the shape {shape}, not that of one film (columns, rows, 1); a CT is no film")
    require_film_size(shape[1], shape[0], path.name)
    if image.get_data_dtype().fields is not None:
        raise RefusedInput(f"{path.name} holds colours; save it as grey")
    values = np.asarray(image.dataobj, dtype=np.float32).reshape(shape[:2])
    pixels = np.ascontiguousarray(values.T)  # (column, row) of NIfTI films -> (row, column)
    geometry = _sidecar(path)
    if geometry is not None:
        return _simulated(pixels, geometry)
    width_mm, height_mm = (float(mm) for mm in image.header.get_zooms()[:2])
    integrals = b"line integrals" in bytes(image.header["descrip"])
    facts = {"size": [shape[1], shape[0]]}
    if (
        not all(LEAST_PIXEL_MM <= mm <= MOST_PIXEL_MM for mm in (height_mm, width_mm))
        or height_mm == width_mm == PLACEHOLDER_MM
    ):
        return FilmSource(
            pixels, "nifti", pixel_mm_source="unknown: the header holds none", line_integrals=integrals, facts=facts
        )
    size = (height_mm, width_mm)
    return FilmSource(pixels, "nifti", pixel_mm=size, pixel_mm_source="NIfTI header", line_integrals=integrals, facts=facts)


def _sidecar(path: Path) -> dict[str, Any] | None:
    """The JSON that ``xct simulate`` writes beside a film, or None."""
    beside = path.with_name(path.name.lower().removesuffix(".gz").removesuffix(".nii") + ".json")
    beside = path.with_name(path.name[: len(beside.stem)] + ".json")
    try:
        document = json.loads(beside.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) and document.get("schema") == SCHEMA else None


def _simulated(pixels: np.ndarray, geometry: dict[str, Any]) -> FilmSource:
    view = str(geometry["view"])
    height_mm, width_mm = (float(mm) for mm in geometry["pixel_size_mm"]["detector"])
    return FilmSource(
        pixels,
        "nifti",
        polarity="tags",
        pixel_mm=(height_mm, width_mm),
        pixel_mm_source="geometry JSON beside the film",
        magnification=float(geometry["source_to_detector_mm"]) / float(geometry["source_to_patient_mm"]),
        view="frontal" if view in _FRONTAL else "lateral" if view in _LATERAL else "other",
        view_position=view,
        side_known=True,
        line_integrals=True,
        facts={"size": list(pixels.shape), "physics": geometry.get("physics")},
    )

"""A film file without its borders, and the part of its record that is the same for every view."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from xct_components.data.file_hash import file_sha256
from xct_components.data.film.borders import borderless
from xct_components.data.film.pixel_size import PixelMm, with_pixel_size
from xct_components.data.film.pixels import film_from_file
from xct_components.data.film.source import FEWEST_SIDE_PIXELS, FilmSource
from xct_components.data.film.square_pixels import with_square_pixels
from xct_components.failures import RefusedInput


@dataclass(frozen=True)
class OpenedFilm:
    """What a file holds.

    Args:
        path: of the file.
        source: its grey values and tags.
        rows: of the source that are no border.
        cols: likewise.
        pixels: (rows, cols) float32 of the film without its borders.
    """

    path: Path
    source: FilmSource
    rows: slice
    cols: slice
    pixels: Float[Tensor, "rows cols"]

    def record(self, *, reversed_grey: bool) -> dict[str, Any]:
        """File, crop, polarity and pixel size, JSON-ready."""
        source = self.source
        return {
            "file": {"name": self.path.name, "sha256": file_sha256(self.path), "format": source.format, **source.facts},
            "crop": {
                "rows": [self.rows.start, self.rows.stop],
                "cols": [self.cols.start, self.cols.stop],
                "of": list(source.pixels.shape),
            },
            "polarity": {"from": source.polarity, "reversed": reversed_grey},
            "pixel_mm_on_detector": None if source.pixel_mm is None else list(source.pixel_mm),
            "pixel_mm_from": source.pixel_mm_source,
            "magnification": source.magnification,
        }


def opened_film(path: str | os.PathLike[str], pixel_mm: PixelMm | None = None) -> OpenedFilm:
    """Read a film file and cut off its borders; ``pixel_mm``: see ``with_pixel_size``.

    Raises:
        UnreadableInput: if the file is missing, empty, truncated or damaged.
        RefusedInput: if it is no single grey film, or blank.
        UsageFailure: for a size that no pixel has.
    """
    path = Path(path)
    source = with_square_pixels(with_pixel_size(film_from_file(path), pixel_mm), path.name)
    rows, cols = borderless(source.pixels)
    pixels = torch.from_numpy(np.ascontiguousarray(source.pixels[rows, cols]))
    if min(pixels.shape) < FEWEST_SIDE_PIXELS:
        raise RefusedInput(f"{path.name} is blank but for {pixels.shape[1]} x {pixels.shape[0]} pixels; export it again")
    return OpenedFilm(path, source, rows, cols, pixels)

"""Bands at the edges of a film are found, and the film itself is left alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from xct_components.data.film.borders import borderless

FILM = Path(__file__).parents[1] / "data" / "films" / "00000001_000.png"
# Air beside the shoulders is black itself: a few lines of it may go with the band.
SPARE_LINES = 4


@pytest.fixture(scope="module")
def grey() -> np.ndarray:
    return np.asarray(Image.open(FILM)).astype(np.float32)


def test_a_film_without_borders_is_kept_whole(grey):
    assert borderless(grey) == (slice(0, 512), slice(0, 512))


@pytest.mark.parametrize("value", [0.0, 255.0])
@pytest.mark.parametrize("bands", [(40, 0, 0, 0), (0, 60, 0, 0), (0, 0, 30, 30), (25, 35, 45, 55)])
def test_bands_are_removed_to_the_line(grey, bands, value):
    top, bottom, left, right = bands
    framed = np.pad(grey, ((top, bottom), (left, right)), constant_values=value)
    rows, cols = borderless(framed)
    found = (rows.start, framed.shape[0] - rows.stop, cols.start, framed.shape[1] - cols.stop)
    assert all(0 <= more - band <= SPARE_LINES for more, band in zip(found, bands, strict=True))


def test_white_shutters_within_a_black_letterbox_are_removed(grey):
    framed = np.pad(np.pad(grey, 20, constant_values=255.0), 30, constant_values=0.0)
    rows, cols = borderless(framed)
    assert abs(rows.start - 50) <= SPARE_LINES
    assert abs(cols.stop - 562) <= SPARE_LINES


def test_letters_in_a_band_do_not_hide_it(grey):
    framed = np.pad(grey, ((60, 0), (0, 0)), constant_values=0.0)
    framed[20:30, 100:118] = 255.0
    assert abs(borderless(framed)[0].start - 60) <= SPARE_LINES

"""Coronal CT slices are no films, however much they look like upright frontal chests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from xct_components.data.ct.reading import read_ct
from xct_components.data.film.reading import read_film
from xct_components.data.film.slice_check import CLIPPED, LEAST_HALFWAY
from xct_components.data.prepare.canonical_ct import canonical_ct
from xct_components.failures import InputWarning, RefusedInput

DATA = Path(__file__).parents[1] / "data"
# (HU of black, HU of white): what viewers offer for lungs, and one of the whole range.
LUNG_WINDOWS = [(-1350.0, 150.0), (-1000.0, 300.0), (-1000.0, 1000.0)]


def coronal_slice(tmp_path: Path, window: tuple[float, float], share: float = 0.45) -> Path:
    """A slice of the small CT on square pixels of 1 mm, head up, patient's right on the left."""
    ct = canonical_ct(*read_ct(DATA / "cip-ct-64.nrrd"))
    hu = ct.hu[:, int(share * ct.hu.shape[1])]  # head to feet, right to left
    grey = np.clip((hu - window[0]) / (window[1] - window[0]), 0.0, 1.0) * 255.0
    height_mm, width_mm = (mm * count for mm, count in zip(ct.grid.spacing_mm[::2], hu.shape, strict=True))
    picture = Image.fromarray(grey.astype(np.uint8)).resize((round(width_mm), round(height_mm)), Image.Resampling.BILINEAR)
    picture.save(tmp_path / "slice.png")
    return tmp_path / "slice.png"


@pytest.mark.parametrize("window", LUNG_WINDOWS)
def test_a_coronal_slice_in_a_lung_window_is_refused_as_a_slice(window, tmp_path):
    with pytest.raises(RefusedInput, match="slice of a CT"):
        read_film(coronal_slice(tmp_path, window))


def test_a_coronal_slice_in_a_soft_tissue_window_is_refused_or_at_least_questioned(tmp_path):
    path = coronal_slice(tmp_path, (-160.0, 240.0))
    with pytest.warns(InputWarning, match=r"slice of a CT"):
        film = read_film(path, accept=True)
    assert film.record["greys"]["dark_level"] < CLIPPED


def test_a_slice_is_taken_if_the_user_insists_and_the_record_says_so(tmp_path):
    with pytest.warns(InputWarning, match="slice of a CT"):
        film = read_film(coronal_slice(tmp_path, LUNG_WINDOWS[1]), accept=True)
    assert any("slice of a CT" in reason for reason in film.record["accepted_despite"])


@pytest.mark.parametrize("name", ["00000001_000.png", "00027426_000.png"])
@pytest.mark.parametrize("contrast", [1.0, 1.5])
def test_a_film_of_high_contrast_is_no_slice(name, contrast, tmp_path):
    grey = np.asarray(Image.open(DATA / "films" / name)).astype(np.float32)
    hard = np.clip((grey - 127.5) * contrast + 127.5, 0.0, 255.0).astype(np.uint8)
    Image.fromarray(hard).save(tmp_path / "film.png")
    film = read_film(tmp_path / "film.png")
    assert film.record["greys"]["halfway_share"] > LEAST_HALFWAY
    assert film.record["greys"]["dark_level"] > CLIPPED

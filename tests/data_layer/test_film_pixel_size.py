"""A user may say how large a film's pixels are: what is made of it has that size in millimetres, whatever its file says."""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data_layer.made_dicom_films import film as dicom_film
from tests.data_layer.made_dicom_films import film_pixels, written
from tests.generate_runs import simulate_film
from xct_components.data.film.calibration import USUAL_MAGNIFICATION, calibrated_film
from xct_components.data.film.lateral_calibration import calibrated_lateral
from xct_components.data.film.lateral_reading import read_lateral
from xct_components.data.film.opened_film import opened_film
from xct_components.data.film.pixel_size import as_pixel_mm
from xct_components.data.film.reading import read_film
from xct_components.failures import UsageFailure
from xct_components.inferers.film_reading import as_cascade_film, read_cascade_film

REAL_FILM = Path(__file__).parents[1] / "data" / "films" / "00000001_000.png"
# By its anatomy a pixel of this film is 0.67 mm in the patient, 0.75 mm on the detector.
LARGER_MM = 0.9


def quietly(function, *arguments, **settings):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*arguments, **settings)


def test_a_film_is_placed_by_the_size_that_the_user_tells():
    film = quietly(calibrated_film, read_film(REAL_FILM, pixel_mm=LARGER_MM), 64, 64)
    placement = film.record["placement"]
    assert placement["mm_per_pixel_in_patient"] == pytest.approx([LARGER_MM / USUAL_MAGNIFICATION] * 2)
    assert [placement["scale_from"], film.record["pixel_mm_from"]] == ["the user", "the user"]


def test_of_a_picture_with_larger_pixels_less_fits_into_the_field():
    shares = [quietly(calibrated_film, read_film(REAL_FILM, pixel_mm=mm), 64, 64).covered.float().mean() for mm in (0.3, 0.6)]
    # Both films lie within the field, so that the area that they cover grows with the square; edges are whole pixels of 5 mm.
    assert math.isclose(float(shares[1] / shares[0]), 4.0, rel_tol=0.05)


def test_pixels_of_which_the_user_says_that_they_are_oblong_are_made_square(tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (100, 120), dtype=np.uint8)).save(tmp_path / "film.png")
    opened = opened_film(tmp_path / "film.png", (0.6, 0.3))
    assert opened.source.pixel_mm == pytest.approx((0.3, 0.3))
    assert opened.source.pixels.shape == (200, 120)


def test_where_the_file_says_another_size_that_of_the_user_is_taken_and_the_user_is_told(tmp_path):
    path = written(tmp_path / "film.dcm", dicom_film(film_pixels(12), 12, ImagerPixelSpacing=[0.2, 0.2]))
    assert opened_film(path).source.pixel_mm == (0.2, 0.2)
    told = opened_film(path, 0.4).source
    assert told.pixel_mm == (0.4, 0.4)
    assert told.warnings[-1] == "you say that a pixel is 0.4 x 0.4 mm, the file says 0.2 x 0.2 mm; yours is taken"
    assert opened_film(path, 0.2).source.warnings == opened_film(path).source.warnings


def test_a_lateral_film_is_placed_by_the_size_that_the_user_tells(tmp_path):
    grey = np.random.default_rng(1).integers(0, 255, (128, 128), dtype=np.uint8)
    Image.fromarray(grey).save(tmp_path / "lateral.png")
    frontal = quietly(calibrated_film, read_film(REAL_FILM, pixel_mm=LARGER_MM), 64, 64)
    lateral = quietly(read_lateral, tmp_path / "lateral.png", accept=True, pixel_mm=1.5)
    placed = quietly(calibrated_lateral, lateral, frontal.record, 64, 64).record["placement"]
    assert placed["mm_per_pixel_in_patient"] == pytest.approx([1.5 / USUAL_MAGNIFICATION] * 2)


@pytest.mark.parametrize("size", [0, -0.2, 6.0, math.nan, math.inf, (0.2,), (0.2, 0.2, 0.2), "0.2", True, (0.2, None)])
def test_a_size_that_no_pixel_has_is_refused(size):
    with pytest.raises(UsageFailure, match=r"pixel_mm must be one number of mm, or height,width, between 0.02 and 5, got"):
        as_pixel_mm(size)


def test_a_film_that_knows_its_geometry_takes_no_other_size(tmp_path):
    film = simulate_film(tmp_path)
    with pytest.raises(UsageFailure, match=r"the JSON beside film.nii.gz says it: leave it out"):
        read_cascade_film(film, accept=True, pixel_mm=0.2)


def test_a_size_without_its_film_is_refused():
    film = quietly(read_cascade_film, REAL_FILM)
    with pytest.raises(UsageFailure, match="pixel_mm is for a film file"):
        as_cascade_film(film, pixel_mm=0.2)
    with pytest.raises(UsageFailure, match="lateral_pixel_mm belongs to a lateral film"):
        as_cascade_film(REAL_FILM, lateral_pixel_mm=0.2)

"""Which films are taken and which are refused, on real films turned in every way."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
import torch
from PIL import Image

from xct_components.data.film.reading import read_film
from xct_components.failures import InputWarning, RefusedInput, UsageFailure

FILMS = Path(__file__).parents[1] / "data" / "films"
FIRST, SECOND = FILMS / "00000001_000.png", FILMS / "00027426_000.png"
# The lungs of both films lie around the middle of 512 pixels; a person would put their middle within this.
MIDDLE_PIXELS = 30


def changed(tmp_path: Path, film: Path, change) -> Path:
    Image.fromarray(np.ascontiguousarray(change(np.asarray(Image.open(film))))).save(tmp_path / "film.png")
    return tmp_path / "film.png"


@pytest.mark.parametrize("path", [FIRST, SECOND])
def test_a_frontal_film_is_accepted_as_it_is(path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        film = read_film(path)
    np.testing.assert_array_equal(film.pixels[0, 0].numpy(), np.asarray(Image.open(path)))
    assert film.pixel_mm is None
    assert film.record["view"]["side"] == "as expected"
    assert all(abs(middle - 255.5) < MIDDLE_PIXELS for middle in film.pose.middle)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_turned_film_is_refused_with_its_angle(turns, tmp_path):
    with pytest.raises(RefusedInput, match=f"rotated by {360 - 90 * turns} degrees clockwise") as refused:
        read_film(changed(tmp_path, SECOND, lambda grey: np.rot90(grey, turns)))
    assert "Turn it upright" in str(refused.value)


def test_a_mirrored_film_is_refused_unless_it_is_accepted(tmp_path):
    path = changed(tmp_path, FIRST, np.fliplr)
    with pytest.raises(RefusedInput, match="mirrored"):
        read_film(path)
    with pytest.warns(InputWarning, match="mirrored"):
        film = read_film(path, accept=True)
    assert any("mirrored" in reason for reason in film.record["accepted_despite"])
    np.testing.assert_array_equal(film.pixels[0, 0].numpy(), np.asarray(Image.open(path)))


def test_a_picture_with_black_bones_is_turned_round(tmp_path):
    with pytest.warns(InputWarning, match="grey scale"):
        film = read_film(changed(tmp_path, FIRST, lambda grey: 255 - grey))
    assert film.record["polarity"] == {"from": "unknown", "reversed": True}
    np.testing.assert_array_equal(film.pixels[0, 0].numpy(), np.asarray(Image.open(FIRST)))


def test_a_dicom_film_whose_tags_lie_about_its_polarity_is_refused(tmp_path):
    dataset = pydicom.dcmread(FILMS / "NIH_00000001_000_DX.dcm")
    dataset.PhotometricInterpretation = "MONOCHROME1"
    dataset.save_as(tmp_path / "film.dcm")
    with pytest.raises(RefusedInput, match="bones look black"):
        read_film(tmp_path / "film.dcm")


def test_a_dicom_film_that_calls_itself_lateral_is_refused(tmp_path):
    dataset = pydicom.dcmread(FILMS / "NIH_00000001_000_DX.dcm")
    dataset.ViewPosition = "LL"
    dataset.save_as(tmp_path / "film.dcm")
    with pytest.raises(RefusedInput, match="view LL"):
        read_film(tmp_path / "film.dcm")


def test_what_is_no_chest_is_refused(tmp_path):
    generator = torch.Generator().manual_seed(3)
    noise = (torch.rand(256, 256, generator=generator) * 255).byte().numpy()
    Image.fromarray(noise).save(tmp_path / "noise.png")
    with pytest.raises(RefusedInput, match="does not look like an upright frontal chest film"):
        read_film(tmp_path / "noise.png")
    with pytest.raises(UsageFailure, match="view must be PA or AP"):
        read_film(tmp_path / "noise.png", view="LL")


def test_a_cropped_film_is_accepted_and_placed_where_the_whole_one_is(tmp_path):
    whole = read_film(FIRST)
    cropped = read_film(changed(tmp_path, FIRST, lambda grey: grey[40:440, 30:490]))
    assert cropped.pose.middle[0] + 40 == pytest.approx(whole.pose.middle[0], abs=MIDDLE_PIXELS / 2)
    assert cropped.pose.middle[1] + 30 == pytest.approx(whole.pose.middle[1], abs=MIDDLE_PIXELS / 2)


def test_a_letterbox_is_cut_off_and_recorded(tmp_path):
    film = read_film(changed(tmp_path, SECOND, lambda grey: np.pad(grey, ((50, 50), (0, 0)))))
    assert film.record["crop"]["rows"][0] >= 50
    assert film.record["crop"]["of"] == [612, 512]

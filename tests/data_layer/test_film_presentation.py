"""From stored values to greys: rescale, tables, windows, inversion, raw images and padding, each against its formula."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest

from tests.data_layer.made_dicom_films import film, film_pixels, written
from xct_components.data.film.pixels import film_from_file
from xct_components.data.film.source import FilmSource
from xct_components.failures import RefusedInput

# Greys are float32 of up to 16 bits.
FLOAT32_LEVELS = 0.01
PIXELS = film_pixels(12)
MOST = 4095.0


def read(tmp_path: Path, pixels: np.ndarray = PIXELS, bits: int = 12, **tags: Any) -> FilmSource:
    return film_from_file(written(tmp_path / "film.dcm", film(pixels, bits, **tags)))


def table(first: int, bits: int, entries: np.ndarray) -> pydicom.Dataset:
    item = pydicom.Dataset()
    item.add_new("LUTDescriptor", "US", [len(entries), first, bits])
    item.add_new("LUTData", "OW", entries.astype("<u2").tobytes())
    return item


def test_inversion_does_not_depend_on_what_the_film_holds(tmp_path):
    dim = (PIXELS // 2).astype(np.uint16)
    np.testing.assert_array_equal(read(tmp_path, dim, photometric="MONOCHROME1").pixels, MOST - dim)


def test_a_negative_slope_turns_the_greys_round_once(tmp_path):
    tags: dict[str, Any] = {"RescaleSlope": "-1", "RescaleIntercept": "4095", "WindowCenter": "2048", "WindowWidth": "4096"}
    expected = MOST - PIXELS
    np.testing.assert_allclose(read(tmp_path, **tags).pixels, expected, atol=1.0)
    np.testing.assert_allclose(read(tmp_path, photometric="MONOCHROME1", **tags).pixels, PIXELS, atol=1.0)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_a_window_is_that_of_highdicom(function, photometric, tmp_path):
    window: dict[str, Any] = {"WindowCenter": ["2000", "7"], "WindowWidth": ["3600", "9"], "VOILUTFunction": function}
    path = written(tmp_path / "film.dcm", film(PIXELS, 12, photometric=photometric, **window))
    expected = highdicom.imread(path).get_frame(1, apply_voi_transform=True, voi_output_range=(0.0, MOST))
    source = film_from_file(path)
    assert source.facts["window"]["applied"] is True
    np.testing.assert_allclose(source.pixels, expected, atol=FLOAT32_LEVELS)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_a_table_has_a_depth_of_its_own_and_goes_before_a_window(photometric, tmp_path):
    entries = np.round(1023.0 * np.sqrt(np.arange(4000) / 3999.0))
    tags: dict[str, Any] = {"VOILUTSequence": [table(50, 10, entries)], "WindowCenter": "1", "WindowWidth": "2"}
    shown = entries[np.clip(PIXELS.astype(int) - 50, 0, 3999)]
    expected = shown if photometric == "MONOCHROME2" else 1023.0 - shown
    np.testing.assert_array_equal(read(tmp_path, photometric=photometric, **tags).pixels, expected)


def test_a_table_of_8_bits_maps_all_12_bits_of_a_film(tmp_path):
    entries = np.arange(4096) // 16
    np.testing.assert_array_equal(read(tmp_path, VOILUTSequence=[table(0, 8, entries)]).pixels, PIXELS // 16)


def test_a_modality_table_is_looked_up_before_the_window(tmp_path):
    entries = np.round(65535.0 * (np.arange(4096) / 4095.0) ** 2)
    path = written(tmp_path / "film.dcm", film(PIXELS, 12, ModalityLUTSequence=[table(0, 16, entries)]))
    np.testing.assert_array_equal(film_from_file(path).pixels, highdicom.imread(path).get_frame(1))


@pytest.mark.parametrize("window", [("2048", "0"), ("2048", "-5"), ("", ""), ("1e400", "5")])
def test_a_window_that_cannot_be_is_not_applied(window, tmp_path):
    source = read(tmp_path, WindowCenter=window[0], WindowWidth=window[1])
    np.testing.assert_array_equal(source.pixels, PIXELS)


@pytest.mark.parametrize(("shape", "photometric"), [("INVERSE", "MONOCHROME1"), ("IDENTITY", "MONOCHROME2")])
def test_a_presentation_shape_that_agrees_turns_nothing_round_twice(shape, photometric, tmp_path):
    source = read(tmp_path, photometric=photometric, PresentationLUTShape=shape, modality="DX")
    np.testing.assert_array_equal(source.pixels, PIXELS if shape == "IDENTITY" else MOST - PIXELS)
    assert (source.polarity, source.warnings) == ("tags", ())


@pytest.mark.parametrize(("shape", "photometric"), [("IDENTITY", "MONOCHROME1"), ("INVERSE", "MONOCHROME2")])
def test_a_presentation_shape_that_contradicts_leaves_the_polarity_to_the_picture(shape, photometric, tmp_path):
    source = read(tmp_path, photometric=photometric, PresentationLUTShape=shape, modality="DX")
    assert source.polarity == "unknown"
    assert any("contradicts" in warning for warning in source.warnings)


@pytest.mark.parametrize("sign", [1, -1])
def test_raw_counts_of_photons_become_their_negative_logarithm_and_a_concern(sign, tmp_path):
    photons = PIXELS.astype(np.float64) if sign > 0 else MOST - PIXELS
    tags: dict[str, Any] = {"PresentationIntentType": "FOR PROCESSING", "PixelIntensityRelationship": "LIN"}
    source = read(tmp_path, PixelIntensityRelationshipSign=sign, **tags)
    np.testing.assert_allclose(source.pixels, np.log(MOST / np.maximum(photons, 1.0)), atol=1e-4)
    assert any("FOR PROCESSING" in concern for concern in source.concerns)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("sign", [1, -1])
def test_raw_logarithms_are_turned_by_their_sign_and_not_by_their_display(sign, photometric, tmp_path):
    tags: dict[str, Any] = {
        "PresentationIntentType": "FOR PROCESSING",
        "PixelIntensityRelationship": "LOG",
        "photometric": photometric,
    }
    source = read(tmp_path, PixelIntensityRelationshipSign=sign, **tags)
    np.testing.assert_array_equal(source.pixels, MOST - PIXELS if sign > 0 else PIXELS)


def test_padding_between_two_values_is_black_and_does_not_count_as_clipped(tmp_path):
    pixels = np.clip(PIXELS, 100, 3900).astype(np.uint16)
    pixels[:40] = 4000
    pixels[40:42] = 4090
    tags: dict[str, Any] = {
        "PixelPaddingValue": 4095,
        "PixelPaddingRangeLimit": 3990,
        "WindowCenter": "2000",
        "WindowWidth": "3900",
    }
    source = read(tmp_path, pixels, **tags)
    assert (source.pixels[:42] == source.pixels[42:].min()).all()
    assert source.facts["padded_share"] == round(42 / 96, 4)
    assert source.facts["window"]["applied"] is True


def test_signed_pixels_and_their_padding_are_signed(tmp_path):
    signed = PIXELS.astype(np.int16) - 2048
    signed[0] = -2048
    path = written(tmp_path / "film.dcm", film(signed, 12, PixelPaddingValue=-2048))
    source = film_from_file(path)
    np.testing.assert_array_equal(source.pixels[1:], np.where(signed[1:] == -2048, signed[signed > -2048].min(), signed[1:]))
    assert source.pixels[0].max() == signed[signed > -2048].min()


@pytest.mark.parametrize("syntax", ["explicit", "RLE"])
def test_bits_that_do_not_begin_at_0_are_found_and_the_others_ignored(syntax, tmp_path):
    made = film((PIXELS << 4) | 5, 12)
    made.HighBit = 15
    np.testing.assert_array_equal(film_from_file(written(tmp_path / "film.dcm", made, syntax)).pixels, PIXELS)


@pytest.mark.parametrize(
    "tags",
    [{"BitsAllocated": 12}, {"BitsStored": 17}, {"BitsStored": 0}, {"HighBit": 99}, {"HighBit": 3}, {"BitsAllocated": 1}],
)
def test_bits_that_no_pixel_has_are_refused(tags, tmp_path):
    made = film(PIXELS, 12)
    for name, value in tags.items():
        setattr(made, name, value)
    made.save_as(tmp_path / "film.dcm", enforce_file_format=True)
    with pytest.raises(RefusedInput, match="pixels of no film"):
        film_from_file(tmp_path / "film.dcm")

"""Films of every depth, polarity and transfer syntax have the pixels that highdicom and SimpleITK find in them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
import SimpleITK
from pydicom.data import get_testdata_file

from tests.data_layer.made_dicom_films import SYNTAXES, film, film_pixels, written
from xct_components.data.film.dicom_decoding import pixel_layout, stored_pixels
from xct_components.data.film.dicom_reading import film_dataset
from xct_components.data.film.pixels import film_from_file

LOSSLESS = [
    ("CR", "MONOCHROME1", 15, "implicit"),
    ("CR", "MONOCHROME2", 10, "explicit"),
    ("DX", "MONOCHROME1", 8, "explicit"),
    ("DX", "MONOCHROME2", 12, "big endian"),
    ("DX", "MONOCHROME1", 16, "deflated"),
    ("CR", "MONOCHROME1", 12, "RLE"),
    ("CR", "MONOCHROME2", 8, "RLE"),
    ("DX", "MONOCHROME2", 16, "JPEG lossless"),
    ("CR", "MONOCHROME1", 10, "JPEG lossless SV1"),
    ("DX", "MONOCHROME1", 15, "JPEG lossless SV1"),
    ("CR", "MONOCHROME2", 15, "JPEG-LS"),
    ("DX", "MONOCHROME1", 8, "JPEG-LS"),
    ("DX", "MONOCHROME2", 10, "JPEG 2000"),
    ("CR", "MONOCHROME1", 16, "JPEG 2000"),
    ("DX", "MONOCHROME2", 12, "HTJ2K"),
]
# Grey values by which two decoders of one lossy stream may differ (JPEG and JPEG-LS compute in whole numbers, JPEG 2000 does
# not), and by which the encoders' settings let the film itself differ: a few per mille of the range.
LOSSY = [
    ("CR", "MONOCHROME2", 8, "JPEG baseline", (0, 12)),
    ("DX", "MONOCHROME1", 12, "JPEG extended", (0, 40)),
    ("CR", "MONOCHROME1", 12, "JPEG-LS near", (0, 2)),
    ("DX", "MONOCHROME2", 12, "JPEG 2000 lossy", (1, 120)),
]
# highdicom reads no big endian, and finds no permissive decoder of JPEG beyond 8 bits. SimpleITK reads them all.
NOT_BY_HIGHDICOM = ("big endian", "JPEG extended", "JPEG lossless", "JPEG lossless SV1")


def by_highdicom(path: Path) -> np.ndarray:
    return np.asarray(highdicom.imread(path).get_frame(1))


def by_itk(path: Path) -> np.ndarray:
    return SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))[0]


def displayed(pixels: np.ndarray, bits: int, photometric: str) -> np.ndarray:
    return pixels if photometric == "MONOCHROME2" else 2**bits - 1 - pixels.astype(np.int64)


@pytest.mark.parametrize(("modality", "photometric", "bits", "syntax"), LOSSLESS)
def test_a_lossless_film_is_what_was_encoded_and_what_other_readers_find(modality, photometric, bits, syntax, tmp_path):
    pixels = film_pixels(bits)
    path = written(tmp_path / "film.dcm", film(pixels, bits, modality=modality, photometric=photometric), syntax)
    found = film_from_file(path)
    assert pydicom.dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID == SYNTAXES[syntax]
    np.testing.assert_array_equal(found.pixels, displayed(pixels, bits, photometric))
    if syntax not in NOT_BY_HIGHDICOM:
        np.testing.assert_array_equal(found.pixels, by_highdicom(path))
    np.testing.assert_array_equal(found.pixels, by_itk(path))


def test_twelve_films_and_more_of_nine_syntaxes_and_more_equal_both_other_readers():
    exact = [case[:4] for case in LOSSLESS] + [case[:4] for case in LOSSY if case[4][0] == 0]
    by_both = [case for case in exact if case[3] not in NOT_BY_HIGHDICOM]
    assert len(by_both) >= 12
    assert len({syntax for *_, syntax in by_both}) >= 9
    assert {bits for _, _, bits, _ in by_both} == {8, 10, 12, 15, 16}
    assert all(len({case[place] for case in by_both}) == 2 for place in (0, 1))


@pytest.mark.parametrize(("modality", "photometric", "bits", "syntax", "within"), LOSSY)
def test_a_lossy_film_is_what_other_decoders_make_of_it(modality, photometric, bits, syntax, within, tmp_path):
    pixels, (decoders, encoder) = film_pixels(bits), within
    path = written(tmp_path / "film.dcm", film(pixels, bits, modality=modality, photometric=photometric), syntax)
    found = film_from_file(path).pixels
    difference = np.abs(found - displayed(pixels, bits, photometric))
    assert 0 < difference.max() <= encoder
    if syntax not in NOT_BY_HIGHDICOM:
        assert np.abs(found - by_highdicom(path)).max() <= decoders
    assert np.abs(found - by_itk(path)).max() <= decoders


@pytest.mark.parametrize(
    ("program", "options", "syntax"),
    [("dcmcjpeg", ["+e1"], "JPEG lossless SV1"), ("dcmcjpeg", ["+el", "+sv", "4"], "JPEG lossless"), ("dcmcrle", [], "RLE"),
     ("dcmcjpls", [], "JPEG-LS")],
)  # fmt: skip
def test_what_dcmtk_encodes_is_read_without_a_difference(program, options, syntax, tmp_path):
    if shutil.which(program) is None:
        pytest.skip(f"{program} is missing: apt install dcmtk")
    pixels = film_pixels(12)
    plain = written(tmp_path / "plain.dcm", film(pixels, 12, photometric="MONOCHROME1"))
    subprocess.run([program, *options, plain, tmp_path / "film.dcm"], check=True, capture_output=True)
    found = film_from_file(tmp_path / "film.dcm")
    assert found.facts["transfer_syntax"] == pydicom.uid.UID(SYNTAXES[syntax]).name
    np.testing.assert_array_equal(found.pixels, displayed(pixels, 12, "MONOCHROME1"))


@pytest.fixture(scope="module")
def real_cr() -> tuple[Path, Path]:
    """A real chest CR (NEMA's RG1, in pydicom-data): plain, and JPEG 2000 without loss."""
    found = [get_testdata_file(f"RG1_{kind}.dcm", download=False) for kind in ("UNCR", "J2KR")]
    assert all(found), "pip install pydicom-data: tests download nothing"
    return Path(str(found[0])), Path(str(found[1]))


def test_a_real_cr_is_bit_equal_plain_and_compressed_and_equal_to_other_readers(real_cr):
    stored = []
    for path in real_cr:
        dataset = film_dataset(path)
        stored.append(stored_pixels(dataset, pixel_layout(dataset, path.name), path.name))
    np.testing.assert_array_equal(stored[0], stored[1])
    shown = 2**15 - 1 - stored[0].astype(np.int64)
    np.testing.assert_array_equal(shown, by_highdicom(real_cr[0]))
    np.testing.assert_array_equal(shown, by_itk(real_cr[0]))


def test_the_window_of_a_real_cr_is_highdicoms(real_cr):
    image = highdicom.imread(real_cr[0])
    expected = image.get_frame(1, apply_voi_transform=True, voi_output_range=(0.0, 2.0**15 - 1))
    # float32 keeps 7 digits of values up to 32767
    np.testing.assert_allclose(film_from_file(real_cr[0]).pixels, expected, atol=0.02)

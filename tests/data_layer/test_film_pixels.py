"""Every file format gives the same grey values, and a damaged or hostile file ends in a documented failure."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image

from xct_components.data.film.pixels import film_from_file
from xct_components.failures import RefusedInput, UnreadableInput

FILMS = Path(__file__).parents[1] / "data" / "films"
# JPEG at quality 95 changes single pixels by some grey levels, on average by less than this.
JPEG_LEVELS = 1.5


@pytest.fixture(scope="module")
def grey() -> np.ndarray:
    return np.asarray(Image.open(FILMS / "00000001_000.png"))


def saved(path: Path, pixels: np.ndarray, mode: str | None = None, **options: Any) -> np.ndarray:
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(path, **options)
    return film_from_file(path).pixels


@pytest.mark.parametrize(
    ("name", "mode"),
    [("film.png", None), ("film.tif", None), ("film.png", "RGB"), ("film.png", "RGBA"), ("film.png", "P"), ("film.tif", "LA")],
)
def test_grey_colour_alpha_and_palette_give_the_same_film(grey, name, mode, tmp_path):
    np.testing.assert_allclose(saved(tmp_path / name, grey, mode), grey, atol=1e-3)


@pytest.mark.parametrize("name", ["film.png", "film.tif"])
def test_sixteen_bits_are_kept(grey, name, tmp_path):
    deep = grey.astype(np.uint16) * 257
    np.testing.assert_array_equal(saved(tmp_path / name, deep), deep)


def test_a_jpeg_gives_nearly_the_same_film(grey, tmp_path):
    assert np.abs(saved(tmp_path / "film.jpg", grey, quality=95) - grey).mean() < JPEG_LEVELS


def test_the_exif_orientation_is_undone(grey, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned clockwise by 90 degrees
    np.testing.assert_array_equal(saved(tmp_path / "film.png", np.rot90(grey).copy(), exif=exif), grey)


def test_transparent_pixels_are_black(grey, tmp_path):
    opaque = np.zeros_like(grey)
    opaque[:256] = 255
    pixels = saved(tmp_path / "film.png", np.stack([grey, grey, grey, opaque], axis=-1))
    np.testing.assert_array_equal(pixels[:256], grey[:256])
    assert pixels[256:].max() == 0.0


@pytest.mark.parametrize("shape", [(512, 512, 1), (512, 512)])
def test_a_nifti_film_has_columns_first_and_its_pixel_size(grey, shape, tmp_path):
    pixels = grey.astype(np.float32)
    pixels[3, 7] = 999.0
    nibabel.save(nibabel.Nifti1Image(pixels.T.reshape(shape), np.diag([-0.7, -0.8, 1.0, 1.0])), tmp_path / "film.nii.gz")
    source = film_from_file(tmp_path / "film.nii.gz")
    np.testing.assert_array_equal(source.pixels, pixels)
    assert source.pixel_mm == pytest.approx((0.8, 0.7))


def test_a_nifti_pixel_of_one_millimetre_is_unknown(grey, tmp_path):
    nibabel.save(nibabel.Nifti1Image(grey.T[..., None], np.eye(4)), tmp_path / "film.nii")
    assert film_from_file(tmp_path / "film.nii").pixel_mm is None


def png_claiming(rows: int, cols: int) -> bytes:
    """A PNG header of that size, and hardly any data."""
    header = struct.pack(">IIBBBBB", cols, rows, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 100)), (b"IEND", b"")]
    packed = [struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def nifti_claiming(shape: tuple[int, ...]) -> bytes:
    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.float64)
    header.set_data_shape(shape)
    header["vox_offset"] = 352
    return header.binaryblock + b"\0" * 100


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.png", b""),
        ("text.png", b"this is no picture at all"),
        ("noise.jpg", bytes(range(256)) * 20),
        ("noise.dcm", bytes(range(256)) * 20),
        ("short.nii", nifti_claiming((512, 512, 1))),
        ("noise.nii.gz", b"\x1f\x8b" + bytes(range(200))),
        ("short.png", png_claiming(512, 512)),
    ],
)
def test_what_cannot_be_decoded_is_unreadable(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UnreadableInput, match=name):
        film_from_file(tmp_path / name)


def test_truncated_files_are_unreadable(tmp_path):
    for film in sorted(FILMS.glob("*.[pd][nc][gm]")):
        (tmp_path / film.name).write_bytes(film.read_bytes()[: film.stat().st_size // 2])
        with pytest.raises(UnreadableInput, match=film.name):
            film_from_file(tmp_path / film.name)


def test_a_missing_file_is_unreadable(tmp_path):
    with pytest.raises(UnreadableInput, match=r"none\.png"):
        film_from_file(tmp_path / "none.png")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("bomb.png", png_claiming(60_000, 50_000), "more"),
        ("wide.png", png_claiming(9_000, 9_000), "more"),
        ("tiny.png", png_claiming(16, 16), "at least 64"),
        ("claims_3_gb.nii", nifti_claiming((20_000, 20_000, 1)), "more than any film"),
        ("volume.nii", nifti_claiming((64, 64, 64)), "not that of one film"),
    ],
)
def test_a_size_that_no_film_has_is_refused_before_it_is_decoded(name, content, reason, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RefusedInput, match=reason):
        film_from_file(tmp_path / name)


def test_photos_blank_films_and_several_pages_are_refused(grey, tmp_path):
    photo = np.stack([grey, 255 - grey, grey], axis=-1)
    with pytest.raises(RefusedInput, match="colour picture"):
        saved(tmp_path / "photo.png", photo)
    with pytest.raises(RefusedInput, match="blank"):
        saved(tmp_path / "blank.png", np.full_like(grey, 7))
    with pytest.raises(RefusedInput, match="2 pictures"):
        saved(tmp_path / "pages.tif", grey, save_all=True, append_images=[Image.fromarray(grey)])
    with pytest.raises(RefusedInput, match="folder"):
        film_from_file(tmp_path)


def test_values_that_are_not_finite_are_refused(grey, tmp_path):
    pixels = grey.astype(np.float32)
    pixels[5, 5] = np.nan
    with pytest.raises(RefusedInput, match="NaN"):
        saved(tmp_path / "film.tif", pixels)

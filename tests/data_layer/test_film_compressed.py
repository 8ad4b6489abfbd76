"""JPEG 2000 and JPEG-LS films, encoded here from a shipped film with the decoders' own encoders (the [dicom] extra)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.uid import UID, JPEG2000Lossless, JPEGLSLossless, JPEGLSNearLossless

from xct_components.data.film.pixels import film_from_file
from xct_components.data.film.reading import read_film
from xct_components.failures import UnreadableInput

FILM = Path(__file__).parents[1] / "data" / "films" / "NIH_00000001_000_DX.dcm"
LOSSLESS = [JPEG2000Lossless, JPEGLSLossless]
# What the near-lossless encoder was told: no grey value may be farther off.
NEAR_ERROR = 2
# Encoded by half its size, the file no longer holds its lower half.
CUT = 0.5


def compressed(tmp_path: Path, syntax: UID, **options: Any) -> Path:
    dataset = pydicom.dcmread(FILM)
    dataset.compress(syntax, generate_instance_uid=False, **options)
    dataset.save_as(tmp_path / "film.dcm")
    return tmp_path / "film.dcm"


@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda syntax: syntax.keyword)
def test_a_lossless_film_holds_the_pixels_of_the_plain_one(syntax, tmp_path):
    path = compressed(tmp_path, syntax)
    assert pydicom.dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID == syntax
    assert path.stat().st_size < FILM.stat().st_size
    source = film_from_file(path)
    np.testing.assert_array_equal(source.pixels, film_from_file(FILM).pixels)
    assert source.format == "dicom"


def test_a_near_lossless_film_is_as_near_as_it_was_told(tmp_path):
    path = compressed(tmp_path, JPEGLSNearLossless, jls_error=NEAR_ERROR)
    difference = np.abs(film_from_file(path).pixels - film_from_file(FILM).pixels)
    assert 0 < difference.max() <= NEAR_ERROR


def test_a_compressed_film_is_judged_like_the_plain_one(tmp_path):
    plain, packed = (read_film(path) for path in (FILM, compressed(tmp_path, JPEG2000Lossless)))
    assert packed.pose == plain.pose
    assert packed.record["view"] == plain.record["view"]


@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda syntax: syntax.keyword)
def test_a_truncated_compressed_film_is_unreadable(syntax, tmp_path):
    path = compressed(tmp_path, syntax)
    content = path.read_bytes()
    path.write_bytes(content[: int(CUT * len(content))])
    with pytest.raises(UnreadableInput, match=r"film\.dcm"):
        film_from_file(path)


@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda syntax: syntax.keyword)
def test_without_its_decoder_a_compressed_film_names_the_line_to_type(syntax, tmp_path, monkeypatch):
    path = compressed(tmp_path, syntax)
    (tmp_path / "shadow").mkdir()
    for package in ("openjpeg", "jpeg_ls"):  # found before the real ones, also by the process that decodes
        (tmp_path / "shadow" / f"{package}.py").write_text("raise ImportError")
    monkeypatch.syspath_prepend(tmp_path / "shadow")
    with pytest.raises(UnreadableInput, match=r"pip install 'xct-components\[dicom\]'") as failure:
        film_from_file(path)
    assert syntax.name in str(failure.value)

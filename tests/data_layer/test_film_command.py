"""``xct film`` as a user meets it."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from xct_components.failures import CannotWrite, RefusedInput, UsageFailure
from xct_components.film_command import film

FILM = Path(__file__).parents[1] / "data" / "films" / "00000001_000.png"
# The preview is 16-bit over 6.5 line integrals.
PREVIEW_TOLERANCE = 6.5 / 65535


def test_line_integrals_preview_and_record_are_written_and_can_be_read_again(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        written = film(str(FILM), output=str(tmp_path / "out.nii.gz"), rows=64, cols=64)
        assert [path.name for path in written] == ["out.nii.gz", "out.png", "out.json"]
        integrals = nibabel.load(written[0]).get_fdata()[:, :, 0].T
        preview = np.asarray(Image.open(written[1])) / 65535 * 6.5
        np.testing.assert_allclose(preview, integrals.clip(0.0, 6.5), atol=PREVIEW_TOLERANCE)
        record = json.loads(written[2].read_text())
        assert record["file"]["name"] == FILM.name
        assert len(record["response"]["curve"]["knots"]) == 9
        film(str(written[0]), output=str(tmp_path / "again.nii.gz"), rows=64, cols=64)
    again = json.loads((tmp_path / "again.json").read_text())
    assert again["response"]["curve"] is None  # they are line integrals already


def test_a_film_is_calibrated_as_a_lateral_one_if_the_user_insists(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        written = film(str(FILM), output=str(tmp_path / "out.nii.gz"), rows=32, cols=32, view="lateral", accept=True)
    record = json.loads(written[2].read_text())
    assert any("another view: frontal" in reason for reason in record["accepted_despite"])
    assert record["view"]["side_at_detector"] == "LL"
    assert nibabel.load(written[0]).shape == (32, 32, 1)


def test_a_refused_film_leaves_no_file(tmp_path):
    turned = tmp_path / "turned.png"
    Image.fromarray(np.rot90(np.asarray(Image.open(FILM)), 2).copy()).save(turned)
    with pytest.raises(RefusedInput):
        film(str(turned), output=str(tmp_path / "out.nii.gz"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["turned.png"]


def test_nothing_is_replaced_and_nothing_is_guessed(tmp_path):
    (tmp_path / "out.png").write_bytes(b"mine")
    with pytest.raises(CannotWrite, match="exists"):
        film(str(FILM), output=str(tmp_path / "out.nii.gz"))
    with pytest.raises(CannotWrite, match=f"the folder {tmp_path / 'none'} does not exist"):
        film(str(FILM), output=str(tmp_path / "none" / "out.nii.gz"))
    with pytest.raises(UsageFailure, match=r"\.nii\.gz"):
        film(str(FILM), output=str(tmp_path / "out.png"))
    with pytest.raises(UsageFailure, match="rows"):
        film(str(FILM), output=str(tmp_path / "other.nii.gz"), rows=0)


def test_a_folder_that_may_not_be_written_into_is_refused_before_the_film_is_read():
    # Not even root writes into the folder of a process.
    with pytest.raises(CannotWrite, match="no permission for the folder /proc/self"):
        film("nowhere.png", output="/proc/self/out.nii.gz")

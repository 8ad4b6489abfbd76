"""What the tags of a DICOM film say, and what is done with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.sr.codedict import codes

from xct_components.data.film.pixels import film_from_file
from xct_components.failures import RefusedInput

FILM = Path(__file__).parents[1] / "data" / "films" / "NIH_00000001_000_DX.dcm"


def with_tags(tmp_path: Path, pixels: np.ndarray | None = None, **tags: Any) -> Path:
    """The NIH film with other tags, and perhaps other pixels."""
    dataset = pydicom.dcmread(FILM)
    for name, value in tags.items():
        if name == "PixelPaddingValue":  # its representation depends on the pixels', and has to be said
            dataset.add_new(name, "US", value)
        else:
            setattr(dataset, name, value)
    if pixels is not None:
        dataset.PixelData = pixels.tobytes()
    dataset.save_as(tmp_path / "film.dcm")
    return tmp_path / "film.dcm"


def view_code(value: str, meaning: str) -> pydicom.Dataset:
    """An item of the ViewCodeSequence in SNOMED CT (DICOM PS3.16, CID 4010)."""
    item = pydicom.Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "SCT", meaning
    return item


def plain_pixels() -> np.ndarray:
    return pydicom.dcmread(FILM).pixel_array.astype(np.float32)


def test_the_film_says_no_view_and_no_pixel_size():
    source = film_from_file(FILM)
    np.testing.assert_array_equal(source.pixels, plain_pixels())
    assert (source.polarity, source.view, source.pixel_mm) == ("tags", None, None)


def test_monochrome1_is_turned_round(tmp_path):
    source = film_from_file(with_tags(tmp_path, PhotometricInterpretation="MONOCHROME1"))
    np.testing.assert_array_equal(source.pixels, plain_pixels().max() - plain_pixels())


def test_the_rescale_is_applied(tmp_path):
    source = film_from_file(with_tags(tmp_path, RescaleSlope="2", RescaleIntercept="10"))
    np.testing.assert_array_equal(source.pixels, 2.0 * plain_pixels() + 10.0)


def test_a_window_is_applied_unless_it_blots_out_the_film(tmp_path):
    wide = film_from_file(with_tags(tmp_path, WindowCenter="128", WindowWidth="256"))
    assert wide.facts["window"]["applied"] is True
    narrow = film_from_file(with_tags(tmp_path, WindowCenter="128", WindowWidth="10"))
    assert narrow.facts["window"]["applied"] is False
    np.testing.assert_array_equal(narrow.pixels, plain_pixels())


@pytest.mark.parametrize(
    ("tags", "pixel_mm", "magnification"),
    [
        ({"ImagerPixelSpacing": ["0.4", "0.4"]}, (0.4, 0.4), None),
        ({"PixelSpacing": ["0.4", "0.4"]}, (0.4, 0.4), None),
        ({"PixelSpacing": ["0.000", "0.000"]}, None, None),
        ({"ImagerPixelSpacing": ["0", "0"], "PixelSpacing": ["0.3", "0.3"]}, (0.3, 0.3), None),
        (
            {"ImagerPixelSpacing": ["0.4", "0.4"], "DistanceSourceToDetector": "1800", "DistanceSourceToPatient": "1500"},
            (0.4, 0.4),
            1.2,
        ),
        (
            {
                "PixelSpacing": ["0.4", "0.4"],
                "PixelSpacingCalibrationType": "GEOMETRY",
                "EstimatedRadiographicMagnificationFactor": "1.1",
            },
            (0.44, 0.44),
            1.1,
        ),
        ({"ImagerPixelSpacing": ["12", "12"]}, None, None),
    ],
)
def test_the_pixel_size_is_taken_on_the_detector(tags, pixel_mm, magnification, tmp_path):
    source = film_from_file(with_tags(tmp_path, **tags))
    assert source.pixel_mm == (None if pixel_mm is None else pytest.approx(pixel_mm))
    assert source.magnification == (None if magnification is None else pytest.approx(magnification))


def test_a_film_whose_tags_say_right_to_left_is_flipped(tmp_path):
    source = film_from_file(with_tags(tmp_path, PatientOrientation=["R", "F"]))
    np.testing.assert_array_equal(source.pixels, plain_pixels()[:, ::-1])
    assert source.side_known


@pytest.mark.parametrize(
    ("tags", "view"),
    [
        ({"ViewPosition": "PA"}, "frontal"),
        ({"ViewPosition": "LL"}, "lateral"),
        ({"ViewPosition": "LLD"}, "other"),
        ({"PatientOrientation": ["A", "F"]}, "lateral"),
        ({"ViewCodeSequence": [view_code("272479007", "postero-anterior")]}, "frontal"),
        ({"ViewCodeSequence": [view_code("399348003", "antero-posterior")]}, "frontal"),
        ({"ViewCodeSequence": [view_code("399067008", "lateral projection")]}, "lateral"),
        ({"ViewCodeSequence": [view_code("399173006", "left lateral")]}, "lateral"),
    ],
)
def test_the_view_is_read_from_the_tags(tags, view, tmp_path):
    assert film_from_file(with_tags(tmp_path, **tags)).view == view


@pytest.mark.parametrize(("name", "view"), [("PosteroAnterior", "PA"), ("AnteroPosterior", "AP")])
def test_a_view_code_means_the_view_that_the_standard_gives_it(name, view, tmp_path):
    code = getattr(codes.cid4010, name)
    source = film_from_file(with_tags(tmp_path, ViewCodeSequence=[view_code(code.value, code.meaning)]))
    assert (source.view, source.view_position) == ("frontal", view)


def test_the_shutter_is_cropped(tmp_path):
    edges: dict[str, Any] = {"ShutterUpperHorizontalEdge": 10, "ShutterLowerHorizontalEdge": 1000}
    edges |= {"ShutterLeftVerticalEdge": 20, "ShutterRightVerticalEdge": 1004}
    source = film_from_file(with_tags(tmp_path, ShutterShape="RECTANGULAR", **edges))
    np.testing.assert_array_equal(source.pixels, plain_pixels()[10:1000, 20:1004])


def test_padding_becomes_black(tmp_path):
    pixels = pydicom.dcmread(FILM).pixel_array.copy()
    pixels[:100] = 255
    source = film_from_file(with_tags(tmp_path, pixels, PixelPaddingValue=255))
    assert source.pixels[:100].max() == source.pixels.min()


def test_other_modalities_and_cines_are_refused(tmp_path):
    for tags in ({"Modality": "CT"}, {"NumberOfFrames": 3}, {"Rows": 60000, "Columns": 60000}):
        with pytest.raises(RefusedInput, match=r"film\.dcm"):
            film_from_file(with_tags(tmp_path, **tags))


def test_another_body_part_and_raw_images_are_concerns(tmp_path):
    source = film_from_file(with_tags(tmp_path, BodyPartExamined="HIP", PresentationIntentType="FOR PROCESSING"))
    assert len(source.concerns) == 2


def test_the_tags_say_which_way_the_patient_of_a_lateral_film_looks(tmp_path):
    stored = plain_pixels()
    for orientation, facing, pixels in (
        (["A", "F"], "right", stored),
        (["P", "F"], "left", stored),
        (["P", "H"], "left", stored[::-1]),
        (["L", "F"], None, stored),
    ):
        source = film_from_file(with_tags(tmp_path, PatientOrientation=orientation))
        assert source.facing == facing
        np.testing.assert_array_equal(source.pixels, pixels)


@pytest.mark.parametrize(("name", "position"), [("LateralProjection", None), ("LeftLateral", "LL"), ("RightLateral", "RL")])
def test_a_view_code_says_which_side_stood_at_the_detector(name, position, tmp_path):
    code = getattr(codes.cid4010, name)
    source = film_from_file(with_tags(tmp_path, ViewCodeSequence=[view_code(code.value, code.meaning)]))
    assert (source.view, source.view_position) == ("lateral", position)

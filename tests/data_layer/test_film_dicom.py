"""What the tags of a DICOM film say, and what is done with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.sr._snomed_dict import mapping
from pydicom.sr.codedict import codes
from pydicom.uid import (
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    GrayscaleSoftcopyPresentationStateStorage,
)

from xct_components.data.film.dicom_view import FRONTAL_CODES, LATERAL_CODES
from xct_components.data.film.opened_film import opened_film
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


def view_code(value: str, meaning: str, scheme: str = "SCT") -> pydicom.Dataset:
    """An item of the ViewCodeSequence in SNOMED CT or its older form (DICOM PS3.16, CID 4010)."""
    item = pydicom.Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def plain_pixels() -> np.ndarray:
    return pydicom.dcmread(FILM).pixel_array.astype(np.float32)


def test_the_film_says_no_view_and_no_pixel_size():
    source = film_from_file(FILM)
    np.testing.assert_array_equal(source.pixels, plain_pixels())
    assert (source.polarity, source.view, source.pixel_mm) == ("tags", None, None)


def test_monochrome1_is_turned_round(tmp_path):
    source = film_from_file(with_tags(tmp_path, PhotometricInterpretation="MONOCHROME1"))
    np.testing.assert_array_equal(source.pixels, 255.0 - plain_pixels())


def test_the_rescale_is_applied(tmp_path):
    source = film_from_file(with_tags(tmp_path, RescaleSlope="2", RescaleIntercept="10"))
    np.testing.assert_array_equal(source.pixels, 2.0 * plain_pixels() + 10.0)


def test_codes_of_the_older_scheme_mean_what_pydicom_says():
    both = FRONTAL_CODES | LATERAL_CODES
    newer = [code for code in both if code.isdigit()]
    assert {mapping["SCT"][code] for code in newer} | set(newer) == set(both)
    assert all(both[mapping["SCT"][code]] == both[code] for code in newer)


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
        ({"ImagerPixelSpacing": ["0.2", "0.2"], "PixelSpacing": ["0.19", "0.19"]}, (0.2, 0.2), None),
        # A patient larger than the shadow on the detector: one of the two is wrong.
        ({"ImagerPixelSpacing": ["0.1", "0.1"], "PixelSpacing": ["0.2", "0.2"]}, None, None),
        # The patient at the source, and distances that are none.
        (
            {"ImagerPixelSpacing": ["0.2", "0.2"], "DistanceSourceToDetector": "1800", "DistanceSourceToPatient": "9"},
            (0.2, 0.2),
            None,
        ),
        (
            {"ImagerPixelSpacing": ["0.2", "0.2"], "DistanceSourceToDetector": "", "DistanceSourceToPatient": "0"},
            (0.2, 0.2),
            None,
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
        ({"ViewCodeSequence": [view_code("R-10206", "antero-posterior", "SRT")]}, "frontal"),
    ],
)
def test_the_view_is_read_from_the_tags(tags, view, tmp_path):
    assert film_from_file(with_tags(tmp_path, **tags)).view == view


@pytest.mark.parametrize(("name", "view"), [("PosteroAnterior", "PA"), ("AnteroPosterior", "AP")])
def test_a_view_code_means_the_view_that_the_standard_gives_it(name, view, tmp_path):
    code = getattr(codes.cid4010, name)
    source = film_from_file(with_tags(tmp_path, ViewCodeSequence=[view_code(code.value, code.meaning)]))
    assert (source.view, source.view_position) == ("frontal", view)


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


def test_a_code_that_contradicts_the_view_position_is_a_warning(tmp_path):
    codes_of_ap = [view_code("399348003", "antero-posterior")]
    source = film_from_file(with_tags(tmp_path, ViewPosition="PA", ViewCodeSequence=codes_of_ap))
    assert source.view_position == "PA"
    assert any("ViewPosition says PA, the view code AP" in warning for warning in source.warnings)


@pytest.mark.parametrize("orientation", [["F", "L"], ["F", "R"], ["H", "L"], ["H", "R"]])
def test_a_film_that_lies_on_its_side_is_turned_until_columns_grow_left_and_rows_to_the_feet(orientation, tmp_path):
    stored = plain_pixels()[:, :900]
    # Oracle: walk to each pixel by the two directions.
    upright = stored.T if orientation[1] == "L" else stored.T[:, ::-1]
    upright = upright if orientation[0] == "F" else upright[::-1]
    size = {"Columns": 900, "ImagerPixelSpacing": ["0.4", "0.401"]}
    source = film_from_file(with_tags(tmp_path, stored.astype(np.uint8), PatientOrientation=orientation, **size))
    np.testing.assert_array_equal(source.pixels, upright)
    assert source.pixel_mm == (0.401, 0.4)
    assert source.side_known


def test_lengths_without_a_magnification_are_a_warning(tmp_path):
    (warning,) = (w for w in film_from_file(with_tags(tmp_path, PixelSpacing=["0.4", "0.4"])).warnings if "magnification" in w)
    assert "1.125 is assumed" in warning


def test_a_secondary_capture_and_burned_in_text_are_warnings(tmp_path):
    plain = film_from_file(with_tags(tmp_path, Modality="OT"))  # the file's class is Secondary Capture
    assert ["secondary capture" in warning for warning in plain.warnings] == [True]
    burned = film_from_file(with_tags(tmp_path, SOPClassUID=DigitalXRayImageStorageForPresentation, BurnedInAnnotation="YES"))
    assert ["burned into its pixels" in warning for warning in burned.warnings] == [True]


def test_a_presentation_state_beside_the_film_is_a_warning_and_not_applied(tmp_path):
    film = with_tags(tmp_path)
    state, series, image = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
    image.ReferencedSOPInstanceUID = pydicom.dcmread(film).SOPInstanceUID
    series.ReferencedImageSequence = [image]
    state.SOPClassUID, state.SOPInstanceUID = GrayscaleSoftcopyPresentationStateStorage, "2.25.5"
    state.ReferencedSeriesSequence = [series]
    state.file_meta = pydicom.dataset.FileMetaDataset()
    state.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    (tmp_path / "damaged.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 50)
    assert not any("presentation state" in warning for warning in film_from_file(film).warnings)
    state.save_as(tmp_path / "state.dcm", enforce_file_format=True)
    source = film_from_file(film)
    assert any("presentation state" in warning for warning in source.warnings)
    np.testing.assert_array_equal(source.pixels, plain_pixels())
    image.ReferencedSOPInstanceUID = "2.25.77"
    state.save_as(tmp_path / "state.dcm", enforce_file_format=True)
    assert not any("presentation state" in warning for warning in film_from_file(film).warnings)


def test_oblong_pixels_are_made_square(tmp_path):
    stored = pydicom.dcmread(FILM).pixel_array[::2].copy()
    path = with_tags(tmp_path, stored, Rows=512, ImagerPixelSpacing=["0.4", "0.2"])
    source = opened_film(path).source
    assert source.pixels.shape == (1024, 1024)
    assert source.pixel_mm == pytest.approx((0.2, 0.2))
    assert source.facts["resampled_to_square_pixels_from_mm"] == [0.4, 0.2]
    # The rows that were kept lie a quarter pixel from those between which they are interpolated.
    expected = 0.75 * stored.astype(np.float32)[10] + 0.25 * stored.astype(np.float32)[11]
    np.testing.assert_allclose(source.pixels[21], expected, atol=1e-3)
    assert opened_film(with_tags(tmp_path, ImagerPixelSpacing=["0.4", "0.401"])).source.pixels.shape == (1024, 1024)

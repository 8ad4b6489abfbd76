"""A detector is a count and a pitch, whichever way they are written."""

from __future__ import annotations

import json
import math
from dataclasses import FrozenInstanceError
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.geometry.strategies import detectors, numbers
from xct_components.geometry import Detector


@given(detectors())
def test_the_repr_of_a_detector_is_code_that_makes_it(detector):
    assert eval(repr(detector)) == detector


@given(detectors())
def test_a_detector_survives_a_json_file(detector):
    assert Detector.from_json(json.loads(json.dumps(detector.to_json()))) == detector


@given(detectors())
def test_equal_detectors_are_one_key_of_a_dictionary(detector):
    assert {detector: "first", eval(repr(detector)): "second"} == {detector: "second"}


def test_a_detector_cannot_be_changed():
    detector = Detector(4, 5, 1.0)
    with pytest.raises(FrozenInstanceError):
        detector.rows = 8  # type: ignore[misc]
    assert detector.rows == 4


@given(numbers(0.05, 10.0))
def test_one_pitch_stands_for_both_directions(pitch_mm):
    assert Detector(7, 9, pitch_mm) == Detector(7, 9, [pitch_mm, pitch_mm]) == Detector(7, 9, (pitch_mm, pitch_mm))


def test_the_pitch_is_row_first_as_in_dicom():
    assert Detector(rows=100, cols=10, pitch_mm=(0.5, 2.0)).size_mm == (50.0, 20.0)


def test_counts_and_pitches_of_numpy_become_plain_numbers():
    detector = Detector(np.int64(7), np.float64(9.0), np.float32(0.5))  # type: ignore[arg-type]
    assert repr(detector) == "Detector(rows=7, cols=9, pitch_mm=(0.5, 0.5))"


@given(detectors(), st.integers(1, 3000), st.integers(1, 3000))
def test_another_readout_has_the_same_area(detector, rows, cols):
    other = detector.resampled(rows, cols)
    assert (other.rows, other.cols) == (rows, cols)
    assert other.size_mm == pytest.approx(detector.size_mm)


BAD_INPUT: dict[str, tuple[Any, str, str]] = {
    "no rows": (lambda: Detector(0, 4, 1.0), "rows", "0"),
    "negative columns": (lambda: Detector(4, -3, 1.0), "cols", "-3"),
    "half a row": (lambda: Detector(2.5, 4, 1.0), "rows", "2.5"),  # type: ignore[arg-type]
    "NaN rows": (lambda: Detector(math.nan, 4, 1.0), "rows", "nan"),  # type: ignore[arg-type]
    "infinite columns": (lambda: Detector(4, math.inf, 1.0), "cols", "inf"),  # type: ignore[arg-type]
    "missing rows": (lambda: Detector(None, 4, 1.0), "rows", "None"),  # type: ignore[arg-type]
    "zero pitch": (lambda: Detector(4, 4, 0.0), "pitch_mm", "0.0"),
    "negative pitch": (lambda: Detector(4, 4, (0.2, -0.2)), "pitch_mm", "(0.2, -0.2)"),
    "NaN pitch": (lambda: Detector(4, 4, math.nan), "pitch_mm", "nan"),
    "infinite pitch": (lambda: Detector(4, 4, math.inf), "pitch_mm", "inf"),
    "missing pitch": (lambda: Detector(4, 4, None), "pitch_mm", "None"),  # type: ignore[arg-type]
    "text for a pitch": (lambda: Detector(4, 4, "12"), "pitch_mm", "12"),  # type: ignore[arg-type]
    "three pitches": (lambda: Detector(4, 4, (1.0, 1.0, 1.0)), "pitch_mm", "(1.0, 1.0, 1.0)"),
    "resampling to no rows": (lambda: Detector(4, 4, 1.0).resampled(0, 4), "rows", "0"),
    "resampling to negative columns": (lambda: Detector(4, 4, 1.0).resampled(4, -1), "cols", "-1"),
    "a document without a pitch": (lambda: Detector.from_json({"rows": 4, "cols": 4}), "fields", "no pitch_mm"),
}


@pytest.mark.parametrize("name", BAD_INPUT)
def test_a_wrong_detector_names_the_argument_and_the_value(name):
    build, argument, value = BAD_INPUT[name]
    with pytest.raises(ValueError, match=rf"^{argument} ") as caught:
        build()
    assert value in str(caught.value)

"""Pixels, focal spots and rays keep their places through crops, readouts and motions."""

from __future__ import annotations

import json
import math
from dataclasses import FrozenInstanceError, replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.geometry.strategies import beams, cone_beams, parallel_beams, rigid_motions, vectors
from xct_components.geometry import Beam, ConeBeam, Detector, ParallelBeam

# Rigs are up to 30 m wide (3000 pixels of 10 mm) and 5 m away; float64 keeps 4e-12 of that.
POSITION_TOLERANCE_MM = 1e-8
# Direction cosines of a turned rig: a few roundings of numbers of size 1.
COSINE_TOLERANCE = 1e-12

CORNERS = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], dtype=torch.float64)


def outer_corners_mm(beam: Beam) -> np.ndarray:
    size = torch.tensor([beam.detector.rows, beam.detector.cols])
    return beam.pixel_centers_mm(CORNERS * size - 0.5).numpy()


@given(beams())
def test_the_repr_of_a_beam_is_code_that_makes_it(beam):
    assert eval(repr(beam)) == beam


@given(beams())
def test_a_beam_survives_a_json_file_with_its_kind(beam):
    restored = Beam.from_json(json.loads(json.dumps(beam.to_json())))
    assert restored == beam
    assert type(restored) is type(beam)


@given(beams())
def test_equal_beams_are_one_key_of_a_dictionary(beam):
    assert {beam: "first", eval(repr(beam)): "second"} == {beam: "second"}


@given(beams())
def test_a_beam_cannot_be_changed(beam):
    with pytest.raises(FrozenInstanceError):
        beam.detector = Detector(1, 1, 1.0)


@given(beams())
def test_pixel_centers_step_by_the_pitch_from_the_middle_of_the_detector(beam):
    frame = np.array([beam.row_direction, beam.col_direction])
    middle = np.array([(beam.detector.rows - 1) / 2, (beam.detector.cols - 1) / 2])
    for row, col in ((0, 0), (beam.detector.rows - 1, 2), (1.25, -3.5)):
        expected = beam.detector_center_mm + (np.array([row, col]) - middle) * beam.detector.pitch_mm @ frame
        actual = beam.pixel_centers_mm(torch.tensor([row, col], dtype=torch.float64))
        np.testing.assert_allclose(actual, expected, atol=POSITION_TOLERANCE_MM)


@given(beams())
def test_the_normal_stands_upright_on_the_detector(beam):
    frame = np.array([beam.row_direction, beam.col_direction, beam.normal])
    np.testing.assert_allclose(frame @ frame.T, np.eye(3), atol=COSINE_TOLERANCE)


@given(beams(), st.data())
def test_a_crop_keeps_every_pixel_and_the_source_where_they_were(beam, data):
    first_row = data.draw(st.integers(0, beam.detector.rows - 1))
    first_col = data.draw(st.integers(0, beam.detector.cols - 1))
    rows = slice(first_row, data.draw(st.integers(first_row + 1, beam.detector.rows)))
    tile = beam.crop(rows, slice(first_col, None))
    assert tile.detector == Detector(rows.stop - first_row, beam.detector.cols - first_col, beam.detector.pitch_mm)
    assert torch.equal(tile.source_homogeneous, beam.source_homogeneous)
    index = torch.tensor([[0.0, 0.0], [1.5, -2.0]], dtype=torch.float64)
    np.testing.assert_allclose(
        tile.pixel_centers_mm(index),
        beam.pixel_centers_mm(index + torch.tensor([first_row, first_col])),
        atol=POSITION_TOLERANCE_MM,
    )


@given(beams(), st.data())
def test_growing_is_the_inverse_of_cropping(beam, data):
    rows, cols = (data.draw(st.tuples(st.integers(0, 40), st.integers(0, 40))) for _ in range(2))
    grown = beam.grown(rows, cols)
    back = grown.crop(slice(rows[0], rows[0] + beam.detector.rows), slice(cols[0], cols[0] + beam.detector.cols))
    assert back.detector == beam.detector
    np.testing.assert_allclose(outer_corners_mm(back), outer_corners_mm(beam), atol=POSITION_TOLERANCE_MM)
    assert (grown.detector.rows, grown.detector.cols) == (beam.detector.rows + sum(rows), beam.detector.cols + sum(cols))


@given(beams(), st.floats(0.1, 0.9))
def test_a_point_on_the_way_to_a_pixel_is_seen_by_that_pixel(beam, share):
    row_col = torch.tensor([[0.0, 0.0], [1.5, -2.0], [beam.detector.rows - 1.0, 3.0]], dtype=torch.float64)
    pixels, source = beam.pixel_centers_mm(row_col), beam.source_homogeneous
    points = pixels - share * 1000.0 * source[:3] if source[3] == 0 else torch.lerp(pixels, source[:3].expand(3, 3), share)
    # Flat rays, at worst a thousandth of their length off the detector, lengthen any rounding a thousandfold.
    np.testing.assert_allclose(beam.pixels_of(points), row_col, atol=1e3 * POSITION_TOLERANCE_MM / min(beam.detector.pitch_mm))


@given(beams(), st.integers(1, 3000), st.integers(1, 3000))
def test_another_readout_covers_the_same_rectangle(beam, rows, cols):
    np.testing.assert_allclose(outer_corners_mm(beam.resampled(rows, cols)), outer_corners_mm(beam), atol=POSITION_TOLERANCE_MM)


@given(beams(), rigid_motions())
def test_a_motion_moves_every_pixel_and_the_source_alike(beam, motion):
    moved = beam.moved(motion)
    expected = outer_corners_mm(beam) @ motion[:3, :3].T + motion[:3, 3]
    np.testing.assert_allclose(outer_corners_mm(moved), expected, atol=POSITION_TOLERANCE_MM)
    np.testing.assert_allclose(moved.source_homogeneous, motion @ beam.source_homogeneous.numpy(), atol=POSITION_TOLERANCE_MM)
    assert moved.detector == beam.detector


@given(beams(), rigid_motions())
def test_a_motion_and_its_inverse_leave_the_rig_in_place(beam, motion):
    back = beam.moved(motion).moved(np.linalg.inv(motion))
    np.testing.assert_allclose(outer_corners_mm(back), outer_corners_mm(beam), atol=POSITION_TOLERANCE_MM)


@given(cone_beams())
def test_the_source_to_detector_distance_is_measured_along_the_normal(beam):
    foot = np.linalg.lstsq(
        np.array([beam.row_direction, beam.col_direction]).T, np.subtract(beam.source_mm, beam.detector_center_mm), rcond=None
    )[0]
    on_plane = np.array(beam.detector_center_mm) + foot @ np.array([beam.row_direction, beam.col_direction])
    assert beam.source_to_detector_mm == pytest.approx(math.dist(beam.source_mm, on_plane))


@given(cone_beams(), vectors(2000))
def test_magnification_is_the_length_of_a_shadow_per_length_of_the_object(beam, point_mm):
    to_detector = np.dot(beam.normal, np.subtract(beam.detector_center_mm, beam.source_mm))
    depth_mm = np.dot(beam.normal, np.subtract(point_mm, beam.source_mm)) * np.sign(to_detector)
    assume(depth_mm > 1.0)
    rod = [np.array(point_mm), np.array(point_mm) + np.array(beam.row_direction)]  # 1 mm, parallel to the film
    source = np.array(beam.source_mm)
    shadow = [source + (end - source) * abs(to_detector) / depth_mm for end in rod]
    for end in shadow:
        assert np.dot(beam.normal, end - beam.detector_center_mm) == pytest.approx(0.0, abs=1e4 * POSITION_TOLERANCE_MM)
    assert beam.magnification_at(point_mm) == pytest.approx(math.dist(*shadow), rel=1e-6)


@given(cone_beams(), parallel_beams())
def test_a_source_is_a_point_for_a_cone_and_a_direction_for_parallel_rays(cone, parallel):
    assert cone.source_homogeneous.tolist() == [*cone.source_mm, 1.0]
    assert parallel.source_homogeneous.tolist() == [*parallel.ray_direction, 0.0]


def test_a_beam_of_no_kind_cannot_be_built():
    with pytest.raises(TypeError, match="abstract"):
        Beam(Detector(1, 1, 1.0), (0, 0, 0), (1, 0, 0), (0, 1, 0))  # type: ignore[abstract]


DETECTOR = Detector(4, 5, 1.0)
CONE = ConeBeam(DETECTOR, (0, 0, 0), (0, 0, -1), (-1, 0, 0), source_mm=(0, -1000, 0))
PARALLEL = ParallelBeam(DETECTOR, (0, 0, 0), (0, 0, -1), (-1, 0, 0), ray_direction=(0, 1, 0))
SCALED, SHEARED, MIRRORED = np.diag([2.0, 2.0, 2.0, 1.0]), np.eye(4), np.diag([-1.0, 1.0, 1.0, 1.0])
SHEARED[0, 1] = 0.1
BAD_INPUT: dict[str, tuple[Any, str, str]] = {
    "a long row direction": (lambda: replace(CONE, row_direction=(0, 0, 2)), "row_direction", "(0.0, 0.0, 2.0)"),
    "a short column direction": (lambda: replace(CONE, col_direction=(0.5, 0, 0)), "col_direction", "(0.5, 0.0, 0.0)"),
    "a zero direction": (lambda: replace(CONE, col_direction=(0, 0, 0)), "col_direction", "(0.0, 0.0, 0.0)"),
    "skew directions": (lambda: replace(CONE, col_direction=(0.6, 0, 0.8)), "row_direction", "(0.6, 0.0, 0.8)"),
    "a NaN centre": (lambda: replace(CONE, detector_center_mm=(0, math.nan, 0)), "detector_center_mm", "nan"),
    "a flat centre": (lambda: replace(CONE, detector_center_mm=(0, 1)), "detector_center_mm", "(0, 1)"),  # type: ignore[arg-type]
    "no centre": (lambda: replace(CONE, detector_center_mm=None), "detector_center_mm", "None"),  # type: ignore[arg-type]
    "a source on the detector": (lambda: replace(CONE, source_mm=(9, 0, 3)), "source_mm", "(9.0, 0.0, 3.0)"),
    "a source at infinity": (lambda: replace(CONE, source_mm=(0, math.inf, 0)), "source_mm", "inf"),
    "rays along the detector": (lambda: replace(PARALLEL, ray_direction=(1, 0, 0)), "ray_direction", "(1.0, 0.0, 0.0)"),
    "a long ray direction": (lambda: replace(PARALLEL, ray_direction=(0, 3, 0)), "ray_direction", "(0.0, 3.0, 0.0)"),
    "an empty crop": (lambda: CONE.crop(slice(2, 2), slice(None)), "rows", "slice(2, 2, None)"),
    "a crop beyond the film": (lambda: CONE.crop(slice(None), slice(7, 9)), "cols", "slice(7, 9, None)"),
    "a crop with a step": (lambda: CONE.crop(slice(0, 4, 2), slice(None)), "rows", "slice(0, 4, 2)"),
    "more than nothing taken away": (lambda: CONE.grown((0, -1), (0, 0)), "rows", "(0, -1)"),
    "a readout of no rows": (lambda: CONE.resampled(0, 4), "rows", "0"),
    "a missing motion": (lambda: CONE.moved(None), "world_from_world", "None"),
    "a scaling motion": (lambda: CONE.moved(SCALED), "world_from_world", "2.0"),
    "a shearing motion": (lambda: CONE.moved(SHEARED), "world_from_world", "0.1"),
    "a mirroring motion": (lambda: CONE.moved(MIRRORED), "world_from_world", "-1.0"),
    "magnification at the source": (lambda: CONE.magnification_at((0.0, -1000.0, 0.0)), "point_mm", "-1000.0"),
    "magnification behind the source": (lambda: CONE.magnification_at((0.0, -2000.0, 0.0)), "point_mm", "-2000.0"),
    "an unknown kind": (lambda: Beam.from_json({"kind": "fan"}), "kind", "fan"),
    "no kind": (lambda: Beam.from_json({}), "kind", "None"),
    "a document without a source": (lambda: Beam.from_json({**PARALLEL.to_json(), "kind": "cone"}), "fields", "no source_mm"),
}


@pytest.mark.parametrize("name", BAD_INPUT)
def test_a_wrong_beam_names_the_argument_and_the_value(name):
    build, argument, value = BAD_INPUT[name]
    with pytest.raises(ValueError, match=rf"^{argument} ") as caught:
        build()
    assert value in str(caught.value)

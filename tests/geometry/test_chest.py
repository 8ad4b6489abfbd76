"""Where the parts of a patient land on the films of a chest examination."""

from __future__ import annotations

import inspect
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from tests.geometry.strategies import numbers, shapes, vectors
from xct_components.geometry import (
    Beam,
    Detector,
    VolumeGrid,
    chest_beam_covering,
    chest_beam_from_dicom,
    chest_cone_beam,
    chest_parallel_beam,
)

# Films here have up to 1000 pixels; a pixel position is a quotient of lengths known to 1e-12.
PIXEL_TOLERANCE = 1e-6
# Edges of a film lie within 4 m of the origin; float64 keeps 1e-12 of that.
POSITION_TOLERANCE_MM = 1e-8

FILM = Detector(rows=101, cols=201, pitch_mm=2.0)
BUILDERS = (chest_cone_beam, chest_parallel_beam)
frontal = pytest.mark.parametrize("view", ["PA", "AP"])
all_views = pytest.mark.parametrize("view", ["PA", "AP", "LL", "RL"])
cone_and_parallel = pytest.mark.parametrize("build", BUILDERS)


def shadow(beam: Beam, point_mm: Any) -> tuple[float, float]:
    """(row, column) where the ray through ``point_mm`` meets the film, by solving for the crossing of line and plane."""
    *source, at_infinity = beam.source_homogeneous.numpy()
    ray = np.subtract(point_mm, source) if at_infinity else np.array(source)
    plane = np.array([beam.row_direction, beam.col_direction])
    down_mm, right_mm, _ = np.linalg.solve(np.column_stack([*plane, -ray]), np.subtract(point_mm, beam.detector_center_mm))
    middle = (beam.detector.rows - 1) / 2, (beam.detector.cols - 1) / 2
    return down_mm / beam.detector.pitch_mm[0] + middle[0], right_mm / beam.detector.pitch_mm[1] + middle[1]


@all_views
@cone_and_parallel
@given(center_mm=vectors(300))
def test_the_middle_of_the_chest_lands_on_the_middle_of_the_film(view, build, center_mm):
    assert shadow(build(view, FILM, isocenter_mm=center_mm), center_mm) == pytest.approx((50, 100), abs=PIXEL_TOLERANCE)


@frontal
@cone_and_parallel
@given(left_mm=numbers(1, 150), forward_mm=numbers(-100, 100), up_mm=numbers(-90, 90))
def test_the_left_side_of_the_patient_lands_on_the_right_half_of_a_frontal_film(view, build, left_mm, forward_mm, up_mm):
    _, col = shadow(build(view, FILM), (-left_mm, forward_mm, up_mm))
    assert col > 100


@all_views
@cone_and_parallel
@given(right_mm=numbers(-100, 100), forward_mm=numbers(-100, 100), up_mm=numbers(1, 90))
def test_the_head_is_up_on_every_film(view, build, right_mm, forward_mm, up_mm):
    row, _ = shadow(build(view, FILM), (right_mm, forward_mm, up_mm))
    assert row < 50


@pytest.mark.parametrize(("view", "side"), [("LL", -1), ("RL", 1)])
@cone_and_parallel
@given(right_mm=numbers(-100, 100), forward_mm=numbers(1, 150), up_mm=numbers(-90, 90))
def test_the_sternum_is_on_the_left_of_a_left_lateral_and_on_the_right_of_a_right_lateral(
    view, side, build, right_mm, forward_mm, up_mm
):
    _, col = shadow(build(view, FILM), (right_mm, forward_mm, up_mm))
    assert math.copysign(1, col - 100) == side


@pytest.mark.parametrize(
    ("view", "towards_detector"), [("PA", (0, 1, 0)), ("AP", (0, -1, 0)), ("LL", (-1, 0, 0)), ("RL", (1, 0, 0))]
)
@given(sod_mm=numbers(500, 1700), gap_mm=numbers(10, 900), center_mm=vectors(300))
def test_tube_patient_and_detector_stand_in_line_at_the_given_distances(view, towards_detector, sod_mm, gap_mm, center_mm):
    beam = chest_cone_beam(
        view, FILM, isocenter_mm=center_mm, source_to_detector_mm=sod_mm + gap_mm, source_to_patient_mm=sod_mm
    )
    ray = np.array(towards_detector)
    np.testing.assert_allclose(beam.source_mm, center_mm - sod_mm * ray, atol=POSITION_TOLERANCE_MM)
    np.testing.assert_allclose(beam.detector_center_mm, center_mm + gap_mm * ray, atol=POSITION_TOLERANCE_MM)
    assert beam.source_to_detector_mm == pytest.approx(sod_mm + gap_mm)
    assert beam.magnification_at(center_mm) == pytest.approx((sod_mm + gap_mm) / sod_mm)


def test_the_heart_is_larger_on_an_ap_film_than_on_a_pa_film():
    heart_mm = (-30.0, 60.0, -20.0)
    assert chest_cone_beam("AP", FILM).magnification_at(heart_mm) > chest_cone_beam("PA", FILM).magnification_at(heart_mm)


def test_the_magnification_of_a_standard_chest_film_is_an_eighth():
    assert chest_cone_beam("PA", FILM).magnification_at((0.0, 0.0, 0.0)) == pytest.approx(1800 / 1600)


def test_parallel_rays_show_the_patient_in_true_size():
    beam = chest_parallel_beam("PA", FILM)
    (_, left), (_, right) = shadow(beam, (-60, 20, 0)), shadow(beam, (60, -80, 0))
    assert (left - right) * FILM.pitch_mm[1] == pytest.approx(120)


def test_a_film_over_the_cascade_grid_has_5_mm_pixels_in_the_patient():
    beam = chest_beam_covering(VolumeGrid.chest((64, 64, 64), 5.0), "PA", 64, 64)
    assert beam.detector.pitch_mm == pytest.approx((5.625, 5.625))


@all_views
@given(
    shape=shapes(),
    spacing_mm=st.tuples(*[numbers(0.3, 8.0)] * 3),
    center_mm=vectors(300),
    size=st.tuples(st.integers(1, 1000), st.integers(1, 1000)),
)
def test_a_covering_film_ends_where_the_middle_plane_of_the_volume_ends(view, shape, spacing_mm, center_mm, size):
    grid = VolumeGrid.chest(shape, spacing_mm, center_mm)
    beam = chest_beam_covering(grid, view, *size)
    depth, height, width = np.multiply(shape, spacing_mm) / 2
    leftmost = {"PA": (width, 0, 0), "AP": (width, 0, 0), "LL": (0, depth, 0), "RL": (0, -depth, 0)}[view]
    upper_left = np.add(leftmost, (0, 0, height))
    assert shadow(beam, center_mm + upper_left) == pytest.approx((-0.5, -0.5), abs=PIXEL_TOLERANCE)
    assert shadow(beam, center_mm - upper_left) == pytest.approx((size[0] - 0.5, size[1] - 0.5), abs=PIXEL_TOLERANCE)


@all_views
def test_a_covering_film_does_not_depend_on_how_the_volume_is_stored(view):
    chest = VolumeGrid.chest((40, 50, 60), (3.0, 2.0, 1.5), (5.0, -7.0, 11.0))
    affine = chest.affine.numpy()
    d, h, w, _ = affine.T
    ends = affine @ np.array([0.0, 49.0, 59.0, 1.0])
    stored = VolumeGrid.from_affine((60, 50, 40), np.column_stack([-w, -h, d, ends]))  # W, H, D with two axes flipped
    assert stored.axis_codes == "RSP"
    ours, theirs = (chest_beam_covering(grid, view, 30, 20) for grid in (stored, chest))
    assert ours.detector.pitch_mm == pytest.approx(theirs.detector.pitch_mm)
    assert ours.detector_center_mm == pytest.approx(theirs.detector_center_mm)
    assert ours.source_mm == pytest.approx(theirs.source_mm)


def header(**changes: Any) -> Dataset:
    dataset = Dataset()
    tags = {
        "Rows": 2022,
        "Columns": 2014,
        "ViewPosition": "AP",
        "ImagerPixelSpacing": ["0.160", "0.175"],
        "DistanceSourceToDetector": "1100",
        "DistanceSourceToPatient": "950.5",
    }
    for name, value in {**tags, **changes}.items():
        setattr(dataset, name, value)
    return dataset


def header_without(name: str) -> Dataset:
    dataset = header()
    delattr(dataset, name)
    return dataset


def test_the_exposure_of_a_dicom_header_has_its_distances_and_pixels():
    assert chest_beam_from_dicom(header(), isocenter_mm=(1.0, 2.0, 3.0)) == chest_cone_beam(
        "AP",
        Detector(rows=2022, cols=2014, pitch_mm=(0.160, 0.175)),
        isocenter_mm=(1.0, 2.0, 3.0),
        source_to_detector_mm=1100.0,
        source_to_patient_mm=950.5,
    )


GRID = VolumeGrid.chest((4, 5, 6), 2.0)
TURNED = VolumeGrid.from_affine((4, 4, 4), [[0.8, 0.6, 0, 0], [-0.6, 0.8, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
cone_beam, covering = inspect.unwrap(chest_cone_beam), inspect.unwrap(chest_beam_covering)  # as users call them: unchecked
BAD_INPUT: dict[str, tuple[Any, str, str]] = {
    "an unknown view": (lambda: cone_beam("PAL", FILM), "view", "PAL"),
    "an unknown view of parallel rays": (lambda: inspect.unwrap(chest_parallel_beam)("pa", FILM), "view", "pa"),
    "a patient at the detector": (lambda: cone_beam("PA", FILM, source_to_patient_mm=1800.0), "source_to_patient_mm", "1800.0"),
    "a patient behind it": (lambda: cone_beam("PA", FILM, source_to_detector_mm=900.0), "source_to_patient_mm", "900.0"),
    "a patient in the tube": (lambda: cone_beam("PA", FILM, source_to_patient_mm=0.0), "source_to_patient_mm", "0.0"),
    "a NaN distance": (lambda: cone_beam("PA", FILM, source_to_detector_mm=math.nan), "source_to_patient_mm", "nan"),
    "an infinite distance": (lambda: cone_beam("PA", FILM, source_to_detector_mm=math.inf), "source_to_patient_mm", "inf"),
    "no isocentre": (lambda: cone_beam("PA", FILM, isocenter_mm=None), "isocenter_mm", "None"),
    "a NaN isocentre": (lambda: cone_beam("PA", FILM, isocenter_mm=(0, 0, math.nan)), "isocenter_mm", "nan"),
    "a covering film of no rows": (lambda: covering(GRID, "PA", 0, 4), "rows", "0"),
    "a covering film of no columns": (lambda: covering(GRID, "PA", 4, 0), "cols", "0"),
    "a covering film in the tube": (
        lambda: covering(GRID, "PA", 4, 4, source_to_patient_mm=0.0),
        "source_to_patient_mm",
        "0.0",
    ),
    "a covering film of a turned volume": (lambda: covering(TURNED, "PA", 4, 4), "grid", "RAS"),
    "a header without view": (lambda: chest_beam_from_dicom(header_without("ViewPosition")), "ViewPosition", "None"),
    "a header of an empty view": (lambda: chest_beam_from_dicom(header(ViewPosition="")), "ViewPosition", "''"),
    "a header of another view": (lambda: chest_beam_from_dicom(header(ViewPosition="LLD")), "ViewPosition", "LLD"),
    "a header without rows": (lambda: chest_beam_from_dicom(header_without("Rows")), "Rows", "None"),
    "a header of no columns": (lambda: chest_beam_from_dicom(header(Columns=0)), "Columns", "0"),
    "a header without SID": (
        lambda: chest_beam_from_dicom(header_without("DistanceSourceToDetector")),
        "DistanceSourceToDetector",
        "None",
    ),
    "a header of zero SOD": (
        lambda: chest_beam_from_dicom(header(DistanceSourceToPatient="0")),
        "DistanceSourceToPatient",
        "0",
    ),
    "a header of two SIDs": (
        lambda: chest_beam_from_dicom(header(DistanceSourceToDetector=["1100", "1800"])),
        "DistanceSourceToDetector",
        "1800",
    ),
    "a header of SOD beyond SID": (
        lambda: chest_beam_from_dicom(header(DistanceSourceToPatient="1200")),
        "source_to_patient_mm",
        "1200.0",
    ),
    "a header without spacing": (
        lambda: chest_beam_from_dicom(header_without("ImagerPixelSpacing")),
        "ImagerPixelSpacing",
        "None",
    ),
    "a header of one spacing": (lambda: chest_beam_from_dicom(header(ImagerPixelSpacing="0.2")), "ImagerPixelSpacing", "0.2"),
    "a header of zero spacing": (
        lambda: chest_beam_from_dicom(header(ImagerPixelSpacing=["0", "0"])),
        "ImagerPixelSpacing",
        "[0, 0]",
    ),
}


@pytest.mark.parametrize("name", BAD_INPUT)
def test_a_wrong_exposure_names_the_argument_and_the_value(name):
    build, argument, value = BAD_INPUT[name]
    with pytest.raises(ValueError, match=rf"^{argument} ") as caught:
        build()
    assert value in str(caught.value)

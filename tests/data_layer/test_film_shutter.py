"""What shutters and collimators cover becomes black, and the film is cut to the box around what they leave."""

from __future__ import annotations

import numpy as np
import pytest

from tests.data_layer.made_dicom_films import film, film_pixels, written
from xct_components.data.film.pixels import film_from_file

PIXELS = film_pixels(12) + np.uint16(0)  # 96 x 80
EDGES = ("UpperHorizontal", "LowerHorizontal", "LeftVertical", "RightVertical")


def rectangle(kind, *edges):
    return {f"{kind}{name}Edge": edge for name, edge in zip(EDGES, edges, strict=True)} | {f"{kind}Shape": "RECTANGULAR"}


def read(tmp_path, **tags):
    return film_from_file(written(tmp_path / "film.dcm", film(PIXELS, 12, **tags)))


@pytest.mark.parametrize("kind", ["Shutter", "Collimator"])
def test_a_rectangle_is_cropped(kind, tmp_path):
    source = read(tmp_path, **rectangle(kind, 10, 90, 5, 75))
    np.testing.assert_array_equal(source.pixels, PIXELS[10:90, 5:75])
    assert source.facts["shutter_crop"] == {"rows": [10, 90], "cols": [5, 75]}


@pytest.mark.parametrize("kind", ["Shutter", "Collimator"])
def test_a_circle_leaves_what_lies_within_its_radius(kind, tmp_path):
    tags = {f"{kind}Shape": "CIRCULAR", f"CenterOfCircular{kind}": [49, 41], f"RadiusOfCircular{kind}": 30}
    inside = np.array([[(r - 48) ** 2 + (c - 40) ** 2 <= 900 for c in range(80)] for r in range(96)])
    expected = np.where(inside, PIXELS, PIXELS[inside].min())[18:79, 10:71]
    np.testing.assert_array_equal(read(tmp_path, **tags).pixels, expected)


@pytest.mark.parametrize("kind", ["Shutter", "Collimator"])
def test_a_polygon_leaves_what_lies_within_it(kind, tmp_path):
    tags = {f"{kind}Shape": "POLYGONAL", f"VerticesOfThePolygonal{kind}": [1, 1, 1, 79, 95, 1]}  # a triangle
    source = read(tmp_path, **tags)
    rows, cols = np.mgrid[:95, :79]
    beyond = rows / 94.0 + cols / 78.0
    black = PIXELS[:95, :79][beyond < 1.0].min()
    shape = source.pixels.shape
    assert shape[0] in (94, 95)
    assert shape[1] in (78, 79)
    far, near = (beyond > 1.05)[: shape[0], : shape[1]], (beyond < 0.95)[: shape[0], : shape[1]]
    assert source.pixels[far].max() <= black
    interior = near & (rows > 0)[: shape[0], : shape[1]] & (cols > 0)[: shape[0], : shape[1]]
    np.testing.assert_array_equal(source.pixels[interior], PIXELS[: shape[0], : shape[1]][interior])


def test_several_shapes_leave_what_is_in_all_of_them(tmp_path):
    tags = rectangle("Shutter", 0, 96, 20, 80) | {"ShutterShape": ["RECTANGULAR", "CIRCULAR"]}
    tags |= {"CenterOfCircularShutter": [49, 41], "RadiusOfCircularShutter": 30}
    source = read(tmp_path, **tags)
    assert source.facts["shutter_crop"] == {"rows": [18, 79], "cols": [20, 71]}


@pytest.mark.parametrize(
    "tags",
    [
        rectangle("Collimator", 907, 1299, -184, 184),  # in tenths of mm from the middle, as a real CR has them
        rectangle("Shutter", 0, 10, 0, 10),
        rectangle("Shutter", 90, 10, 0, 80),
        {"ShutterShape": "CIRCULAR"},
        {"ShutterShape": "CIRCULAR", "CenterOfCircularShutter": [49, 41], "RadiusOfCircularShutter": 2},
        {"ShutterShape": "POLYGONAL", "VerticesOfThePolygonalShutter": [1, 1, 5, 5]},
        {"ShutterShape": "BITMAP"},
    ],
)
def test_edges_that_cannot_be_meant_are_not_used(tags, tmp_path):
    np.testing.assert_array_equal(read(tmp_path, **tags).pixels, PIXELS)


def test_a_collimator_counts_where_the_shutter_says_nothing_usable(tmp_path):
    source = read(tmp_path, **rectangle("Shutter", 0, 10, 0, 10), **rectangle("Collimator", 10, 90, 5, 75))
    np.testing.assert_array_equal(source.pixels, PIXELS[10:90, 5:75])

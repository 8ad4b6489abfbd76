"""Left and right of a film: the heart's shadow decides, and likeness to the mean film where the heart does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from xct_components.data.film.heart_side import PIXEL_MM, heart_shift_mm, symmetric
from xct_components.data.film.match import Pose
from xct_components.data.film.reference import film_reference
from xct_components.data.film.view import HEART_MM, MIRROR_MARGIN, SIDE_MARGIN, Hypothesis, ViewEvidence, view_evidence

FILMS = Path(__file__).parents[1] / "data" / "films"
FIRST, SECOND = FILMS / "00000001_000.png", FILMS / "00027426_000.png"
# A drawn heart's border lies on a pixel's edge; the film is placed to about 1 mm and measured on pixels of 4 mm.
SHIFT_TOLERANCE_MM = PIXEL_MM
# A film and its mirror image are placed from different starts: to within one pixel of the search, 1 mm.
MIRROR_TOLERANCE_MM = 1.0
# The mean film is stored in thousandths.
STORED = 1e-3


def pixels_of(path: Path) -> torch.Tensor:
    return torch.from_numpy(np.asarray(Image.open(path)).astype(np.float32))


def evidence(heart_mm: float, likeness: float) -> ViewEvidence:
    reading = Hypothesis("frontal", Pose(0, False, (0.0, 0.0), (1.0, 1.0), agreement=0.8, overlap=1.0))
    return ViewEvidence(reading, reading, side_margin=likeness, heart_shift_mm=heart_mm, margin=0.3, symmetry=0.8)


def drawn_chest(left_mm: float, right_mm: float) -> torch.Tensor:
    """The symmetric mean film at 2 mm, with a bright block at the heart's height instead of whatever lies there."""
    neutral = symmetric(film_reference().frontal)
    film = torch.nn.functional.interpolate(neutral.values[None, None], scale_factor=4, mode="bilinear")[0, 0]
    offsets_mm = (torch.arange(film.shape[1]) - (film.shape[1] - 1) / 2) * neutral.pixel_mm / 4
    rows = (offsets_mm >= -20.0) & (offsets_mm < 56.0)
    across = torch.where((offsets_mm > -right_mm) & (offsets_mm < left_mm), 1.0, 0.1)
    film[rows] = torch.where(offsets_mm.abs() < 110.0, across, film[rows])
    return film


@pytest.mark.parametrize(("left_mm", "right_mm"), [(60.0, 30.0), (40.0, 40.0), (30.0, 54.0)])
def test_the_shift_of_a_drawn_heart_is_how_much_farther_it_reaches_to_the_left(left_mm, right_mm):
    film = drawn_chest(left_mm, right_mm)
    middle = (film.shape[0] - 1) / 2
    start = Pose(0, False, (middle, middle), (2.0, 2.0), agreement=1.0, overlap=1.0)
    shift_mm = heart_shift_mm(film, [start], film_reference().frontal)
    assert shift_mm == pytest.approx(left_mm - right_mm, abs=SHIFT_TOLERANCE_MM)


@pytest.mark.parametrize("path", [FIRST, SECOND])
def test_a_mirrored_film_has_the_opposite_shift_and_is_called_mirrored(path):
    whole = view_evidence(pixels_of(path), film_reference())
    mirrored = view_evidence(pixels_of(path).flip(1), film_reference())
    assert whole.heart_shift_mm > HEART_MM
    assert mirrored.heart_shift_mm == pytest.approx(-whole.heart_shift_mm, abs=MIRROR_TOLERANCE_MM)
    assert (whole.side, mirrored.side) == ("as expected", "mirrored")


def test_the_display_curve_does_not_move_the_heart():
    pixels = pixels_of(FIRST)
    plain = view_evidence(pixels, film_reference())
    assert view_evidence(pixels**2, film_reference()).heart_shift_mm == pytest.approx(plain.heart_shift_mm, abs=2 * PIXEL_MM)
    reversed_grey = view_evidence(255.0 - pixels, film_reference())
    assert reversed_grey.heart_shift_mm == pytest.approx(plain.heart_shift_mm, abs=MIRROR_TOLERANCE_MM)


def test_one_opaque_lung_does_not_hide_the_side_of_the_heart():
    pixels = pixels_of(FIRST)
    clouded = pixels.clone()
    right_upper = clouded[90:220, 90:220]  # as with a collapsed right upper lobe
    clouded[90:220, 90:220] = right_upper.clamp_min(float(pixels.quantile(0.7)))
    assert view_evidence(clouded, film_reference()).side == "as expected"
    assert view_evidence(clouded.flip(1), film_reference()).side == "mirrored"


@pytest.mark.parametrize(
    ("heart_mm", "likeness", "side"),
    [
        (HEART_MM, -SIDE_MARGIN, "as expected"),
        (-HEART_MM, SIDE_MARGIN, "mirrored"),
        (HEART_MM, -MIRROR_MARGIN, "unsure"),
        (-HEART_MM, MIRROR_MARGIN, "unsure"),
        (HEART_MM / 2, SIDE_MARGIN, "as expected"),
        (HEART_MM / 2, 0.0, "unsure"),
        (-HEART_MM / 2, -SIDE_MARGIN, "unsure"),
        (-HEART_MM / 2, -MIRROR_MARGIN, "mirrored"),
        (-HEART_MM / 2, 2 * MIRROR_MARGIN, "unsure"),
        (0.0, 0.0, "unsure"),
    ],
)
def test_a_clear_heart_decides_and_an_unclear_one_needs_likeness_to_agree(heart_mm, likeness, side):
    assert evidence(heart_mm, likeness).side == side


def test_a_film_that_shows_no_heart_has_no_shift():
    corner = Pose(0, False, (400.0, 400.0), (2.0, 2.0), agreement=1.0, overlap=1.0)
    assert heart_shift_mm(torch.full((64, 64), 3.0), [corner], film_reference().frontal) == 0.0


def test_the_symmetric_mean_favours_no_side():
    neutral = symmetric(film_reference().frontal)
    torch.testing.assert_close(neutral.values, neutral.values.flip(1))
    torch.testing.assert_close(neutral.weights, neutral.weights.flip(1))
    again = symmetric(replace(film_reference().frontal, values=film_reference().frontal.values.flip(1)))
    both_weighted = film_reference().frontal.weights.flip(1) == film_reference().frontal.weights
    torch.testing.assert_close(again.values[both_weighted], neutral.values[both_weighted], atol=STORED, rtol=0.0)

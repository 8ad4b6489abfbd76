"""Every picture carries its warning, its sides and a scale bar in its own pixels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from xct_components.geometry import chest_beam_covering
from xct_components.report import SCALE_BAR_MM, compared_film
from xct_components.report_page.pictures import DIVERGING, WIDTH_PIXELS, Picture, drawn

BLACK = Picture(torch.zeros(50, 100), (0.0, 1.0), (4.0, 2.0), "RLHF")
ALERT, ACCENT = (255, 180, 84), (92, 200, 255)


def pixels_of(picture: Picture, colour: tuple[int, int, int]) -> np.ndarray:
    """(n, 2) rows and columns that have a colour."""
    return np.argwhere((np.asarray(drawn(picture)) == colour).all(axis=-1))


def test_millimetres_are_square():
    assert drawn(BLACK).size == (WIDTH_PIXELS, WIDTH_PIXELS)


def test_the_warning_stands_in_the_pixels_and_the_scale_bar_is_as_long_as_it_says():
    rows, _ = pixels_of(BLACK, ALERT).T
    assert len(rows) > 300
    assert rows.min() > 0.9 * WIDTH_PIXELS
    marks = pixels_of(BLACK, ACCENT)
    longest = max(np.count_nonzero(marks[:, 0] == row) for row in set(marks[:, 0]))
    assert longest == round(SCALE_BAR_MM * WIDTH_PIXELS / 200.0) + 1


def test_the_letters_stand_at_their_sides():
    def marks(sides: str) -> np.ndarray:
        return np.asarray(drawn(Picture(BLACK.values, BLACK.window, BLACK.pixel_mm, sides)))

    for number, (rows, cols) in enumerate(((0, -1), (0, 1), (-1, 0), (1, 0))):
        changed = np.argwhere((marks("XXXX") != marks("XXXX"[:number] + "Y" + "XXXX"[number + 1 :])).any(axis=-1))
        place = (changed.mean(axis=0) - WIDTH_PIXELS / 2) / (WIDTH_PIXELS / 2)
        expected = np.array([rows, cols])
        np.testing.assert_allclose(place, expected, atol=0.2)


def test_a_difference_is_blue_below_and_orange_above():
    values = torch.tensor([[-0.5, 0.5]])
    seen = np.asarray(drawn(Picture(values, (-0.5, 0.5), (200.0, 100.0), "    ", DIVERGING))).astype(int)
    left, right = seen[100, 100], seen[100, -100]
    assert left[2] > left[0]
    assert right[0] > right[2]


def test_a_film_and_the_film_of_its_own_ct_are_alike(ct):
    pair = compared_film(ct)
    assert float((pair.film - pair.drr).norm() / pair.drr.norm()) < 0.05
    assert pair.letters == "RL"


@pytest.mark.parametrize(("view", "letters"), [("PA", "RL"), ("AP", "RL"), ("LL", "AP"), ("RL", "PA")])
def test_the_letters_of_a_film_are_those_of_its_view(view, letters, ct):
    """The table of docs/conventions.md."""
    beam = chest_beam_covering(ct.field, view, *ct.film.line_integrals.shape[-2:])
    assert compared_film(replace(ct, film=replace(ct.film, beams=(beam,)))).letters == letters

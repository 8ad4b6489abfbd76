"""Film errors against sums over an axis, and their blindness in depth."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from xct_components.geometry import Detector, VolumeGrid, chest_parallel_beam
from xct_components.metrics.projection import TrueFilm, film_error, true_film
from xct_components.physics.attenuation import hu_to_mu_per_mm, mu_per_mm_to_hu
from xct_components.physics.projector import project

GRID = VolumeGrid.chest((24, 24, 24), 10.0, (5.0, -12.0, 30.0))
#: The projector averages a pixel over a box, so a smooth body's sums along an axis are met to this.
BOX_TOLERANCE = 5e-3


def blob(middle: tuple[float, float, float], hu: float = 900.0) -> Tensor:
    """A smooth body of water in air, with a dense or light ball."""
    places = torch.stack(torch.meshgrid(*[torch.arange(24.0)] * 3, indexing="ij"))
    body = torch.exp(-((places - 11.5) ** 2).sum(0) / 60.0)
    ball = torch.exp(-((places - torch.tensor(middle)[:, None, None, None]) ** 2).sum(0) / 12.0)
    return (-1000.0 + 1000.0 * body + hu * ball)[None, None]


@pytest.mark.parametrize(("view", "axis"), [("PA", 0), ("LL", 2)])
def test_with_parallel_rays_it_is_the_error_of_sums_along_an_axis(view, axis):
    truth, other = blob((8.0, 11.0, 14.0)), blob((8.0, 11.0, 12.0), 700.0)
    beam = chest_parallel_beam(view, Detector(24, 24, 10.0), isocenter_mm=GRID.center_mm)
    film = TrueFilm(beam, project(hu_to_mu_per_mm(truth), GRID, [beam]))
    sums = [10.0 * hu_to_mu_per_mm(volume)[0, 0].numpy().sum(axis=axis) for volume in (truth, other)]
    expected = np.linalg.norm(sums[1] - sums[0]) / np.linalg.norm(sums[0])
    assert film_error(other, GRID, film) == pytest.approx(expected, abs=BOX_TOLERANCE)


def test_a_tenth_more_attenuation_is_an_error_of_a_tenth():
    truth = blob((8.0, 11.0, 14.0))
    more = mu_per_mm_to_hu(1.1 * hu_to_mu_per_mm(truth))
    for view in ("PA", "LL"):
        assert film_error(more, GRID, true_film(truth, GRID, view)) == pytest.approx(0.1, abs=1e-4)


def test_the_lateral_film_sees_the_depth_that_the_frontal_one_does_not():
    truth, deeper = blob((7.0, 11.0, 14.0)), blob((16.0, 11.0, 14.0))
    frontal, lateral = (film_error(deeper, GRID, true_film(truth, GRID, view)) for view in ("PA", "LL"))
    assert lateral > 5.0 * frontal


def test_the_truth_explains_its_films_and_an_empty_volume_explains_nothing():
    truth = blob((8.0, 11.0, 14.0))
    film = true_film(truth, GRID, "PA")
    assert film_error(truth, GRID, film) == 0.0
    assert film_error(torch.full_like(truth, -1024.0), GRID, film) == pytest.approx(1.0, abs=1e-6)

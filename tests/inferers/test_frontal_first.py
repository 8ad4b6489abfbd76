"""Consistency with a trusted frontal film and a lateral one that may only help."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from xct_components.geometry import VolumeGrid, chest_beam_covering
from xct_components.inferers.frontal_first import FrontalFirst
from xct_components.physics.consistency import SoftConsistency, relative_film_error
from xct_components.physics.projector import project

GRID = VolumeGrid.chest((16, 16, 16), 20.0)
BEAMS = [chest_beam_covering(GRID, "PA", 16, 16), chest_beam_covering(GRID, "LL", 16, 16)]
# One correction leaves about 0.7 % of a film unexplained, plus the tolerance of 0.05 on line integrals of about 4.
FRONTAL_STAYS_EXPLAINED = 0.03


def body(seed: int, smoothness: int = 5) -> Tensor:
    """(1, 1, 16, 16, 16) attenuation per mm of smooth tissue in air."""
    noise = torch.rand(1, 1, 16, 16, 16, generator=torch.Generator().manual_seed(seed))
    smooth = torch.nn.functional.avg_pool3d(noise, smoothness, 1, smoothness // 2)
    mu = torch.zeros_like(smooth)
    mu[..., 3:13, 1:15, 2:14] = 0.04 * smooth[..., 3:13, 1:15, 2:14]
    return mu


@pytest.fixture
def guess() -> Tensor:
    return (body(1) > 0.0) * 0.02


def frontal_error(mu: Tensor, films: Tensor) -> float:
    return float(relative_film_error(mu, films[:, :1], GRID, BEAMS[:1]))


def test_one_film_is_believed_as_soft_consistency_believes_it(guess):
    film = project(body(1), GRID, BEAMS[:1])
    torch.testing.assert_close(FrontalFirst()(guess, film, GRID, BEAMS[:1]), SoftConsistency()(guess, film, GRID, BEAMS[:1]))


def test_a_volume_that_explains_both_films_stays_as_it_is():
    truth = body(1)
    torch.testing.assert_close(FrontalFirst()(truth, project(truth, GRID, BEAMS), GRID, BEAMS), truth, rtol=1e-3, atol=1e-7)


def test_a_lateral_film_of_the_patient_brings_the_volume_closer(guess):
    truth = body(1)
    films = project(truth, GRID, BEAMS)
    as_dense = guess * truth.sum() / guess.sum()  # of two films the guess is believed more: its scale is to be no question here
    alone = FrontalFirst()(as_dense, films[:, :1], GRID, BEAMS[:1])
    both = FrontalFirst(other_tolerance=0.05)(as_dense, films, GRID, BEAMS)
    # Two projections of 16 x 16 rays say little about 4096 voxels of smooth noise: the distance shrinks by about a tenth.
    assert float((both - truth).norm()) < 0.95 * float((alone - truth).norm())


@pytest.mark.parametrize("lateral", ["another patient", "noise"])
def test_a_lateral_film_that_disagrees_leaves_the_frontal_film_explained(guess, lateral):
    films = project(body(1), GRID, BEAMS)
    noise = 8.0 * torch.rand(films[:, 1:].shape, generator=torch.Generator().manual_seed(3))
    films[:, 1:] = project(body(2, smoothness=3), GRID, BEAMS[1:]) if lateral == "another patient" else noise
    alone = FrontalFirst()(guess, films[:, :1], GRID, BEAMS[:1])
    both = FrontalFirst()(guess, films, GRID, BEAMS)
    assert not torch.allclose(both, alone, rtol=0.01)
    assert frontal_error(both, films) < frontal_error(alone, films) + FRONTAL_STAYS_EXPLAINED


def test_the_result_can_be_written_over_the_volume(guess):
    films = project(body(1), GRID, BEAMS)
    expected = FrontalFirst()(guess, films, GRID, BEAMS)
    with torch.no_grad():
        found = FrontalFirst()(guess, films, GRID, BEAMS, out=guess)
    assert found is guess
    assert torch.equal(found, expected)


@pytest.mark.parametrize("name", ["tolerance", "other_tolerance", "most"])
def test_a_tolerance_is_a_line_integral(name):
    with pytest.raises(ValueError, match=f"{name} must be a line integral"):
        FrontalFirst(**{name: -0.1})

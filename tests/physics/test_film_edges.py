"""Beyond a film's edges: the same rays and more of them, a correction that fades, and no step in the volume."""

from __future__ import annotations

import math

import pytest
import torch

from xct_components.geometry import Beam, Detector, VolumeGrid, chest_beam_covering, chest_parallel_beam
from xct_components.physics.consistency import corrected_along_rays
from xct_components.physics.film_edges import FADE_MM, MOST_FADES, Margins, grown_beam, seen_part, unseen_margins, with_margins
from xct_components.physics.projector import project
from xct_components.physics.ray_sharing import coarse_share_per_mm

GRID = VolumeGrid.chest((24, 20, 28), 10.0)
CONE: Beam = chest_beam_covering(GRID, "PA", 20, 28)
MARGINS = Margins(above=1, below=2, left=3, right=0)


def a_chest() -> torch.Tensor:
    """(1, 1, D, H, W), smooth, and nowhere air."""
    d, h, w = (torch.linspace(0.0, math.pi, n).double() for n in GRID.shape)
    return 0.005 + 0.01 * torch.sin(d)[:, None, None] * torch.sin(h)[None, :, None] * torch.sin(w)[None, None]


@pytest.mark.parametrize("view", ["PA", "LL"])
def test_the_margins_show_all_of_the_volume_and_not_a_pixel_more(view) -> None:
    beam = chest_beam_covering(GRID, view, 20, 28).crop(slice(4, 16), slice(5, 20))
    margins = unseen_margins(GRID, beam)
    places = grown_beam(beam, margins).pixels_of(
        GRID.world_from_voxels(torch.cartesian_prod(*(torch.tensor([-0.5, n - 0.5]).double() for n in GRID.shape)))
    )
    for axis, count in enumerate((12 + margins.above + margins.below, 15 + margins.left + margins.right)):
        low, high = float(places[:, axis].min()), float(places[:, axis].max())
        assert -0.5 <= low < 0.5
        assert count - 1.5 < high <= count - 0.5


def test_far_beside_the_film_nothing_is_looked_at() -> None:
    beam = chest_parallel_beam("PA", Detector(4, 4, 2.5))
    reach = round(MOST_FADES * FADE_MM / 2.5)
    assert unseen_margins(GRID, beam) == Margins(38, 38, reach, reach)


def test_a_film_that_shows_everything_has_no_margins() -> None:
    assert not any(unseen_margins(GRID, chest_parallel_beam("PA", Detector(20, 28, 10.0))))


def test_the_grown_exposure_holds_the_rays_of_the_film() -> None:
    mu = a_chest()[None, None]
    inner, outer = project(mu, GRID, [CONE]), project(mu, GRID, [grown_beam(CONE, MARGINS)])
    assert outer.shape[-2:] == (23, 31)
    torch.testing.assert_close(seen_part(outer, MARGINS), inner, rtol=1e-9, atol=0.0)  # the same rays, other sums of float64
    again = grown_beam(CONE, MARGINS).crop(slice(1, 21), slice(3, 31))
    assert again.detector == CONE.detector
    assert again.detector_center_mm == pytest.approx(CONE.detector_center_mm)


def test_a_correction_holds_at_the_edge_and_fades_beyond() -> None:
    film = torch.arange(12.0).reshape(1, 1, 1, 3, 4)
    found = with_margins(film, MARGINS, (5.0, 10.0), 20.0)[0, 0, 0]
    assert torch.equal(seen_part(found, MARGINS), film[0, 0, 0])
    assert float(found[0, 3]) == pytest.approx(0.0)
    assert float(found[-1, -1]) == pytest.approx(11.0 * math.exp(-2 * 5.0 / 20.0))
    assert float(found[-1, 0]) == pytest.approx(8.0 * math.exp(-(2 * 5.0 + 3 * 10.0) / 20.0))


def test_there_is_no_step_where_a_film_ends() -> None:
    """A patient who is half a share more everywhere than thought, of whom the film shows the middle columns alone."""
    mu = a_chest()[None, None]
    beam = chest_parallel_beam("PA", Detector(20, 28, 10.0)).crop(slice(0, 20), slice(8, 20))
    share = coarse_share_per_mm(mu)
    corrected = corrected_along_rays(mu, project(mu + 0.5 * share, GRID, [beam]), GRID, [beam])
    gained = ((corrected - mu) / share)[0, 0, 12, 10]
    assert float(gained[10:18].min()) == pytest.approx(0.5, abs=1e-3)
    steps = gained.diff().abs()
    assert float(steps.max()) == pytest.approx(0.5 * (1.0 - math.exp(-10.0 / FADE_MM)), rel=0.02)
    assert 0.0 < float(gained[0]) < 0.1


def test_gradients_reach_the_film_from_beside_it() -> None:
    mu = a_chest()[None, None]
    beam = chest_parallel_beam("PA", Detector(20, 28, 10.0)).crop(slice(0, 20), slice(8, 20))
    film = project(mu, GRID, [beam]).requires_grad_()
    corrected_along_rays(mu, film, GRID, [beam])[..., :4].sum().backward()
    assert film.grad is not None
    assert float(film.grad[..., 0].abs().min()) > 0.0

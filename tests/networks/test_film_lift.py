"""Film features placed in depth: along their own rays, weighed between views, in any order of the views."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from tests.networks.small_stages import ENCODER, GRID, SIDE, beams_of, change, chest_hu
from xct_components.geometry import Beam, Detector, VolumeGrid, chest_parallel_beam
from xct_components.networks.depth_lifting import DepthLifting, LiftedDepth
from xct_components.networks.film_lift import FilmLift, depth_fraction
from xct_components.physics.tissue_groups import tissue_mu_per_mm

#: float32 sums in another order.
ROUNDING = 1e-5
CHANNELS, WIDTH = ENCODER[0], 8
TOKENS = GRID.resampled((SIDE // 2,) * 3)


def film_lift(*, by_depth: bool = True) -> FilmLift:
    torch.manual_seed(0)
    return FilmLift(CHANNELS, WIDTH, by_depth=by_depth).requires_grad_(False)


def maps(views: int) -> Tensor:
    return torch.randn(1, views, CHANNELS, SIDE // 2, SIDE // 2, generator=torch.Generator().manual_seed(2))


def depth_of(film_maps: Tensor, beams: list[Beam]) -> LiftedDepth:
    torch.manual_seed(1)
    lifting = DepthLifting(CHANNELS, SIDE).requires_grad_(False)
    return lifting(film_maps, tissue_mu_per_mm(chest_hu()), [GRID], [beams])


def placed(layer: FilmLift, film_maps: Tensor, beams: list[Beam], *, lifted: bool = True) -> Tensor:
    return layer(film_maps, depth_of(film_maps, beams) if lifted else None, [GRID], [beams], [TOKENS])


def moved_left(beam: Beam, shift_mm: float = 40.0) -> Beam:
    """The rig shifted along the film's columns."""
    motion = torch.eye(4, dtype=torch.float64)
    motion[:3, 3] = shift_mm * torch.tensor(beam.col_direction, dtype=torch.float64)
    return beam.moved(motion)


@pytest.mark.parametrize("lifted", [True, False])
def test_a_single_view_has_nobody_to_be_weighed_against(lifted: bool) -> None:
    layer, beams = film_lift(), beams_of("PA")
    before = placed(layer, maps(1), beams, lifted=lifted)
    layer.content.weight[-1] = 5.0 * torch.randn_like(layer.content.weight[-1])
    torch.testing.assert_close(placed(layer, maps(1), beams, lifted=lifted), before, rtol=0.0, atol=ROUNDING)
    two, pair = maps(2), beams_of("PA", "LL")
    with_loud_scores = placed(layer, two, pair)
    layer.content.weight[-1] = 0.0
    assert change(with_loud_scores, placed(layer, two, pair)) > 0.01


def test_the_order_of_two_views_does_not_matter() -> None:
    layer, beams = film_lift(), beams_of("PA", "LL")
    there, back = placed(layer, maps(2), beams), placed(layer, maps(2).flip(1), beams[::-1])
    torch.testing.assert_close(there, back, rtol=0.0, atol=ROUNDING)
    assert change(there, placed(layer, maps(2).flip(1), beams)) > 0.01  # films in the other's beam are another examination


@pytest.mark.parametrize("view", [0, 1])
def test_moving_either_beam_moves_its_features(view: int) -> None:
    layer, beams = film_lift(), beams_of("PA", "LL")
    before = placed(layer, maps(2), beams)
    elsewhere = [moved_left(beam) if v == view else beam for v, beam in enumerate(beams)]
    assert change(before, placed(layer, maps(2), elsewhere)) > 0.01


@pytest.mark.parametrize("lifted", [True, False])
@pytest.mark.parametrize("view", ["PA", "LL"])
def test_a_feature_stays_on_its_ray(view: str, lifted: bool) -> None:
    """One lit pixel of a parallel beam lights one row of voxels: the same H, and the same W (frontal) or D (lateral)."""
    layer = film_lift()
    layer.get_parameter("content.bias").zero_()
    layer.get_parameter("mix.bias").zero_()
    beam = chest_parallel_beam(view, Detector(SIDE // 2, SIDE // 2, 40.0))  # type: ignore[arg-type]
    film = torch.zeros(1, 1, CHANNELS, SIDE // 2, SIDE // 2)
    film[..., 3, 5] = 1.0
    depth = depth_of(torch.zeros_like(film), [beam]) if lifted else None
    lit = layer(film, depth, [GRID], [[beam]], [TOKENS])[0].abs().sum(0) > 1e-6
    expected = torch.zeros_like(lit)
    if view == "PA":
        expected[:, 3, 5] = True
    else:
        expected[5, 3, :] = True
    assert torch.equal(lit, expected)


def test_the_distribution_says_where_on_the_ray() -> None:
    """With the region term off, a voxel's feature is in proportion to its bin's share of the ray."""
    layer, beam = film_lift(), chest_parallel_beam("PA", Detector(SIDE // 2, SIDE // 2, 40.0))
    layer.region.zero_()
    layer.mix.weight.copy_(torch.eye(WIDTH)[..., None, None, None])
    layer.get_parameter("mix.bias").zero_()
    film_maps = maps(1)
    lifted = depth_of(film_maps, [beam])
    features = layer(film_maps, lifted, [GRID], [[beam]], [TOKENS])[0]
    share = lifted.log_mass[0, 0].softmax(1)  # of every group alone: (G, K, rows, cols)
    relative = SIDE * share.unflatten(1, (SIDE // 2, 2)).mean(2)  # a token lies in the middle of two bins
    content = layer.content(film_maps[0])[0, :WIDTH]
    expected = 0.5 * relative.repeat_interleave(WIDTH // 4, dim=0) * content[:, None]
    torch.testing.assert_close(features, expected, rtol=1e-3, atol=1e-4)


def test_without_a_distribution_there_is_no_gain_to_learn() -> None:
    layer = film_lift(by_depth=False)
    assert "gain" not in dict(layer.named_parameters())
    same = film_lift()
    expected = placed(same, maps(1), beams_of("PA"), lifted=False)
    assert torch.equal(placed(layer, maps(1), beams_of("PA"), lifted=False), expected)
    with pytest.raises(ValueError, match="lifted must be None"):
        placed(layer, maps(1), beams_of("PA"))


def test_depth_runs_from_the_front_of_the_field_to_its_back_in_any_part_of_it() -> None:
    field = VolumeGrid.chest((10, 6, 6), 5.0, center_mm=(3.0, -7.0, 11.0))
    whole = depth_fraction(field, field)
    assert whole.tolist() == pytest.approx([(d + 0.5) / 10 for d in range(10)])
    assert depth_fraction(field, field.crop((4, 2, 2), (5, 3, 3))).tolist() == pytest.approx(whole[4:9].tolist())
    assert depth_fraction(field, field.resampled((5, 3, 3))).tolist() == pytest.approx([(d + 0.5) / 5 for d in range(5)])
    assert math.isclose(float(whole[0] + whole[-1]), 1.0)


def test_channels_that_do_not_divide_by_the_tissues_are_refused() -> None:
    with pytest.raises(ValueError, match="channels must be a multiple of the 4 tissue groups, got 6"):
        FilmLift(CHANNELS, 6)

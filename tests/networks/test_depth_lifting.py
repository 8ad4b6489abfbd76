"""Depth lifting: starts at the atlas, stays a distribution, re-projects to the film, and can be taught."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.networks.small_stages import ENCODER, GRID, SIDE, beams_of, chest_hu, conditions_of, film_of, made_loud, small_stage
from xct_components.geometry import VolumeGrid, chest_beam_covering
from xct_components.networks.depth_lifting import EVERYWHERE, DepthLifting, LiftedDepth, lifted_mu_per_mm
from xct_components.physics.attenuation import hu_to_mu_per_mm
from xct_components.physics.consistency import relative_film_error
from xct_components.physics.depth_regions import region_partition
from xct_components.physics.projector import project
from xct_components.physics.ray_space import to_ray_space
from xct_components.physics.tissue_groups import TISSUE_GROUPS, tissue_mu_per_mm

#: float32 shares, through a logarithm and back.
ROUNDING = 1e-5
#: The lifted volume is read off ray space trilinearly, which blurs the chest's sharp borders by a voxel. Measured on voxels of
#: 5 mm: 0.021 from the atlas. What is lost at borders halves with the voxels.
REPROJECTION, HALVES = 0.03, 0.6
CHANNELS = ENCODER[0]
ATLAS = tissue_mu_per_mm(chest_hu())
GROUPS = len(TISSUE_GROUPS)


def features(views: int = 1, rows: int = SIDE, seed: int = 0) -> Tensor:
    return torch.randn(1, views, CHANNELS, rows, rows, generator=torch.Generator().manual_seed(seed))


def lifting(bins: int = SIDE) -> DepthLifting:
    torch.manual_seed(0)
    return DepthLifting(CHANNELS, bins)


def test_before_training_the_distribution_is_the_atlas_and_a_little_everywhere() -> None:
    beams = beams_of("PA")
    lifted = lifting()(features(), ATLAS, [GRID], [beams])
    mass = to_ray_space(ATLAS, [GRID], [beams], bins=SIDE, rows=SIDE, cols=SIDE).double()
    total = mass.sum((2, 3), keepdim=True)
    through_body = (total > 0.1)[0, 0, 0, 0]
    expected = (1.0 - EVERYWHERE) * mass / total + EVERYWHERE / (GROUPS * SIDE)
    torch.testing.assert_close(
        lifted.log_mass.exp().double()[..., through_body], expected[..., through_body], rtol=1e-3, atol=ROUNDING
    )
    assert float(lifted.log_mass.exp().amin()) >= 0.99 * EVERYWHERE / (GROUPS * SIDE)


@pytest.mark.parametrize("measured", [True, False])
def test_it_is_a_distribution_over_groups_and_bins_whatever_was_learned(measured: bool) -> None:
    atlas = ATLAS if measured else torch.zeros_like(ATLAS)
    lifted = made_loud(lifting())(features(2), atlas, [GRID], [beams_of("PA", "LL")])
    total = lifted.log_mass.exp().sum((2, 3))
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0.0, atol=ROUNDING)


@pytest.mark.parametrize("bins", [64, 128, 256, 512])
def test_a_region_logit_multiplies_the_odds_of_its_depths(bins: int) -> None:
    """By hand: p' = p * exp(logit * membership) / sum, at the depths of every stage."""
    beams = [chest_beam_covering(GRID, "PA", 3, 3)]
    layer = lifting(bins)
    assert layer.regions.shape == (3, bins)
    torch.testing.assert_close(layer.regions.sum(0), torch.ones(bins), rtol=0.0, atol=ROUNDING)
    with torch.no_grad():
        before = layer(features(rows=3), ATLAS, [GRID], [beams]).log_mass.exp().double()
        layer.region_logits[3, 2] = 1.5  # bone, posterior
        after = layer(features(rows=3), ATLAS, [GRID], [beams]).log_mass.exp().double()
    expected = before.clone()
    expected[:, :, 3] *= torch.exp(1.5 * region_partition(bins)[2].double())[:, None, None]
    expected /= expected.sum((2, 3), keepdim=True)
    torch.testing.assert_close(after, expected, rtol=1e-3, atol=ROUNDING / bins)


@pytest.mark.parametrize("bins", [64, 128, 256, 512])
def test_region_masses_are_the_atlas_shares_and_add_up(bins: int) -> None:
    beams = [chest_beam_covering(GRID, "PA", 3, 3)]
    masses = lifting(bins)(features(rows=3), ATLAS, [GRID], [beams]).region_mass
    assert masses.shape == (1, 1, GROUPS, 3, 3, 3)
    torch.testing.assert_close(masses.sum(3), torch.ones_like(masses.sum(3)), rtol=0.0, atol=1e-3)
    bone, soft = masses[0, 0, 3, :, 1, 1], masses[0, 0, 2, :, 1, 1]
    assert float(bone[0]) < 0.1  # the spine's middle stands at 0.73 of the depth: half of it in the posterior quarter
    assert float(bone[2]) == pytest.approx(0.5, abs=0.15)
    assert float(soft[1]) > 2 * float(soft[2])  # the heart stands before it


def reprojected(side: int, *views: str, learned: bool = False) -> tuple[Tensor, Tensor]:
    """How far the lifted volume of ``side``³ voxels is from the film, and the volume."""
    grid = VolumeGrid.chest((side,) * 3, 320.0 / side)
    beams = beams_of(*views, grid=grid, pixels=side)
    film = film_of(chest_hu(grid, wide=0.95), beams, grid)
    layer = made_loud(lifting(side)) if learned else lifting(side)
    with torch.no_grad():
        lifted = layer(features(len(views), side), ATLAS, [grid], [beams])
        mu = lifted_mu_per_mm(lifted, film, [grid], [beams], [grid])
    return relative_film_error(mu, film, grid, beams), mu


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("view", ["PA", "LL"])
def test_the_lifted_attenuation_projects_to_the_film(view: str, learned: bool) -> None:
    (coarse, _), (fine, mu) = (reprojected(side, view, learned=learned) for side in (32, 64))
    assert float(fine) < REPROJECTION
    assert float(fine) < HALVES * float(coarse)
    assert float(mu.amin()) >= 0.0


def test_the_lifted_attenuation_puts_bone_behind_the_heart() -> None:
    """The spine's rays pass heart and spine; a flat distribution would give both the same."""
    _, mu = reprojected(32, "PA")
    ray = mu[0, 0, :, 16, 15:17].mean(1)
    spine = slice(int(32 * (0.5 + 55 / 320)), int(32 * (0.5 + 95 / 320)))
    assert float(ray[spine].mean()) > 1.3 * float(ray[8:16].mean())


def test_a_film_twice_as_dense_lifts_to_twice_the_attenuation() -> None:
    beams = beams_of("PA")
    film = film_of(chest_hu(), beams)
    lifted = lifting()(features(), ATLAS, [GRID], [beams])
    single, double = (lifted_mu_per_mm(lifted, k * film, [GRID], [beams], [GRID]) for k in (1.0, 2.0))
    torch.testing.assert_close(2.0 * single, double, rtol=1e-5, atol=1e-8)


def test_two_views_are_lifted_each_by_its_own_beam_and_averaged() -> None:
    beams, looks = beams_of("PA", "LL"), features(2)
    film = film_of(chest_hu(), beams)
    layer = made_loud(lifting())
    both = layer(looks, ATLAS, [GRID], [beams])
    mus = []
    for view in range(2):
        one = layer(looks[:, view : view + 1], ATLAS, [GRID], [beams[view : view + 1]])
        torch.testing.assert_close(one.log_mass[:, 0], both.log_mass[:, view], rtol=0.0, atol=1e-4)
        mus.append(lifted_mu_per_mm(one, film[:, view : view + 1], [GRID], [beams[view : view + 1]], [GRID]))
    together = lifted_mu_per_mm(both, film, [GRID], [beams], [GRID])
    torch.testing.assert_close(together, (mus[0] + mus[1]) / 2, rtol=1e-4, atol=1e-7)


def test_the_true_distribution_lifts_the_film_back_to_the_patient() -> None:
    """What training aims at: with the true shares, the lifted volume is the CT, blurred as ray space blurs."""
    grid, beams = GRID, beams_of("PA")
    mu = hu_to_mu_per_mm(chest_hu())
    mass = to_ray_space(tissue_mu_per_mm(chest_hu()), [grid], [beams], bins=SIDE, rows=SIDE, cols=SIDE)
    share = mass / mass.sum((2, 3), keepdim=True).clamp_min(1e-6)
    truth = LiftedDepth(share.clamp_min(1e-12).log(), torch.zeros(1, 1, GROUPS, 3, SIDE, SIDE))
    lifted = lifted_mu_per_mm(truth, project(mu, grid, beams), [grid], [beams], [grid])
    flat = lifted_mu_per_mm(
        truth._replace(log_mass=torch.full_like(share, 1.0 / share[0, 0, :, :, 0, 0].numel()).log()),
        project(mu, grid, beams),
        [grid],
        [beams],
        [grid],
    )
    assert float((lifted - mu).norm()) < 0.35 * float((flat - mu).norm())


def test_gradients_of_the_distribution_reach_the_film_encoder() -> None:
    stage = small_stage()
    beams = beams_of("PA")
    conditions = conditions_of(stage, film_of(chest_hu(), beams), beams)
    assert conditions.lifted is not None
    conditions.lifted.log_mass[:, :, 3].sum().backward()
    for name in ("stem.weight", "levels.0.0.first.weight", "levels.1.0.first.weight", "view.weight"):
        gradient = dict(stage.encoder.named_parameters())[name].grad
        assert gradient is not None, name
        assert float(gradient.abs().amax()) > 0.0, name

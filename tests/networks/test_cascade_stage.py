"""A stage as a whole: the cascade really is one, the film counts, columns are cuts, and flags do what they say."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.networks.small_stages import (
    EMBEDDING,
    ENCODER,
    GRID,
    SIDE,
    SPACING_MM,
    TOKENS,
    beams_of,
    change,
    chest_hu,
    conditions_of,
    denoised,
    film_of,
    gradients,
    hard,
    small_network,
    small_stage,
)
from xct_components.geometry import Beam, VolumeGrid
from xct_components.networks.cascade_stage import CascadeStage
from xct_components.networks.explained_volume import HIGHEST_HU, LOWEST_HU
from xct_components.networks.xray_encoder import XrayEncoder
from xct_components.physics.attenuation import hu_to_mu_per_mm
from xct_components.physics.consistency import NoConsistency, relative_film_error

#: float32 sums in another order, through the whole network.
ROUNDING = 1e-3
#: An input matters if it changes the answer by more than this share; rounding stays below 1e-5.
MATTERS = 1e-2
#: The bar of the cascade for simulated films, on the voxels of its coarsest stage.
FILM_ERROR, COARSEST = 0.01, 64
#: What is left on voxels of 20 mm, where the chest's borders are steps of one voxel.
ROUGH_FILM_ERROR = 0.03
PA = beams_of("PA")


@pytest.fixture(scope="module")
def stage() -> CascadeStage:
    return small_stage().eval().requires_grad_(False)


@pytest.fixture(scope="module")
def film() -> Tensor:
    return film_of(chest_hu(wide=0.95), PA)


def coarse() -> Tensor:
    """The previous stage's volume: half the resolution, a little off."""
    return torch.nn.functional.avg_pool3d(chest_hu(wide=1.05), 2)


def fed(stage: CascadeStage, film: Tensor, coarse_hu: Tensor | None = None, beams: list[Beam] = PA) -> Tensor:
    return denoised(stage, conditions_of(stage, film, beams, coarse_hu=coarse_hu))


def test_a_film_gives_a_volume_in_hu(stage: CascadeStage, film: Tensor) -> None:
    volume_hu = stage(torch.cat([film[:, 0], film_of(chest_hu(), PA)[:, 0]]))
    assert volume_hu.shape == (2, 1, SIDE, SIDE, SIDE)
    assert volume_hu.dtype == torch.float32
    assert float(volume_hu.amin()) >= LOWEST_HU
    assert float(volume_hu.amax()) <= HIGHEST_HU


def at_64() -> tuple[VolumeGrid, list[Beam], Tensor]:
    """The field of the first stage, its exposure, and the film of a chest."""
    grid = VolumeGrid.chest((COARSEST,) * 3, SIDE * SPACING_MM / COARSEST)
    beams = beams_of("PA", grid=grid, pixels=COARSEST)
    return grid, beams, film_of(chest_hu(grid, wide=0.95), beams, grid)


def test_the_volume_of_a_film_explains_it() -> None:
    """Whatever the network said: here it is random, from voxel to voxel, by some 50 HU; 200 HU of such noise leave 0.012."""
    grid, beams, film = at_64()
    stage = small_stage(COARSEST).eval()
    stage.residual_scale_hu.fill_(50.0)
    with torch.no_grad():
        volume_hu = stage(film[:, 0])
    assert float(relative_film_error(hu_to_mu_per_mm(volume_hu), film, grid, beams)) <= FILM_ERROR


def test_an_untrained_stage_answers_with_its_prior(film: Tensor) -> None:
    silent = small_stage(loud=False)
    prior_hu = silent.prior_hu(film, [GRID], [PA], hard())
    with torch.no_grad():
        answer = silent(film[:, 0])
    # a second correction, of what already explains the film but for ROUGH_FILM_ERROR
    assert change(hu_to_mu_per_mm(prior_hu), hu_to_mu_per_mm(answer)) < ROUGH_FILM_ERROR


@pytest.mark.parametrize("with_coarse", [True, False])
def test_the_prior_explains_the_film(stage: CascadeStage, with_coarse: bool) -> None:
    grid, beams, film = at_64()
    coarse_hu = chest_hu(grid.resampled((32, 32, 32)), wide=1.05) if with_coarse else None
    prior_hu = stage.prior_hu(film, [grid], [beams], hard(), coarse_hu)
    assert float(relative_film_error(hu_to_mu_per_mm(prior_hu), film, grid, beams)) <= FILM_ERROR
    unexplained = stage.prior_hu(film, [grid], [beams], [NoConsistency()], coarse_hu)
    assert float(relative_film_error(hu_to_mu_per_mm(unexplained), film, grid, beams)) > 2 * FILM_ERROR


def test_shuffling_the_previous_stages_voxels_changes_the_answer(stage: CascadeStage, film: Tensor) -> None:
    """Its mean, its histogram and the film stay as they are; where things lie does not."""
    order = torch.randperm(coarse().numel(), generator=torch.Generator().manual_seed(0))
    shuffled = coarse().flatten()[order].view_as(coarse())
    assert change(fed(stage, film, coarse()), fed(stage, film, shuffled)) > MATTERS


def test_another_patients_previous_stage_changes_the_answer(stage: CascadeStage, film: Tensor) -> None:
    another = torch.nn.functional.avg_pool3d(chest_hu(wide=0.8, heart=False), 2)
    assert change(fed(stage, film, coarse()), fed(stage, film, another)) > MATTERS


def test_the_previous_stage_is_read_where_it_lies(stage: CascadeStage, film: Tensor) -> None:
    """What changes in one corner of the coarse volume changes the inputs of that corner alone (no correction by the film)."""
    touched = coarse()
    touched[..., 5, 2, 1] += 300.0
    inputs = []
    for volume in (coarse(), touched):
        prior_hu = stage.prior_hu(film, [GRID], [PA], [NoConsistency()], volume)
        inputs.append(stage.at_voxels(stage.condition(film, [GRID], [PA], prior_hu)).inputs)
    where = (inputs[1] - inputs[0])[0, 0].abs() > 1e-4
    expected = torch.zeros_like(where)
    expected[9:13, 3:7, 1:5] = True  # the two fine voxels of each coarse one, and the trilinear neighbours
    assert torch.equal(where, expected)


@pytest.mark.parametrize("lifting", [True, False])
def test_mirroring_the_film_changes_the_answer(film: Tensor, lifting: bool) -> None:
    stage = small_stage(use_depth_lifting=lifting).eval()
    assert change(fed(stage, film, coarse()), fed(stage, film.flip(-1), coarse())) > MATTERS


def test_moving_the_beam_changes_the_answer(stage: CascadeStage, film: Tensor) -> None:
    motion = torch.eye(4, dtype=torch.float64)
    motion[0, 3] = 25.0
    moved: list[Beam] = [beam.moved(motion) for beam in PA]
    assert change(fed(stage, film, coarse()), fed(stage, film, coarse(), moved)) > MATTERS


def test_the_rig_and_the_patient_moved_together_change_nothing(stage: CascadeStage, film: Tensor) -> None:
    motion = torch.eye(4, dtype=torch.float64)
    motion[:3, 3] = torch.tensor([30.0, -10.0, 55.0])
    field, beams = GRID.moved(motion), [[beam.moved(motion) for beam in PA]]
    prior_hu = stage.prior_hu(film, [field], beams, hard())
    torch.testing.assert_close(prior_hu, stage.prior_hu(film, [GRID], [PA], hard()), rtol=0.0, atol=0.1)  # HU
    there = denoised(stage, stage.condition(film, [field], beams, prior_hu))
    torch.testing.assert_close(there, fed(stage, film), rtol=0.0, atol=ROUNDING)


def test_noise_on_the_previous_stage_is_told_to_the_network(stage: CascadeStage, film: Tensor) -> None:
    prior_hu = stage.prior_hu(film, [GRID], [PA], hard(), coarse())
    quiet, told = (stage.condition(film, [GRID], [PA], prior_hu, coarse_noise=level) for level in (None, torch.tensor([0.7])))
    assert change(denoised(stage, quiet), denoised(stage, told)) > MATTERS


def test_without_depth_lifting_nothing_is_lifted_and_every_parameter_is_at_work(film: Tensor) -> None:
    for lifting in (True, False):
        stage = small_stage(use_depth_lifting=lifting)
        conditions = conditions_of(stage, film, PA, film_present=torch.tensor([1.0]))
        assert (conditions.lifted is not None, conditions.lifted_hu is not None) == (lifting, lifting)
        noise = torch.randn(1, 1, SIDE, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
        loss = stage.denoise(noise, torch.tensor([0.5]), stage.at_voxels(conditions)).square().mean()
        if conditions.lifted is not None:
            loss = loss + conditions.lifted.log_mass[..., 0, 0].square().mean()
        loss.backward()
        # DistributedDataParallel waits for ever for a parameter without a gradient.
        assert [name for name, gradient in gradients(stage).items() if gradient is None] == []


@pytest.mark.parametrize("lifting", [True, False])
def test_two_views_work_in_any_order_and_both_count(lifting: bool) -> None:
    stage, views = small_stage(use_depth_lifting=lifting).eval(), beams_of("PA", "LL")
    films = film_of(chest_hu(), views)
    # Consistency takes the views one after the other, so the prior is made once for both orders.
    prior_hu = stage.prior_hu(films, [GRID], [views], hard())

    def answer(films: Tensor, views: list[Beam]) -> Tensor:
        with torch.no_grad():
            return denoised(stage, stage.condition(films, [GRID], [views], prior_hu))

    both = answer(films, views)
    torch.testing.assert_close(answer(films.flip(1), views[::-1]), both, rtol=0.0, atol=ROUNDING)
    for mirrored in range(2):
        other = films.clone()
        other[:, mirrored] = films[:, mirrored].flip(-1)
        assert change(both, answer(other, views)) > MATTERS


def test_samples_of_a_batch_do_not_see_each_other(stage: CascadeStage, film: Tensor) -> None:
    films = torch.cat([film, film_of(chest_hu(), PA)])
    moved = GRID.moved(torch.diag(torch.tensor([1.0, 1.0, 1.0, 1.0], dtype=torch.float64)))
    prior_hu = stage.prior_hu(films, [GRID, moved], [PA, PA], hard(2))
    together = denoised(stage, stage.condition(films, [GRID, moved], [PA, PA], prior_hu))
    torch.testing.assert_close(together[:1], fed(stage, films[:1]), rtol=0.0, atol=ROUNDING)
    torch.testing.assert_close(together[1:], fed(stage, films[1:]), rtol=0.0, atol=ROUNDING)


def test_residual_and_volume_undo_each_other(stage: CascadeStage, film: Tensor) -> None:
    prior_hu = stage.prior_hu(film, [GRID], [PA], hard())
    ct_hu = chest_hu()
    residual = stage.residual(ct_hu, prior_hu)
    torch.testing.assert_close(stage.volume_hu(residual, prior_hu), ct_hu, rtol=0.0, atol=1e-3)
    torch.testing.assert_close(stage.residual(stage.volume_hu(residual, prior_hu), prior_hu), residual, rtol=0.0, atol=1e-5)
    metal = torch.full_like(ct_hu, 3000.0)
    assert float(stage.volume_hu(stage.residual(metal, prior_hu), prior_hu).amax()) == pytest.approx(HIGHEST_HU, abs=1e-3)


def test_an_encoder_with_fewer_levels_than_the_network_is_refused() -> None:
    encoder = XrayEncoder(ENCODER[:1], patch=2, token_channels=TOKENS, embedding=EMBEDDING)
    with pytest.raises(ValueError, match=r"encoder_channels must have one entry for each of the network's 2 levels, got \[8\]"):
        CascadeStage(encoder, small_network(), encoder_channels=ENCODER[:1], volume_shape=(SIDE,) * 3, embedding=EMBEDDING)


def test_the_networks_precision_is_what_was_asked_for(film: Tensor) -> None:
    """bfloat16 keeps 8 bits: the answer moves by about 1 %, and not by more than a few."""
    exact = small_stage().eval()
    rough = small_stage().eval()
    rough.precision = "bf16"
    moved = change(fed(exact, film), fed(rough, film))
    assert 1e-5 < moved < 0.1

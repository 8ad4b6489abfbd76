"""One stage: the film is explained, the seed decides, columns and views make no difference that matters."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.inferers.tiny_stages import chest_hu, tiny_stage
from xct_components.failures import UsageFailure
from xct_components.geometry import Beam, VolumeGrid, chest_beam_covering
from xct_components.inferers.column_reach import column_reach, window_alignment
from xct_components.inferers.stage import StageInferer, StageResult
from xct_components.inferers.stage_work import grown
from xct_components.inferers.stated_deviation import stated_deviation
from xct_components.networks.deviation_factors import NO_SAMPLES, DeviationFactors, FilmsSeen, MeasuredFactor
from xct_components.networks.explained_volume import explained_hu
from xct_components.networks.multi_atlas import key_of
from xct_components.physics.attenuation import hu_to_mu_per_mm
from xct_components.physics.consistency import HardConsistency, NoConsistency, SoftConsistency
from xct_components.physics.projector import project

GRID = VolumeGrid.chest((64, 64, 64), 5.0)
#: Issue 4: a simulated film is explained to this at every stage.
EXPLAINED = 0.01
# Sums of float32 in another order, carried through a network: thousandths of a HU, at times a hundredth.
ROUNDING_HU = 0.05

STAGE = tiny_stage(32)
HOLDING = tiny_stage(32, atlas_cts=3)
REFINING = tiny_stage(32, needs_coarse=True, seed=3)


def beam_of(size: int = 64, grid: VolumeGrid = GRID, **how: float) -> Beam:
    return chest_beam_covering(grid, "PA", size, size, **how)


def film_of(beam: Beam, grid: VolumeGrid = GRID) -> Tensor:
    return project(hu_to_mu_per_mm(chest_hu(grid)), grid, [beam])


BEAM = beam_of()
FILM = film_of(BEAM)
COARSE_HU = chest_hu(VolumeGrid.chest((16, 16, 16), 20.0), marker=False)


def run(film: Tensor = FILM, beam: Beam = BEAM, stage=STAGE, coarse_hu: Tensor | None = None, **settings) -> StageResult:
    how = {name: settings.pop(name) for name in ("bent", "chain") if name in settings}
    return StageInferer(**settings)(film, stage, beams=[[beam]], coarse_hu=coarse_hu, **how)


@pytest.mark.parametrize("settings", [{}, {"mode": "sample", "steps": 3}, {"samples": 2, "steps": 2}])
@pytest.mark.parametrize("distance_mm", [900.0, 1800.0])
def test_a_cone_beam_film_is_explained(settings, distance_mm):
    beam = beam_of(64, source_to_detector_mm=distance_mm, source_to_patient_mm=distance_mm - 200.0)
    result = run(film_of(beam), beam, **settings)
    assert float(result.film_error) <= EXPLAINED
    small = beam.resampled(32, 32)
    drr = project(hu_to_mu_per_mm(result.volume_hu), STAGE.field, [small])
    film = torch.nn.functional.avg_pool2d(film_of(beam)[0], 2)[None]
    assert float((drr - film).norm() / film.norm()) == pytest.approx(float(result.film_error), rel=1e-3)


def test_without_consistency_the_film_is_not_explained():
    assert float(run(consistency=NoConsistency()).film_error) > 5 * EXPLAINED


@pytest.mark.parametrize("consistency", [HardConsistency(), SoftConsistency(), NoConsistency()], ids=repr)
def test_explaining_in_place_gives_the_bits_of_explaining_with_gradients(consistency):
    volume_hu = (chest_hu(GRID, marker=False) * torch.linspace(0.8, 1.3, 64)).expand(2, -1, -1, -1, -1).contiguous()
    others = (torch.cat([FILM, 0.9 * FILM]), [GRID, GRID], [[BEAM], [BEAM]], [consistency] * 2)
    wanted, before = explained_hu(volume_hu, *others), volume_hu.clone()
    with torch.no_grad():
        assert torch.equal(explained_hu(volume_hu, *others), wanted)
        assert torch.equal(volume_hu, before)
        assert explained_hu(volume_hu, *others, out=volume_hu) is volume_hu
    assert torch.equal(volume_hu, wanted)


def test_the_same_seed_gives_the_same_bits_and_another_seed_others():
    first, again, other = (run(mode="sample", steps=2, seed=seed).volume_hu for seed in (7, 7, 8))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_sample_does_not_depend_on_its_batch():
    both = StageInferer(mode="sample", steps=2)(torch.cat([FILM, FILM * 0.8]), STAGE, beams=[[BEAM], [BEAM]])
    torch.testing.assert_close(both.volume_hu[:1], run(mode="sample", steps=2).volume_hu, atol=ROUNDING_HU, rtol=0.0)
    assert both.film_error.shape == (2, 1)


def test_the_deviation_is_multiplied_by_what_was_measured_of_the_weights_at_so_many_steps():
    measured = tiny_stage(32)
    measured.deviation_factors = DeviationFactors((MeasuredFactor(2, 1.7, 10), MeasuredFactor(4, 9.0, 10)))
    plain, stated = (StageInferer(steps=2, samples=2)(FILM, stage, beams=[[BEAM]]) for stage in (STAGE, measured))
    assert plain.std_hu is not None
    assert stated.std_hu is not None
    assert torch.equal(stated.std_hu, plain.std_hu * 1.7)
    assert torch.equal(stated.volume_hu, plain.volume_hu)


def test_mean_and_deviation_are_those_of_the_samples():
    drawn = [StageInferer(mode="sample", steps=2)(FILM, STAGE, beams=[[BEAM]], chain=k).volume_hu.numpy() for k in range(3)]
    result = run(mode="sample", steps=2, samples=3)
    np.testing.assert_allclose(result.volume_hu, np.mean(drawn, axis=0), atol=ROUNDING_HU)
    assert result.std_hu is not None
    raw = torch.from_numpy(np.var(drawn, axis=0, ddof=1))
    told = stated_deviation(result.volume_hu, STAGE.field, variance_hu2=raw)
    torch.testing.assert_close(result.std_hu, told, atol=ROUNDING_HU, rtol=0.0)
    mean = run(mode="mean", steps=2, samples=3)
    assert mean.std_hu is not None
    assert torch.equal(mean.std_hu, result.std_hu)
    assert torch.equal(mean.volume_hu, run(mode="mean").volume_hu)
    assert run(mode="sample", steps=2).std_hu is None


def test_the_mean_knows_its_deviation_from_bent_cts_and_a_single_draw_has_none():
    result = run(stage=HOLDING)
    told = stated_deviation(result.volume_hu, HOLDING.field, bent=result.bent[0])
    assert result.std_hu is not None
    assert told is not None
    assert torch.equal(result.std_hu, told)
    assert float(result.std_hu.mean()) > 10.0
    assert run(stage=HOLDING, mode="sample", steps=2).std_hu is None


def test_a_member_starts_from_one_bent_ct_and_explains_the_film():
    numbered = [run(stage=HOLDING, mode="member", seed=seed) for seed in range(4)]
    assert all(float(one.film_error) <= EXPLAINED and one.std_hu is None for one in numbered)
    assert torch.equal(numbered[3].volume_hu, numbered[0].volume_hu)  # of three CTs
    assert float((numbered[0].volume_hu - numbered[1].volume_hu).abs().mean()) > 1.0
    (bent,) = run(stage=HOLDING).bent
    assert bent is not None
    alone = bent._replace(mu_per_mm=bent.member_per_mm(1))
    assert torch.equal(numbered[1].volume_hu, run(stage=HOLDING, bent=[alone]).volume_hu)
    assert torch.equal(run(stage=HOLDING, mode="member", seed=1, chain=1).volume_hu, numbered[2].volume_hu)


def test_a_member_of_no_cts_is_refused():
    with pytest.raises(UsageFailure, match="weights hold no CTs"):
        run(mode="member")
    with pytest.raises(ValueError, match="samples must be 1 in mode member"):
        StageInferer(mode="member", samples=2)
    assert StageInferer(mode="member", steps=9).evaluations == 1


def test_samples_add_to_what_bent_cts_tell():
    result, alone = run(stage=HOLDING, samples=3, steps=2), run(samples=3, steps=2)
    drawn = [StageInferer(mode="sample", steps=2)(FILM, HOLDING, beams=[[BEAM]], chain=k).volume_hu for k in range(3)]
    told = stated_deviation(result.volume_hu, HOLDING.field, bent=result.bent[0], variance_hu2=torch.stack(drawn).var(0))
    assert result.std_hu is not None
    assert alone.std_hu is not None
    torch.testing.assert_close(result.std_hu, told, atol=ROUNDING_HU, rtol=0.0)
    assert alone.bent == [None]


def test_the_deviation_without_samples_has_a_factor_of_its_own():
    measured = tiny_stage(32, atlas_cts=3)
    measured.deviation_factors = DeviationFactors((MeasuredFactor(NO_SAMPLES, 1.3, 10), MeasuredFactor(4, 9.0, 10)))
    plain, stated = run(stage=HOLDING), run(stage=measured)
    assert plain.std_hu is not None
    assert stated.std_hu is not None
    assert torch.equal(stated.std_hu, plain.std_hu * 1.3)


@pytest.mark.parametrize("seen", [FilmsSeen(1, calibrated=True), FilmsSeen(2)], ids=["calibrated", "two views"])
def test_two_films_and_calibrated_ones_have_factors_of_their_own(seen):
    measured = tiny_stage(32, atlas_cts=3)
    one_film = MeasuredFactor(NO_SAMPLES, 9.0, 10)
    measured.deviation_factors = DeviationFactors((one_film, MeasuredFactor(NO_SAMPLES, 1.3, 10, seen)))
    beams = [BEAM, chest_beam_covering(HOLDING.field, "LL", *FILM.shape[-2:])][: seen.views]
    films = project(hu_to_mu_per_mm(chest_hu(HOLDING.field)), HOLDING.field, beams)
    plain, stated = (StageInferer(seen=seen._replace(views=1))(films, stage, beams=[beams]) for stage in (HOLDING, measured))
    assert plain.std_hu is not None
    assert stated.std_hu is not None
    assert torch.equal(stated.std_hu, plain.std_hu * 1.3)


def test_whose_ct_is_left_out_is_said_of_each_sample():
    films, views = FILM.expand(2, -1, -1, -1, -1), [[BEAM], [BEAM]]
    own, all_of_them = StageInferer()(films, HOLDING, beams=views, without=["in 9.5 mm", None]).bent
    assert own is not None
    assert all_of_them is not None
    held = set(all_of_them.keys.tolist())
    assert (len(held), set(own.keys.tolist())) == (3, held - {key_of("in 9.5 mm")})


def test_what_was_bent_before_is_not_bent_again_and_gives_the_same(monkeypatch):
    first = run(stage=HOLDING)
    monkeypatch.setattr(HOLDING.multi_atlas, "bent", None)  # whoever bends now fails
    again = StageInferer()(FILM, HOLDING, beams=[[BEAM]], bent=first.bent)
    assert torch.equal(again.volume_hu, first.volume_hu)


def test_a_batch_states_a_deviation_if_all_have_one():
    films, lateral = torch.cat([FILM, FILM]), chest_beam_covering(GRID, "LL", 64, 64)
    assert StageInferer()(films, HOLDING, beams=[[BEAM], [lateral]]).std_hu is None  # nothing is bent to a lateral film alone
    both = StageInferer()(films, HOLDING, beams=[[BEAM], [BEAM]]).std_hu
    assert both is not None
    assert both.shape == (2, 1, 32, 32, 32)


def test_columns_that_overlap_by_twice_their_reach_give_what_one_piece_gives():
    stage = tiny_stage(64, needs_coarse=True, seed=2, window=(8, 2, 2))
    assert window_alignment(stage.network) == 8
    # 4 by the fine convolutions, 12 with the coarse ones, 16 with their window, 20 with the fine ones on the way back.
    assert column_reach(stage.network) == 20
    whole, columns, narrow = (
        run(stage=stage, coarse_hu=COARSE_HU, **how)
        for how in (dict[str, Any](), {"column": 48, "overlap": 40}, {"column": 32, "overlap": 8})
    )
    assert float((whole.volume_hu - whole.prior_hu).abs().mean()) > 200 * ROUNDING_HU
    assert float((columns.volume_hu - whole.volume_hu).abs().max()) <= ROUNDING_HU
    assert float((narrow.volume_hu - whole.volume_hu).abs().max()) > ROUNDING_HU


def test_columns_overlap_as_far_as_they_leave_room():
    settings: dict[str, Any] = {"stage": REFINING, "coarse_hu": COARSE_HU, "column": 16}
    assert torch.equal(run(**settings).volume_hu, run(**settings, overlap=12).volume_hu)


def test_columns_explain_the_film_and_share_one_noise_field():
    first = run(stage=REFINING, coarse_hu=COARSE_HU, mode="sample", steps=2, column=16, overlap=8)
    other = run(stage=REFINING, coarse_hu=COARSE_HU, mode="sample", steps=2, column=24, overlap=8)
    seeds = run(stage=REFINING, coarse_hu=COARSE_HU, mode="sample", steps=2, column=24, overlap=8, seed=1)
    assert float(first.film_error) <= EXPLAINED
    layout, seed = ((other.volume_hu - one.volume_hu).abs().mean() for one in (first, seeds))
    assert float(layout) < 0.2 * float(seed)


@pytest.mark.parametrize("shape", [(32, 30, 32), (30, 34, 33)])
def test_a_volume_that_the_network_cannot_take_is_extended_and_cut_again(shape):
    field = VolumeGrid.chest(shape, 10.0)
    result = StageInferer()(FILM, STAGE, fields=[field], beams=[[BEAM]])
    assert result.volume_hu.shape[2:] == shape
    assert float(result.film_error) <= EXPLAINED
    whole = grown(field, 4)
    assert [n % 4 for n in whole.shape] == [0, 0, 0]
    torch.testing.assert_close(whole.affine, field.affine)


def test_a_marker_on_the_patients_left_lies_on_the_left_of_the_volume_and_mirroring_the_film_moves_it():
    towards_left = run().volume_hu - run(film_of_without_marker()).volume_hu
    mirrored = run(FILM.flip(-1)).volume_hu - run(film_of_without_marker().flip(-1)).volume_hu
    for change, side in ((towards_left, 1.0), (mirrored, -1.0)):
        weight = change[0, 0].clamp_min(0.0)
        index = torch.stack(torch.meshgrid(*(torch.arange(n) for n in weight.shape), indexing="ij"), dim=-1)
        x_mm = STAGE.field.world_from_voxels(index)[..., 0]
        # RAS: the patient's left is at negative x; W grows to the left.
        assert side * float((weight * x_mm).sum() / weight.sum()) < -20.0


def film_of_without_marker() -> Tensor:
    return project(hu_to_mu_per_mm(chest_hu(GRID, marker=False)), GRID, [BEAM])


def test_the_previous_stage_matters_voxel_by_voxel():
    plain = run(stage=REFINING, coarse_hu=COARSE_HU).volume_hu
    shuffled_hu = COARSE_HU.flatten()[torch.randperm(COARSE_HU.numel(), generator=torch.Generator().manual_seed(0))]
    shuffled = run(stage=REFINING, coarse_hu=shuffled_hu.view_as(COARSE_HU)).volume_hu
    other = run(stage=REFINING, coarse_hu=COARSE_HU.flip(2)).volume_hu
    assert float((shuffled - plain).abs().mean()) > 50.0
    assert float((other - plain).abs().mean()) > 10.0


def test_moving_beam_and_field_together_changes_nothing_but_moving_the_beam_alone_does():
    plain = run().volume_hu
    shift = torch.eye(4, dtype=torch.float64)
    shift[:3, 3] = torch.tensor([25.0, -10.0, 40.0])
    together = StageInferer()(FILM, STAGE, fields=[STAGE.field.moved(shift)], beams=[[BEAM.moved(shift)]]).volume_hu
    torch.testing.assert_close(together, plain, atol=0.5, rtol=0.0)  # geometry in float64, attention in float32
    assert float((run(beam=BEAM.moved(shift)).volume_hu - plain).abs().mean()) > 20.0


def test_two_views_are_both_explained():
    lateral = chest_beam_covering(GRID, "LL", 64, 64)
    films = torch.cat([FILM, film_of(lateral)], dim=1)
    result = StageInferer(consistency=HardConsistency(sweeps=3))(films, STAGE, beams=[[BEAM, lateral]])
    assert result.film_error.shape == (1, 2)
    assert float(result.film_error.max()) <= 2 * EXPLAINED  # the view corrected last undoes a little of the first


def test_progress_counts_every_network_evaluation():
    seen: list[tuple[int, int]] = []
    inferer = StageInferer(samples=2, steps=3)
    inferer(FILM, STAGE, beams=[[BEAM]], on_step=lambda done, of: seen.append((done, of)))
    assert seen == [(done, 7) for done in range(1, 8)]
    assert inferer.evaluations == 7


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"steps": 0}, "steps"), ({"samples": 0}, "samples"), ({"column": 6}, "column")],
)
def test_settings_that_cannot_be_meant_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        run(**settings)


def test_a_stage_that_refines_needs_something_to_refine():
    with pytest.raises(ValueError, match="coarse_hu"):
        run(stage=REFINING)
    with pytest.raises(ValueError, match="B, V, 1"):
        StageInferer()(FILM[:, :, 0], STAGE)

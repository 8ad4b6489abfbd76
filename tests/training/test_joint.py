"""All stages at once: what a joint step is made of, and that gradients run back through the volumes of earlier stages."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from ignite.engine import Engine
from torch import Tensor, nn

from tests.networks.small_stages import small_stage
from tests.training.small_training import drawn, phantoms
from xct_components.data.cases.cases import TrainingCases
from xct_components.losses.hybrid import HybridLoss
from xct_components.networks.cascade_stage import CascadeStage
from xct_components.training.joint import JointLoss, JointStep, PrepareJointBatch, joint_stages, stages_of
from xct_components.training.joint_statistics import MeasureJointStatistics
from xct_components.training.prepare_batch import PrepareStageBatch
from xct_components.training.stage_step import StageStep
from xct_components.training.statistics import measure_statistics

COARSE, FINE = 8, 16
PLAIN: dict[str, Any] = {"augment": False, "randomize_exposure": False}


@pytest.fixture(scope="module")
def joint() -> nn.ModuleDict:
    return joint_stages([small_stage(COARSE), small_stage(FINE, needs_coarse=True)])


@pytest.mark.parametrize("lateral_share", [0.0, 1.0])
def test_the_terms_are_those_of_each_stage_trained_by_itself_on_the_volumes_of_the_one_before(
    joint: nn.ModuleDict, lateral_share: float
) -> None:
    """The second stage beside PrepareStageBatch with the first as its parent, for the same noise and time."""
    first, second = stages_of(joint)
    cases = drawn(phantoms(**PLAIN))
    batch = PrepareJointBatch(joint, film_dropout=0.0, second_view_share=lateral_share).batch(cases)
    with torch.no_grad():
        _, terms = JointStep(joint)(batch)
        same: dict[str, Any] = {"real_coarse_share": 1.0, "coarse_noise": 0.0, "second_view_share": lateral_share}
        alone = PrepareStageBatch(small_stage(FINE), [small_stage(COARSE)], **same)
        alone.stage.load_state_dict(second.state_dict())
        alone.parents[0].load_state_dict(first.state_dict())
        by_itself = alone.batch(cases)
        object.__setattr__(by_itself, "noise", batch.noise[1])
        object.__setattr__(by_itself, "time", batch.time[1])
        object.__setattr__(by_itself, "film_present", batch.film_present)
        expected = StageStep(alone.stage)(by_itself)
    assert torch.allclose(terms.clean, expected.clean, atol=1e-4)
    assert torch.allclose(terms.clean_prediction, expected.clean_prediction, atol=1e-3)  # float32 through two networks


def test_the_loss_of_the_last_stage_teaches_the_first_one_too(joint: nn.ModuleDict) -> None:
    joint.zero_grad()
    terms = JointStep(joint)(PrepareJointBatch(joint, film_dropout=0.0).batch(drawn(phantoms(**PLAIN))))
    HybridLoss(velocity=1.0)(terms[-1])["loss"].backward()
    heads = [parameter for name, parameter in joint["stage1"].named_parameters() if "network" in name]
    assert sum(float(parameter.grad.abs().sum()) for parameter in heads if parameter.grad is not None) > 0.0


def test_a_share_of_the_batches_has_a_lateral_film_at_every_stage_as_where_a_stage_trains_by_itself(
    joint: nn.ModuleDict,
) -> None:
    cases, share, counts = phantoms(), 0.5, []
    by_itself = PrepareStageBatch(small_stage(FINE), second_view_share=share)
    together = PrepareJointBatch(joint, second_view_share=share)
    for epoch in range(8):
        one = drawn(cases, epoch)[:1]
        batch = together.batch(one)
        counts.append(by_itself.batch(one).film.shape[1])
        assert [seen.film.shape[1] for seen in batch.seen] == [counts[-1]] * 2
        assert [len(beams) for seen in batch.seen for beams in seen.beams] == [counts[-1]] * 2
    assert set(counts) == {1, 2}


@pytest.mark.parametrize("lateral_share", [0.0, 1.0])
@pytest.mark.parametrize("column", [0, 8])
def test_every_parameter_takes_part_in_every_step(joint: nn.ModuleDict, column: int, lateral_share: float) -> None:
    """DistributedDataParallel waits for them all."""
    joint.zero_grad()
    losses = JointLoss([HybridLoss(1.0, 0.2, 0.1), HybridLoss(1.0, 0.3)])
    prepare = PrepareJointBatch(joint, column_pixels=column, columns=2 if column else 1, second_view_share=lateral_share)
    report = losses(JointStep(joint)(prepare.batch(drawn(phantoms()))))
    report["loss"].backward()
    assert float(report["loss"]) == pytest.approx(float(report["stage1_loss"] + report["stage2_loss"]), rel=1e-6)
    without = {name for name, parameter in joint.named_parameters() if parameter.grad is None}
    # the last stage has no depth prior here, but its lifting is used all the same
    assert without == set()


def test_checkpointing_changes_memory_and_not_gradients() -> None:
    gradients = []
    for checkpointing in (False, True):
        joint = joint_stages([small_stage(COARSE), small_stage(FINE, needs_coarse=True)], gradient_checkpointing=checkpointing)
        batch = PrepareJointBatch(joint).batch(drawn(phantoms()))
        sum(one.clean_prediction.square().mean() for one in JointStep(joint)(batch)).backward()
        gradients.append([parameter.grad for parameter in joint.parameters()])
    for kept, recomputed in zip(*gradients, strict=True):
        assert (kept is None) == (recomputed is None)
        assert kept is None or torch.allclose(kept, recomputed, rtol=1e-4, atol=1e-7)


def test_the_same_cases_make_the_same_batch_again(joint: nn.ModuleDict) -> None:
    prepare = PrepareJointBatch(joint, column_pixels=8)
    first, second = (prepare.batch(drawn(phantoms(seed=3))) for _ in range(2))
    assert first.columns == second.columns
    for one, other in zip(first.noise + first.time, second.noise + second.time, strict=True):
        assert torch.equal(one, other)
    assert first.noise[0].shape == (2, 1, COARSE, COARSE, COARSE)
    assert first.noise[1].shape == (2, 1, FINE, 8, 8)


def blank() -> list[CascadeStage]:
    """Two stages that know of no patient, with room for two CTs and their detail."""
    coarse = small_stage(COARSE, loud=False, atlas_cts=2)
    stages = [coarse, small_stage(FINE, loud=False, needs_coarse=True, detail_step_hu=10.0)]
    for stage in stages:
        stage.atlas.tissue.zero_()
    return stages


def measured(joint: nn.ModuleDict, cases: TrainingCases, *, iteration: int = 0, **how: Any) -> dict[str, Tensor]:
    """The weights after the handler was called in a training that is at ``iteration``."""
    engine = Engine(lambda engine, batch: None)
    engine.logger.setLevel(logging.ERROR)
    engine.state.iteration = iteration
    MeasureJointStatistics(PrepareJointBatch(joint, film_dropout=0.0), cases, **how)(engine)
    return {name: tensor.clone() for name, tensor in joint.state_dict().items()}


def test_statistics_of_all_stages_are_those_that_each_would_measure_for_itself() -> None:
    joint, cases = joint_stages(blank()), phantoms(**PLAIN)
    measured(joint, cases)
    first, second = blank()
    first.load_state_dict(stages_of(joint)[0].state_dict())
    expected = measure_statistics(PrepareStageBatch(second, [first], coarse_noise=0.0), [drawn(cases)])
    for name, value in expected.items():
        assert float(getattr(stages_of(joint)[1], name)) == pytest.approx(value, rel=1e-4), name
    assert torch.allclose(stages_of(joint)[1].atlas.tissue, second.atlas.tissue, atol=1e-7)


def test_statistics_are_measured_again_where_that_is_asked_for_and_the_training_begins() -> None:
    """Weights of other cases: afterwards they know of these cases alone, as if they had known of none."""
    cases, others = phantoms(**PLAIN), phantoms(**PLAIN, seed=1)
    others.volumes.data = others.volumes.data[:1]
    joint = joint_stages(blank())
    of_others = measured(joint, others)
    for how in ({"again": False}, {"again": True, "iteration": 3}):
        left = measured(joint, cases, **how)
        assert all(torch.equal(tensor, of_others[name]) for name, tensor in left.items()), how
    anew, expected = measured(joint, cases, again=True), measured(joint_stages(blank()), cases)
    assert not torch.equal(anew["stage1.multi_atlas.key"], of_others["stage1.multi_atlas.key"])
    for name, tensor in expected.items():
        torch.testing.assert_close(anew[name], tensor, rtol=0.0, atol=0.0, msg=name)


def test_one_stage_is_no_cascade() -> None:
    with pytest.raises(ValueError, match=r"stages must be at least two, got 1; train\.json trains one"):
        joint_stages([small_stage()])


@pytest.mark.parametrize("pixels", [6, 20])
def test_columns_that_do_not_fit_the_last_stage_are_refused(joint: nn.ModuleDict, pixels: int) -> None:
    with pytest.raises(ValueError, match=rf"column_pixels must be a multiple of 4 and fit .* got {pixels}; 0 trains on whole"):
        PrepareJointBatch(joint, column_pixels=pixels)

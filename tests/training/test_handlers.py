"""What happens around the steps of a training, on real engines with made-up metrics."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from ignite.engine import Engine
from monai.engines.utils import IterationEvents
from torch import nn

from tests.networks.small_stages import chest_hu, small_stage
from tests.training.small_training import phantoms
from xct_components.networks.cascade_stage import CascadeStage
from xct_components.networks.multi_atlas import key_of
from xct_components.training.handlers import AverageWeights, ChooseAnew, ClipGradients, MeasureStatistics, ReleaseBest
from xct_components.training.prepare_batch import PrepareStageBatch
from xct_components.training.weight_average import power_average


def validated(handler: ReleaseBest, model: nn.Linear, values: Sequence[float]) -> list[float]:
    """Validate once per value, with that value for a weight; the weight in the file after every validation."""
    released = []
    for value in values:
        nn.init.constant_(model.weight, value)
        evaluator = Engine(lambda engine, batch: None)
        evaluator.state.metrics = {"error": value, "other": torch.tensor(2.0)}
        handler.attach(evaluator)
        evaluator.run([0], max_epochs=1)
        written = handler.targets[0].exists()
        released.append(float(torch.load(handler.targets[0], weights_only=True)["weight"]) if written else math.nan)
    return released


def test_the_best_weights_are_released_and_only_they(tmp_path: Path) -> None:
    model = nn.Linear(1, 1)
    handler = ReleaseBest(model, [tmp_path / "model.pt"], "error")
    assert validated(handler, model, [3.0, 2.0, 2.5, 2.0, 1.0, 4.0]) == [3.0, 2.0, 2.0, 2.0, 1.0, 1.0]
    document = json.loads((tmp_path / "model.json").read_text())
    assert document["metrics"] == {"error": 1.0, "other": 2.0}
    assert document["epoch"] == 1


def test_one_release_can_have_several_names(tmp_path: Path) -> None:
    model, names = nn.Linear(1, 1), ("model.pt", "stage1_best.pt")
    validated(ReleaseBest(model, [tmp_path / name for name in names], "error"), model, [3.0, 2.0])
    first, second = ((tmp_path / name).read_bytes() for name in names)
    assert first == second


def test_a_release_is_as_good_as_before_the_interruption_and_no_better(tmp_path: Path) -> None:
    model = nn.Linear(1, 1)
    before = ReleaseBest(model, [tmp_path / "model.pt"], "error")
    validated(before, model, [2.0])
    after = ReleaseBest(model, [tmp_path / "model.pt"], "error")
    after.load_state_dict(before.state_dict())
    assert validated(after, model, [3.0, 1.0]) == [2.0, 1.0]


def test_gradients_are_clipped_once_for_all_batches_that_share_an_update() -> None:
    """Two batches with gradients of norm 3 and 4 at right angles: 5 together, clipped to 1 at the second one alone."""
    network, norms = nn.Linear(2, 1, bias=False), list[float]()
    clip = ClipGradients(network, 1.0)
    engine = Engine(lambda engine, batch: None)
    engine.accumulation_steps = 2
    network.weight.grad = torch.zeros(1, 2)
    engine.state.epoch_length = 2
    for iteration, gradient in enumerate(([3.0, 0.0], [0.0, 4.0]), start=1):
        engine.state.iteration = iteration
        network.weight.grad += torch.tensor([gradient])
        clip(engine)
        norms.append(float(network.weight.grad.norm()))
    assert norms == pytest.approx([3.0, 1.0], rel=1e-4)


def test_larger_can_be_better(tmp_path: Path) -> None:
    model = nn.Linear(1, 1)
    handler = ReleaseBest(model, [tmp_path / "model.pt"], "error", better=float.__gt__)
    assert validated(handler, model, [1.0, 3.0, 2.0]) == [1.0, 3.0, 3.0]


def test_a_validation_that_is_no_number_neither_releases_nor_blocks(tmp_path: Path) -> None:
    model = nn.Linear(1, 1)
    handler = ReleaseBest(model, [tmp_path / "model.pt"], "error")
    first, *others = validated(handler, model, [math.nan, 2.0, math.nan, 1.0])
    assert math.isnan(first)
    assert others == [2.0, 2.0, 1.0]


@pytest.mark.parametrize("largest", [0.5, 100.0])
def test_gradients_are_clipped_to_the_largest_norm_and_left_alone_below(largest: float) -> None:
    model = nn.Linear(3, 2)
    trainer = Engine(lambda engine, batch: engine.fire_event(IterationEvents.BACKWARD_COMPLETED))
    trainer.register_events(*IterationEvents)
    ClipGradients(model, largest).attach(trainer)
    model.weight.grad, model.bias.grad = torch.full((2, 3), 2.0), torch.full((2,), 1.0)
    trainer.run([0])
    norm = math.sqrt(float(model.weight.grad.square().sum() + model.bias.grad.square().sum()))
    assert norm == pytest.approx(min(largest, math.sqrt(6 * 4 + 2)), rel=1e-4)
    assert float(model.weight.grad[0, 0] / model.bias.grad[0]) == pytest.approx(2.0)


def test_every_step_enters_the_average() -> None:
    model, values = nn.Linear(1, 1, bias=False), iter([1.0, 2.0, 3.0])
    average = power_average(model, 0.0)  # an exponent of 0 is the plain mean
    trainer = Engine(lambda engine, batch: nn.init.constant_(model.weight, next(values)))
    AverageWeights(average, model).attach(trainer)
    trainer.run([0, 1, 2])
    assert float(average.module.get_parameter("weight").detach()) == pytest.approx(2.0)


def test_the_average_holds_the_detail_that_was_measured_after_it_was_made() -> None:
    stage = small_stage(detail_step_hu=10.0)
    average = power_average(stage)
    assert stage.detail is not None
    stage.detail.measure([("a", chest_hu(stage.field))])
    trainer = Engine(lambda engine, batch: None)
    AverageWeights(average, stage).attach(trainer)
    trainer.run([0, 1])
    averaged = average.module
    assert isinstance(averaged, CascadeStage)
    assert averaged.detail is not None
    held, kept = averaged.detail.of(key_of("a")), stage.detail.of(key_of("a"))
    assert held is not None
    assert kept is not None
    assert torch.equal(held, kept)
    assert held is not kept


def test_cases_are_chosen_anew_before_every_epoch() -> None:
    cases, seen = phantoms(), []
    trainer = Engine(lambda engine, batch: seen.append(cases[0]["exposure"]["noise_seed"]))
    ChooseAnew([cases]).attach(trainer)
    trainer.run([0], max_epochs=3)
    assert len(set(seen)) == 3
    cases.set_epoch(2)
    assert cases[0]["exposure"]["noise_seed"] == seen[1]


def test_statistics_are_measured_once_and_before_the_first_step() -> None:
    stage = small_stage()
    stage.atlas.tissue.zero_()
    measured: list[bool] = []
    trainer = Engine(lambda engine, batch: measured.append(stage.atlas.is_measured))
    trainer.logger.setLevel(logging.ERROR)
    MeasureStatistics(PrepareStageBatch(stage), phantoms(), count=1).attach(trainer)
    trainer.run([0])
    assert measured == [True]
    scale = float(stage.residual_scale_hu)
    stage.residual_scale_hu.fill_(scale + 1.0)
    trainer.run([0])  # continued: what the weights hold stays
    assert float(stage.residual_scale_hu) == pytest.approx(scale + 1.0)

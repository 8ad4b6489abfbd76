"""A whole training in miniature, by MONAI's engines as the bundles put them together."""

from __future__ import annotations

import json
import logging
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from ignite.engine import Events
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.handlers import LrScheduleHandler, ValidationHandler
from monai.inferers import SimpleInferer
from torch.utils.data import DataLoader

from tests.networks.small_stages import small_stage
from tests.training.small_training import drawn, phantoms
from xct_components.data.cases.cases import TrainingCases
from xct_components.data.prepare.chest_grid import FIELD_MM
from xct_components.losses.hybrid import HybridLoss
from xct_components.losses.projection import ProjectionLoss
from xct_components.networks.cascade_stage import CascadeStage
from xct_components.training.depth_error import depth_error_mm
from xct_components.training.handlers import AverageWeights, ChooseAnew, ClipGradients, MeasureStatistics, ReleaseBest
from xct_components.training.learning_rate import warm_cosine
from xct_components.training.prepare_batch import PrepareStageBatch
from xct_components.training.released_weights import load_weights
from xct_components.training.stage_loss import StageLoss
from xct_components.training.stage_step import StageStep
from xct_components.training.statistics import measure_statistics
from xct_components.training.validation import MeanOfBatch, PrepareValidation, mean_of
from xct_components.training.weight_average import power_average

EPOCHS = 12
#: Share of the first loss that a network of 8 channels may be left with after as many steps; measured 0.90. The network begins
#: at exactly 1, so less than 1 is learned.
LEFT = 0.95
PLAIN: dict[str, Any] = {"augment": False, "randomize_exposure": False}


def loader(cases: TrainingCases, batch_size: int) -> DataLoader[dict[str, Any]]:
    return DataLoader(cases, batch_size=batch_size, collate_fn=list)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Twelve epochs of two phantoms, unchanged, in one batch; validated after every fourth epoch on the same two."""
    torch.manual_seed(0)
    stage = small_stage(loud=False).train()
    stage.atlas.tissue.zero_()
    step, cases, target = StageStep(stage), phantoms(**PLAIN), tmp_path_factory.mktemp("run") / "model.pt"
    prepare, loss, average = (
        PrepareStageBatch(stage, film_dropout=0.0),
        StageLoss(HybridLoss(1.0, 0.2, 0.1)),
        power_average(stage),
    )
    optimizer = torch.optim.AdamW(step.parameters(), lr=4e-3)
    log: list[dict[str, float]] = []
    evaluator = SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=loader(phantoms(**PLAIN), 1),
        network=average.module,
        prepare_batch=PrepareValidation(average.module),
        inferer=MeanOfBatch(),
        key_val_metric={"val_rmse_hu": mean_of("rmse_hu")},
        additional_metrics={"val_film_error": mean_of("film_error"), "val_depth_error_mm": mean_of("depth_error_mm")},
        val_handlers=[ReleaseBest(average.module, [target, target.with_name("best.pt")], "val_rmse_hu")],
        decollate=False,
    )
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=EPOCHS,
        train_data_loader=loader(cases, 2),
        network=step,
        optimizer=optimizer,
        loss_function=loss,
        prepare_batch=prepare,
        inferer=SimpleInferer(),
        train_handlers=[
            loss,
            ChooseAnew([cases]),
            MeasureStatistics(prepare, cases),
            ClipGradients(step),
            AverageWeights(average, stage),
            LrScheduleHandler(warm_cosine(optimizer, EPOCHS), print_lr=False, epoch_level=False),
            ValidationHandler(validator=evaluator, interval=4),
        ],
        decollate=False,
        optim_set_to_none=True,
    )
    for engine in (trainer, evaluator):
        engine.logger.setLevel(logging.ERROR)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda engine: log.append(dict(engine.state.metrics)))
    before = fixed_loss(stage)
    trainer.run()
    return {
        "stage": stage,
        "before": before,
        "log": log,
        "target": target,
        "average": average,
        "optimizer": optimizer,
        "metrics": evaluator.state.metrics,
    }


def fixed_loss(stage: CascadeStage) -> float:
    """The loss of four batches of always the same draws, with the statistics of the cases."""
    twin = small_stage(loud=False)
    twin.load_state_dict(stage.state_dict())
    prepare = PrepareStageBatch(twin, film_dropout=0.0)
    if not twin.atlas.is_measured:
        measure_statistics(prepare, [drawn(phantoms(**PLAIN))])
    with torch.no_grad():
        losses = [
            HybridLoss()(StageStep(twin)(prepare.batch(drawn(phantoms(**PLAIN), epoch))))["loss"] for epoch in range(50, 54)
        ]
    return float(torch.stack(losses).mean())


def test_a_few_steps_lower_the_loss(trained: dict[str, Any]) -> None:
    assert fixed_loss(trained["stage"]) < LEFT * trained["before"]


def test_every_term_of_the_loss_is_reported_for_every_epoch(trained: dict[str, Any]) -> None:
    names = {f"train_{name}" for name in ("loss", "velocity", "projection", "depth_prior")}
    assert len(trained["log"]) == EPOCHS
    for metrics in trained["log"]:
        assert names <= metrics.keys()
        assert all(math.isfinite(metrics[name]) for name in names)
        expected = metrics["train_velocity"] + 0.2 * metrics["train_projection"] + 0.1 * metrics["train_depth_prior"]
        assert metrics["train_loss"] == pytest.approx(expected, rel=1e-5)


def test_the_rate_has_come_down_its_cosine(trained: dict[str, Any]) -> None:
    assert trained["optimizer"].param_groups[0]["lr"] == pytest.approx(0.02 * 4e-3)


def test_the_released_weights_are_the_average_that_was_validated(trained: dict[str, Any]) -> None:
    """Loaded into a new stage, validated by hand: the error that was written beside them."""
    document = json.loads(trained["target"].with_suffix(".json").read_text())
    assert document["epoch"] in (4, 8, 12)
    stage = small_stage(loud=False)
    load_weights(stage, trained["target"])
    errors = []
    for case in drawn(phantoms(**PLAIN)):
        batch, truth_hu = PrepareValidation(stage)([case])
        errors.append(float((MeanOfBatch()(batch, stage).volume_hu - truth_hu).square().mean().sqrt()))
    # half precision moves the weights by 0.05 %
    assert sum(errors) / 2 == pytest.approx(document["metrics"]["val_rmse_hu"], rel=0.01)
    assert document["chosen_by"] == "val_rmse_hu"
    assert trained["target"].read_bytes() == trained["target"].with_name("best.pt").read_bytes()


def test_validation_tells_the_film_error_before_consistency_and_the_depth_of_the_rays(trained: dict[str, Any]) -> None:
    """Beside the projection loss and the depth of the batches, computed case by case from the terms of a training step."""
    stage = trained["average"].module
    wanted: dict[str, list[float]] = {"val_film_error": [], "val_depth_error_mm": []}
    for case in drawn(phantoms(**PLAIN)):
        batch, _ = PrepareValidation(stage)([case])
        batch = replace(batch, time=torch.ones(1), noise=torch.zeros_like(batch.noise))
        with torch.no_grad():
            terms = StageStep(stage.eval())(batch)
        loss = ProjectionLoss().per_sample(terms.mu_per_mm, terms.line_integrals, terms.grids, terms.beams)
        wanted["val_film_error"].append(float(loss.sqrt()))
        depth_mm = FIELD_MM / terms.target_mass.shape[3]
        wanted["val_depth_error_mm"].append(float(depth_error_mm(terms.log_mass, terms.target_mass, depth_mm)))
    for name, values in wanted.items():
        # the network's last word is clipped to the range of CT numbers in one of the two
        assert trained["metrics"][name] == pytest.approx(sum(values) / 2, rel=0.02), name


def test_the_average_carries_the_measured_statistics(trained: dict[str, Any]) -> None:
    average, stage = trained["average"].module, trained["stage"]
    assert torch.equal(average.atlas.tissue, stage.atlas.tissue)
    assert float(average.residual_scale_hu) == float(stage.residual_scale_hu) != 200.0


def test_a_validation_batch_sees_every_film_and_no_noise_on_its_start() -> None:
    stage, parent = small_stage(), small_stage()
    batch, truth_hu = PrepareValidation(stage, [parent])(drawn(phantoms(seed=4)))
    assert torch.equal(truth_hu, batch.truth_hu)
    assert batch.film_present.tolist() == [1.0, 1.0]
    assert batch.coarse_noise.tolist() == [0.0, 0.0]
    assert batch.columns == []

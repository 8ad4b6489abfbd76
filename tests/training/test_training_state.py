"""A training that is killed and taken up again is the training that never stopped, to the last bit."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Events
from monai.engines import SupervisedTrainer
from monai.handlers import LrScheduleHandler
from monai.inferers import SimpleInferer
from torch import Tensor
from torch.utils.data import DataLoader

from tests.networks.small_stages import small_stage
from tests.training.small_training import phantoms
from xct_components.bundle_io.stage_weights import StageWeights
from xct_components.failures import WeightsFailure
from xct_components.losses.hybrid import HybridLoss
from xct_components.training.case_order import CaseOrder
from xct_components.training.handlers import AverageWeights, ChooseAnew, ClipGradients, MeasureStatistics
from xct_components.training.kept_volumes import KeptVolumes
from xct_components.training.learning_rate import warm_cosine
from xct_components.training.prepare_batch import PrepareStageBatch
from xct_components.training.stage_loss import StageLoss
from xct_components.training.stage_step import StageStep
from xct_components.training.training_record import TrainingRecord
from xct_components.training.training_state import KeepTraining, ResumeTraining, TrainingState
from xct_components.training.weight_average import power_average

CASES, BATCH, EPOCHS = 5, 2, 2
STEPS = EPOCHS * (CASES // BATCH)


class Killed(BaseException):
    """What a killed process would not even notice."""


class Training:
    """A small stage with MONAI's trainer, as train.json puts it together."""

    def __init__(
        self,
        file: Path,
        *,
        accumulation_steps: int = 1,
        seed: int = 0,
        cases: int = CASES,
        first_phantom: int = 0,
        kept: Path | None = None,
        **state: Any,
    ) -> None:
        torch.manual_seed(7)
        self.stage = small_stage(loud=False).train()
        self.stage.atlas.tissue.zero_()
        drawn = phantoms(cases, first_seed=first_phantom, seed=seed, draws=0 if kept is None else 1)
        step = StageStep(self.stage)
        order, self.average, loss = CaseOrder(drawn, seed), power_average(self.stage), StageLoss(HybridLoss(1.0, 0.2, 0.1))
        optimizer = torch.optim.AdamW(step.parameters(), lr=4e-3)
        scheduler = warm_cosine(optimizer, STEPS)
        prepare = PrepareStageBatch(self.stage, kept=None if kept is None else KeptVolumes(kept))
        parts: dict[str, Any] = {
            "stage": self.stage,
            "average": self.average,
            "optimizer": optimizer,
            "scheduler": scheduler,
            "loss": loss,
        }
        self.state = TrainingState(file, parts, order, record=TrainingRecord(drawn, settings={"seed": seed}), **state)
        self.losses: list[float] = []
        self.trainer = SupervisedTrainer(
            device=torch.device("cpu"),
            max_epochs=EPOCHS,
            train_data_loader=DataLoader(drawn, batch_size=BATCH, sampler=order, drop_last=True, collate_fn=list),
            network=step,
            optimizer=optimizer,
            loss_function=loss,
            prepare_batch=prepare,
            inferer=SimpleInferer(),
            train_handlers=[
                ResumeTraining(self.state),
                loss,
                ChooseAnew([drawn, order]),
                MeasureStatistics(prepare, drawn, count=2),
                ClipGradients(step),
                AverageWeights(self.average, self.stage),
                LrScheduleHandler(scheduler, print_lr=False, epoch_level=False),
                KeepTraining(self.state, every_steps=1),
            ],
            accumulation_steps=accumulation_steps,
            decollate=False,
        )
        self.trainer.logger.setLevel(logging.ERROR)
        self.trainer.add_event_handler(Events.ITERATION_COMPLETED, self._note)

    def _note(self) -> None:
        self.losses.append(float(self.trainer.state.output["loss"].detach()))

    def run(self, steps: int = STEPS) -> Training:
        """Train; killed when the step after ``steps`` begins."""

        def kill(engine: Any) -> None:
            if engine.state.iteration > steps:
                raise Killed

        self.trainer.add_event_handler(Events.ITERATION_STARTED, kill)
        try:
            self.trainer.run()
        except Killed:
            assert self.trainer.state.iteration == steps + 1
        return self

    def tensors(self) -> dict[str, Tensor]:
        """The weights and their average."""
        both = {"stage": self.stage, "average": self.average}
        return {f"{name}.{key}": value for name, part in both.items() for key, value in part.state_dict().items()}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Training:
    return Training(tmp_path_factory.mktemp("whole") / "last.pt").run()


@pytest.mark.parametrize("killed_after", [1, 2, 3])
def test_killed_after_any_step_and_resumed_it_ends_as_if_uninterrupted(
    killed_after: int, uninterrupted: Training, tmp_path: Path
) -> None:
    """Losses, weights and their average, to the bit; the middle of an epoch, its end and the end of all are among the steps."""
    file = tmp_path / "models" / "last.pt"
    before = Training(file).run(killed_after)
    torch.manual_seed(12345)  # another process begins anywhere
    after = Training(file).run()
    assert before.losses + after.losses == uninterrupted.losses
    assert after.trainer.state.metrics == uninterrupted.trainer.state.metrics
    for name, tensor in uninterrupted.tensors().items():
        assert torch.equal(tensor, after.tensors()[name]), name


def test_a_training_with_kept_starts_resumes_as_exactly_whatever_of_them_is_left(tmp_path: Path) -> None:
    whole = Training(tmp_path / "whole.pt", kept=tmp_path / "kept").run()
    file = tmp_path / "last.pt"
    before = Training(file, kept=tmp_path / "others").run(1)
    for start in sorted((tmp_path / "others").iterdir())[::2]:
        start.unlink()
    after = Training(file, kept=tmp_path / "others").run()
    assert before.losses + after.losses == whole.losses
    for name, tensor in whole.tensors().items():
        assert torch.equal(tensor, after.tensors()[name]), name


def test_between_two_batches_that_share_an_update_nothing_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "last.pt"
    Training(file, accumulation_steps=2).run(1)
    assert not file.exists()
    Training(file, accumulation_steps=2).run(2)
    assert torch.load(file, weights_only=True)["iteration"] == 2


def test_the_weights_tell_what_they_were_made_of(tmp_path: Path) -> None:
    cases, weights = phantoms(2), StageWeights()
    weights.records.append({"bundle": "stage1", "file": "model.pt", "sha256": "ab" * 32})
    record = TrainingRecord(cases, weights, {"seed": 3})
    told = json.loads(json.dumps(record.to_json()))
    assert told["seed"] == 3
    assert told["earlier_stages"] == weights.records
    assert told["data"] == {"fingerprint": cases.fingerprint(), "cases": 2}
    weights.records[0]["sha256"] = "cd" * 32
    assert record.same()["earlier stages"] == ["stage1 cdcdcdcdcdcd"]


def test_a_checkpoint_is_plain_and_says_where_it_stands(uninterrupted: Training) -> None:
    document = torch.load(uninterrupted.state.file, weights_only=True)
    assert document["iteration"] == STEPS
    assert document["parts"].keys() == uninterrupted.state.parts.keys()
    assert not list(uninterrupted.state.file.parent.glob(".part-*"))


def test_without_resume_a_training_begins_anew(uninterrupted: Training, tmp_path: Path) -> None:
    file = tmp_path / "last.pt"
    file.write_bytes(uninterrupted.state.file.read_bytes())
    again = Training(file, resume=False).run(1)
    assert again.losses == uninterrupted.losses[:1]


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"seed": 1}, r"seed 0 there and 1 here"),
        ({"cases": 4}, r"cases 5 there and 4 here"),
        ({"first_phantom": 3}, r"data [0-9a-f]{12} there and [0-9a-f]{12} here"),
    ],
)
def test_another_training_is_not_gone_on_from(other: dict[str, Any], message: str, tmp_path: Path) -> None:
    file = tmp_path / "last.pt"
    Training(file).run(1)
    with pytest.raises(WeightsFailure, match=message + r"; give the same settings and data, or --resume False to begin anew"):
        Training(file, **other).run()


@pytest.mark.parametrize("content", [b"", b"no checkpoint", None])
def test_a_damaged_checkpoint_is_refused_in_one_line(content: bytes | None, tmp_path: Path) -> None:
    file = tmp_path / "last.pt"
    if content is None:
        torch.save({"iteration": 3}, file)
    else:
        file.write_bytes(content)
    with pytest.raises(WeightsFailure, match=r"last\.pt is .*--resume False begins anew"):
        Training(file).run()


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from xct_components.failures import CannotWrite
    from xct_components.training import training_state

    file = tmp_path / "last.pt"
    training = Training(file).run(1)
    before = file.read_bytes()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(training_state, "_write", full)
    with pytest.raises(CannotWrite, match="No space left on device"):
        training.state.save(training.trainer)
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"]

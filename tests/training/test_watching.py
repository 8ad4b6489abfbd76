"""What a person sees of a training: pace, progress, log, TensorBoard, pictures; on real engines with made-up figures."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Engine, Events
from PIL import Image

from tests.networks.small_stages import small_stage
from tests.training.small_training import drawn, phantoms
from xct_components.failures import CannotWrite, Failure, UnreadableInput
from xct_components.training import mlflow_log, tensorboard_log, validation_pictures
from xct_components.training.mlflow_log import MlflowLog
from xct_components.training.pace import Pace
from xct_components.training.progress import ShowProgress, counted
from xct_components.training.tensorboard_log import TensorBoardLog
from xct_components.training.training_log import KeepLog, read_log
from xct_components.training.validation import MeanOfBatch, PrepareValidation
from xct_components.training.validation_pictures import DrawValidation


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def ticking(*times_s: float) -> Callable[[], float]:
    """A clock that shows these times, one after the other."""
    shown: Iterator[float] = iter(times_s)
    return lambda: next(shown)


def trainer_of(losses: list[float], *handlers: Any) -> Engine:
    """A trainer whose steps have these losses; four samples a step."""
    given = iter(losses)
    engine = Engine(lambda engine, batch: {"loss": torch.tensor(next(given))})
    engine.logger.setLevel(logging.INFO)
    for handler in handlers:
        handler.attach(engine)
    return engine


def evaluator_of(epoch: int, **metrics: float) -> Engine:
    engine = Engine(lambda engine, batch: None)
    engine.state.epoch, engine.state.metrics = epoch, metrics
    return engine


def test_the_pace_is_samples_over_time_and_waiting_its_share_of_it():
    # the epoch begins at 10 s; batches are asked for at 10 and 14, there at 11 and 15, their steps done at 14 and 18
    pace = Pace(ticking(10.0, 10.0, 11.0, 14.0, 14.0, 15.0, 18.0))
    pace.begin_epoch()
    for _ in range(2):
        pace.asked()
        pace.got()
        pace.stepped(4)
    assert pace.samples_per_s == pytest.approx(8 / 8.0)
    assert pace.waiting_share == pytest.approx(2 / 8.0)
    assert pace.left_s(3) == pytest.approx(3 * 4.0)


def test_the_time_left_counts_the_validation_between_the_epochs_and_the_pace_does_not():
    # one step of 2 s an epoch, 8 s of validation between them
    pace = Pace(ticking(0.0, 0.0, 0.0, 2.0, 10.0, 10.0, 10.0, 12.0))
    for _ in range(2):
        pace.begin_epoch()
        pace.asked()
        pace.got()
        pace.stepped(1)
    assert pace.samples_per_s == pytest.approx(1 / 2.0)
    assert pace.left_s(2) == pytest.approx(12.0)


def test_before_the_first_step_the_pace_is_nothing():
    pace = Pace(ticking(1.0))
    pace.begin_epoch()
    assert (pace.samples_per_s, pace.waiting_share, pace.left_s(5)) == (0.0, 0.0, 0.0)


def test_a_terminal_shows_a_bar_with_the_mean_loss_of_the_epoch(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    trainer_of([1.0, 3.0, 5.0, 7.0], ShowProgress(every_s=0.0)).run([[0] * 4, [0] * 4], max_epochs=2)
    shown = terminal.getvalue()
    assert "epoch 1/2" in shown
    assert "epoch 2/2" in shown
    assert "loss 2.0000" in shown  # (1 + 3) / 2
    assert "loss 6.0000" in shown
    assert "waiting for data" in shown
    assert shown.endswith("\r")  # nothing is left of the bar


def test_a_log_file_gets_a_line_per_epoch_and_no_bar(capsys, caplog):
    trainer = trainer_of([1.0, 2.0], ShowProgress())
    trainer.run([[0] * 4], max_epochs=2)
    assert capsys.readouterr() == ("", "")
    lines = [record.getMessage() for record in caplog.records if "samples/s" in record.getMessage()]
    assert [line.split(":")[0] for line in lines] == ["epoch 1 of 2", "epoch 2 of 2"]
    assert lines[1].endswith("00:00 left")
    assert trainer.state.metrics["train_samples_per_s"] > 0.0
    assert 0.0 <= trainer.state.metrics["train_waiting_share"] <= 1.0


def test_a_long_epoch_tells_the_log_file_how_far_it_is(caplog):
    trainer = trainer_of([1.0, 3.0, 5.0], ShowProgress(log_every_s=0.0))
    trainer.run([[0] * 4] * 3, max_epochs=1)
    lines = [record.getMessage() for record in caplog.records if "step " in record.getMessage()]
    assert [line.split(",")[:2] for line in lines] == [["epoch 1", f" step {n} of 3: loss {n}.0000"] for n in (1, 2, 3)]


def test_what_takes_minutes_before_the_first_step_shows_a_bar_on_a_terminal_alone(monkeypatch, capsys):
    assert list(counted("abc", 3, "atlas")) == ["a", "b", "c"]
    assert capsys.readouterr() == ("", "")
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    assert list(counted("abc", 3, "atlas")) == ["a", "b", "c"]
    assert "atlas" in terminal.getvalue()


def test_the_log_has_a_line_per_epoch_with_what_was_validated_in_that_very_epoch(tmp_path):
    validator = evaluator_of(2, val_rmse_hu=250.0)
    trainer = trainer_of([1.0, 2.0], KeepLog(tmp_path / "models" / "log.jsonl", validator))
    trainer.state.metrics = {"train_loss": 0.5}
    trainer.run([0], max_epochs=2)
    first, second = read_log(tmp_path / "models" / "log.jsonl")
    assert first == {"epoch": 1, "steps": 1, "train_loss": 0.5}
    assert second == {"epoch": 2, "steps": 2, "train_loss": 0.5, "val_rmse_hu": 250.0}


def test_a_training_that_repeats_an_epoch_has_it_once_in_its_log(tmp_path):
    file = tmp_path / "log.jsonl"
    trainer_of([1.0] * 3, KeepLog(file)).run([0], max_epochs=3)
    resumed = trainer_of([1.0] * 3, KeepLog(file))
    resumed.state.metrics = {"train_loss": 7.0}
    resumed.load_state_dict({"epoch_length": 1, "max_epochs": 3, "iteration": 1})
    resumed.run([0], max_epochs=3)
    assert [(line["epoch"], line.get("train_loss")) for line in read_log(file)] == [(1, None), (2, 7.0), (3, 7.0)]


def test_a_training_that_begins_anew_begins_its_log_anew(tmp_path):
    file = tmp_path / "log.jsonl"
    for epochs in (3, 1):
        trainer_of([1.0] * epochs, KeepLog(file)).run([0], max_epochs=epochs)
    assert [line["epoch"] for line in read_log(file)] == [1]


def test_a_figure_that_is_no_number_is_null_in_the_log(tmp_path):
    trainer = trainer_of([1.0], KeepLog(tmp_path / "log.jsonl"))
    trainer.state.metrics = {"val_depth_error_mm": float("nan"), "val_ssim": torch.tensor(0.5)}
    trainer.run([0])
    text = (tmp_path / "log.jsonl").read_text()
    assert json.loads(text) == {"epoch": 1, "steps": 1, "val_depth_error_mm": None, "val_ssim": 0.5}


@pytest.mark.parametrize("text", ["not JSON\n", '{"step": 3}\n', "[1]\n"])
def test_what_is_no_log_is_refused_and_left_as_it_is(text, tmp_path):
    file = tmp_path / "log.jsonl"
    file.write_text(text)
    with pytest.raises(UnreadableInput, match="no log of a training"):
        trainer_of([1.0], KeepLog(file)).run([0])
    assert file.read_text() == text


def figures_in(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """(epoch, value) of every curve, as TensorBoard shows them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder)).Reload()
    return {tag: [(one.step, one.value) for one in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_tensorboard_shows_the_figures_of_trainer_and_evaluator_by_epoch(tmp_path):
    log = TensorBoardLog(tmp_path)
    trainer, evaluator = trainer_of([1.0, 1.0], log), trainer_of([1.0])
    log.attach(evaluator)
    trainer.state.metrics = {"train_loss": 0.5, "train_depth_prior": 0.25}
    evaluator.state.metrics = {"val_rmse_hu": 250.0}
    trainer.run([0], max_epochs=2)
    evaluator.load_state_dict({"epoch_length": 1, "max_epochs": 2, "iteration": 1})  # as MONAI's: the epoch of the trainer
    evaluator.run([0], max_epochs=2)
    assert figures_in(tmp_path) == {
        "train/loss": [(1, 0.5), (2, 0.5)],
        "train/depth_prior": [(1, 0.25), (2, 0.25)],
        "val/rmse_hu": [(2, 250.0)],
    }


def test_a_training_that_goes_on_takes_back_what_tensorboard_had_of_epochs_that_it_repeats(tmp_path):
    trainer = trainer_of([1.0] * 3, TensorBoardLog(tmp_path))
    trainer.state.metrics = {"train_loss": 1.0}
    trainer.run([0], max_epochs=3)
    resumed = trainer_of([1.0], TensorBoardLog(tmp_path))
    resumed.state.metrics = {"train_loss": 2.0}
    resumed.load_state_dict({"epoch_length": 1, "max_epochs": 2, "iteration": 1})
    resumed.run([0], max_epochs=2)
    assert figures_in(tmp_path)["train/loss"] == [(1, 1.0), (2, 2.0)]


@pytest.mark.parametrize(
    ("module", "handler", "way_out"),
    [
        (tensorboard_log, TensorBoardLog, r"xct-components\[train\].*--tensorboard False"),
        (mlflow_log, lambda folder: MlflowLog("xct", "stage1"), "pip install mlflow"),
        (validation_pictures, DrawValidation, r"xct-components\[train\].*--picture_interval 0"),
    ],
)
def test_a_library_that_is_not_there_stops_the_run_with_the_way_out(module, handler, way_out, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(Failure, match=way_out):
        trainer_of([1.0], handler(tmp_path / "runs")).run([0])
    assert not (tmp_path / "runs").exists()


@pytest.fixture
def with_mlflow(monkeypatch):
    if find_spec("mlflow") is None:
        pytest.skip("mlflow is not installed: pip install mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for name, value in {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("with_mlflow")
@pytest.mark.parametrize("uri", ["http://127.0.0.1:9", "sqlite:///{folder}/file", "{folder}/mlruns", "ftp://nowhere"])
def test_a_server_that_does_not_answer_or_is_none_stops_the_run_before_its_first_step(uri, tmp_path):
    (tmp_path / "file").write_text("no database" * 100)
    trainer = trainer_of([], MlflowLog("xct", "stage1", uri.format(folder=tmp_path)))
    with pytest.raises(Failure, match=r"MLFLOW_TRACKING_URI names the server or sqlite:///FILE"):
        trainer.run([0])


@pytest.mark.usefixtures("with_mlflow")
def test_a_training_outlives_the_server_that_it_tells(tmp_path, caplog):
    log = MlflowLog("xct", "stage1", f"sqlite:///{tmp_path}/runs.db")
    trainer = trainer_of([1.0, 2.0], log)
    trainer.state.metrics = {"train_loss": 1.0}
    trainer.add_event_handler(Events.EPOCH_STARTED(once=2), (tmp_path / "runs.db").unlink)
    trainer.run([0], max_epochs=2)
    assert trainer.state.epoch == 2
    assert "MLflow did not take epoch 2" in caplog.text


def test_what_is_switched_off_needs_no_library_and_writes_nothing(tmp_path, monkeypatch):
    for module in (tensorboard_log, validation_pictures):
        monkeypatch.setattr(module, "find_spec", lambda name: None)
    folder = tmp_path / "runs"
    trainer_of([1.0], TensorBoardLog(folder, on=False), DrawValidation(folder, every=0)).run([0])
    assert not folder.exists()


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(CannotWrite, match="--log_dir"):
        trainer_of([1.0], TensorBoardLog(tmp_path / "runs" / "stage1")).run([0])


def validator(cases: list[Sequence[dict[str, Any]]], *handlers: Any) -> Engine:
    """An evaluator that leaves its output as MONAI's does; what a stage makes of the cases is computed once."""
    stage = small_stage()
    prepared = [PrepareValidation(stage)(case)[0] for case in cases]
    outputs = [{"image": batch, "pred": MeanOfBatch()(batch, stage)} for batch in prepared]
    engine = Engine(lambda engine, batch: outputs[[id(case) for case in cases].index(id(batch))])
    for handler in handlers:
        handler.attach(engine)
    return engine


def test_pictures_are_drawn_after_the_first_epoch_and_every_so_manyeth(tmp_path):
    cases: list[Sequence[dict[str, Any]]] = [[case] for case in drawn(phantoms(augment=False, randomize_exposure=False))]
    engine = validator(cases, DrawValidation(tmp_path / "pictures", every=2, cases=1), TensorBoardLog(tmp_path))
    engine.run(cases, max_epochs=3)
    files = sorted(path.name for path in (tmp_path / "pictures").iterdir())
    assert files == [f"phantom-0_epoch{epoch:04d}{kind}.png" for epoch in (1, 2) for kind in ("", "_depth")]
    assert engine.state.pictures == engine.state.depths == {}  # none is due after the third epoch

    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path)).Reload()
    assert sorted(events.Tags()["images"]) == ["val_phantom-0", "val_phantom-0_depth"]
    for kind in ("", "_depth"):
        with Image.open(tmp_path / "pictures" / f"phantom-0_epoch0002{kind}.png") as picture:
            rows, cols = picture.height, picture.width
        shown = events.Images(f"val_phantom-0{kind}")
        assert [(one.step, one.height, one.width) for one in shown] == [(epoch, rows, cols) for epoch in (1, 2)]


def test_tensorboard_has_the_depths_as_histograms_in_mm(tmp_path):
    case = drawn(phantoms(1, augment=False, randomize_exposure=False))
    validator([case], DrawValidation(tmp_path / "pictures"), TensorBoardLog(tmp_path)).run([case])
    depth = MeanOfBatch()(PrepareValidation(small_stage())(case)[0], small_stage()).depths[0]

    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path)).Reload()
    assert sorted(events.Tags()["histograms"]) == [f"val_phantom-0_depth/{name}" for name in ("atlas", "predicted", "true")]
    for name, side in depth.sides.items():
        (shown,) = (one.histogram_value for one in events.Histograms(f"val_phantom-0_depth/{name}"))
        assert (shown.min, shown.max) == (0.0, 320.0)
        assert shown.sum / shown.num == pytest.approx(float((side.sum(0) * (20.0 * torch.arange(16) + 10.0)).sum()), rel=1e-4)


def test_a_stage_without_depth_lifting_has_no_picture_of_it(tmp_path):
    case = drawn(phantoms(1, augment=False, randomize_exposure=False))
    stage = small_stage(use_depth_lifting=False)
    batch = PrepareValidation(stage)(case)[0]
    engine = Engine(lambda engine, cases: {"image": batch, "pred": MeanOfBatch()(batch, stage)})
    DrawValidation(tmp_path).attach(engine)
    engine.run([case])
    assert [path.name for path in tmp_path.iterdir()] == ["phantom-0_epoch0001.png"]
    assert torch.isnan(engine.state.output["pred"].figures["atlas_depth_error_mm"]).tolist() == [True]

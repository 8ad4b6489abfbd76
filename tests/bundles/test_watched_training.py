"""A training of a shipped bundle leaves what a person wants to see of it: log, curves, pictures; also when it goes on."""

from __future__ import annotations

import logging
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from monai.bundle import run
from PIL import Image

from tests.bundles.prepared_folder import prepared_folder
from tests.bundles.tiny_bundles import TINY_SIZE, copied_bundles
from xct_components.bundle_io.plain_failures import failure_behind
from xct_components.training import mlflow_log
from xct_components.training.training_log import read_log

BRIEF = {"real_repeats": 1, "phantom_count": 0, "batch_size": 1, "case_cache": "none"}
#: What every training tells; the loss has more terms.
FIGURES = {"train/loss", "train/velocity", "train/samples_per_s", "train/waiting_share", "val/rmse_hu", "val/psnr_db"}
FIGURES |= {"val/ssim", "val/film_error", "val/depth_error_mm", "val/prior_rmse_hu"}
#: Of the one case that is held out.
PICTURES = ("val_second", "val_second_depth")


@pytest.fixture(autouse=True)
def logging_as_it_was():
    root = logging.getLogger()
    before = root.level, root.handlers[:]
    yield
    root.setLevel(before[0])
    root.handlers[:] = before[1]


@pytest.fixture
def train(tmp_path):
    """Trains stage 1, or goes on with it."""
    bundle = copied_bundles(tmp_path / "bundles") / "stage1"
    prepared = prepared_folder(tmp_path / "prepared", TINY_SIZE.values())
    paths = {"bundle_root": str(bundle), "dataset_dir": str(prepared)}

    def train(*documents, **settings):
        files = [str(bundle / "configs" / name) for name in ("train.json", *documents)]
        run(config_file=files, **paths, **BRIEF, **settings)
        return bundle

    return train


def test_a_training_that_goes_on_has_every_epoch_once_in_its_log_its_curves_and_its_pictures(train):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for epochs in (1, 2):
        bundle = train(max_epochs=epochs, tensorboard=True, picture_interval=2)
    log = read_log(bundle / "models" / "stage1_log.jsonl")
    assert [(line["epoch"], line["steps"]) for line in log] == [(1, 1), (2, 2)]
    events = EventAccumulator(str(bundle / "runs")).Reload()
    assert set(events.Tags()["scalars"]) >= FIGURES
    for name in FIGURES:
        shown = [(one.step, one.value) for one in events.Scalars(name)]
        assert shown == [(line["epoch"], pytest.approx(line[name.replace("/", "_", 1)], rel=1e-5)) for line in log]
    for picture in PICTURES:
        assert [one.step for one in events.Images(picture)] == [1, 2]
    pictures = sorted(path.name for path in (bundle / "runs" / "pictures").iterdir())
    assert pictures == [f"second_epoch000{epoch}{kind}.png" for epoch in (1, 2) for kind in ("", "_depth")]


@pytest.fixture
def mlflow_client(tmp_path, monkeypatch):
    """Asks a database of the test's own what MLflow knows; nobody else is told of it."""
    if find_spec("mlflow") is None:
        pytest.skip("mlflow is not installed: pip install mlflow")
    uri = f"sqlite:///{tmp_path}/runs.db"
    for name, value in {"MLFLOW_TRACKING_URI": uri, "MLFLOW_DISABLE_TELEMETRY": "true"}.items():
        monkeypatch.setenv(name, value)
    return import_module("mlflow.tracking").MlflowClient(uri)


def runs_of(client: Any) -> list[Any]:
    """The latest first."""
    return client.search_runs([client.get_experiment_by_name("xct").experiment_id])


def pictures_of(client: Any, run_id: str, folder: Path) -> dict[str, list[int]]:
    """Epochs of every picture, each of which is opened."""
    epochs: dict[str, list[int]] = {}
    for artifact in client.list_artifacts(run_id, "images"):
        name, _, rest = Path(artifact.path).name.partition("+step+")
        if artifact.path.endswith(".png"):
            epochs.setdefault(name, []).append(int(rest.partition("+")[0]))
            with Image.open(client.download_artifacts(run_id, artifact.path, str(folder))) as picture:
                assert picture.width > picture.height
    return {name: sorted(found) for name, found in epochs.items()}


def test_mlflow_gets_figures_pictures_and_settings_and_goes_on_with_the_run_of_a_training_that_goes_on(
    train, mlflow_client, tmp_path
):
    for epochs in (1, 2):
        bundle = train("mlflow.json", max_epochs=epochs, picture_interval=2)
    (run_of_both,) = runs_of(mlflow_client)
    assert (run_of_both.info.run_name, run_of_both.info.status) == ("stage1", "FINISHED")
    log = read_log(bundle / "models" / "stage1_log.jsonl")
    names = {name.replace("/", "_", 1) for name in FIGURES}
    assert set(run_of_both.data.metrics) >= names
    for name in names:
        sent = [(one.step, one.value) for one in mlflow_client.get_metric_history(run_of_both.info.run_id, name)]
        assert sent == [(line["epoch"], pytest.approx(line[name])) for line in log]
    assert pictures_of(mlflow_client, run_of_both.info.run_id, tmp_path) == {picture: [1, 2] for picture in PICTURES}
    settings = {**BRIEF, "seed": 0, "volume_size": 16, "dataset_dir": tmp_path / "prepared", "initial_weights": None}
    settings.pop("case_cache")
    assert run_of_both.data.params.items() >= {name: str(value) for name, value in settings.items()}.items()
    assert [path.name for path in (bundle / "runs").iterdir()] == ["pictures"]  # nothing of TensorBoard

    train("mlflow.json", max_epochs=1, picture_interval=0, resume=False)
    anew, before = runs_of(mlflow_client)
    assert before.info.run_id == run_of_both.info.run_id
    assert len(mlflow_client.get_metric_history(anew.info.run_id, "train_loss")) == 1
    assert len(mlflow_client.get_metric_history(before.info.run_id, "train_loss")) == 2
    assert mlflow_client.list_artifacts(anew.info.run_id) == []


def test_a_training_that_broke_off_goes_on_with_its_own_run_and_not_with_that_of_another(train, mlflow_client):
    """The other is of the same name, has not ended either, and is the later one."""
    train("mlflow.json", max_epochs=1, picture_interval=0)
    (broken_off,) = runs_of(mlflow_client)
    mlflow_client.update_run(broken_off.info.run_id, status="RUNNING")
    other = mlflow_client.create_run(broken_off.info.experiment_id, run_name="stage1")
    train("mlflow.json", max_epochs=2, picture_interval=0)
    steps = {
        run.info.run_id: [one.step for one in mlflow_client.get_metric_history(run.info.run_id, "val_rmse_hu")]
        for run in runs_of(mlflow_client)
    }
    assert steps == {broken_off.info.run_id: [1, 2], other.info.run_id: []}


def test_mlflow_takes_the_place_of_tensorboard_and_says_when_it_is_missing(train, monkeypatch):
    monkeypatch.setattr(mlflow_log, "find_spec", lambda name: None)
    with pytest.raises(RuntimeError) as refused:
        train("mlflow.json", max_epochs=1, tensorboard=True)
    assert "pip install mlflow" in str(failure_behind(refused.value))

"""A training of a shipped bundle leaves what a person wants to see of it: log, curves, pictures; also when it goes on."""

from __future__ import annotations

import logging

import pytest
from monai.bundle import run

from tests.bundles.prepared_folder import prepared_folder
from tests.bundles.tiny_bundles import TINY_SIZE, copied_bundles
from xct_components.bundle_io.plain_failures import failure_behind
from xct_components.training import mlflow_log
from xct_components.training.training_log import read_log

BRIEF = {"real_repeats": 1, "phantom_count": 0, "batch_size": 1, "case_cache": "none"}
#: What every training tells; the loss has more terms.
FIGURES = {"train/loss", "train/velocity", "train/samples_per_s", "train/waiting_share", "val/rmse_hu", "val/psnr_db"}
FIGURES |= {"val/ssim", "val/film_error", "val/depth_error_mm", "val/prior_rmse_hu"}


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
    assert [one.step for one in events.Images("val_second")] == [1, 2]
    pictures = sorted(path.name for path in (bundle / "runs" / "pictures").iterdir())
    assert pictures == ["second_epoch0001.png", "second_epoch0002.png"]


def test_mlflow_takes_the_place_of_tensorboard_and_says_when_it_is_missing(train, monkeypatch):
    monkeypatch.setattr(mlflow_log, "find_spec", lambda name: None)
    with pytest.raises(RuntimeError) as refused:
        train("mlflow.json", max_epochs=1, tensorboard=True)
    assert "pip install mlflow" in str(failure_behind(refused.value))

"""The Python face of training, on tiny bundles."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.bundles.prepared_folder import prepared_folder
from tests.bundles.tiny_bundles import TINY_SIZE, copied_bundles
from xct_components.bundle_io.parent_stages import WEIGHTS
from xct_components.failures import UsageFailure, WeightsFailure
from xct_components.trainer import UnifiedTrainer

BRIEF: dict[str, Any] = {"real_repeats": 2, "phantom_count": 0, "batch_size": 1, "case_cache": "none"}


@pytest.fixture
def places(tmp_path):
    return copied_bundles(tmp_path / "bundles"), prepared_folder(tmp_path / "prepared", TINY_SIZE.values())


def test_a_stage_is_trained_and_gone_on_with(places):
    bundles, prepared = places
    trainer = UnifiedTrainer(1, bundles)
    first = trainer.train(prepared, epochs=1, **BRIEF)
    assert first.weights is not None
    assert first.best_projection is not None
    assert first.weights.read_bytes() == (bundles / "stage1" / WEIGHTS).read_bytes()
    assert 0.0 < first.metrics["val_rmse_hu"] < 1000.0
    further = trainer.train(prepared, epochs=2, **BRIEF)
    assert torch.load(further.last, weights_only=True)["iteration"] == 4


def test_depth_priors_and_projection_can_be_left_out(places):
    bundles, prepared = places
    trained = UnifiedTrainer(1, bundles).train(
        prepared, epochs=1, validate_projection=False, use_depth_priors=False, loss__projection=0.5, **BRIEF
    )
    assert trained.best_projection is None
    sums = torch.load(trained.last, weights_only=True)["parts"]["loss"]["sums"]
    assert sums == {}  # the epoch is over and reported
    assert trained.weights is not None


def test_weights_that_an_older_training_left_are_not_those_of_a_later_one(places):
    bundles, prepared = places
    trainer = UnifiedTrainer(1, bundles)
    older = trainer.train(prepared, epochs=1, **BRIEF)
    anew = {**BRIEF, "resume": False, "seed": 1}
    without_projection = trainer.train(prepared, epochs=1, validate_projection=False, **anew)
    assert older.best_projection is not None
    assert older.best_projection.is_file()
    for trained in (without_projection, trainer.trained(), UnifiedTrainer(1, bundles).trained()):
        assert trained.best_projection is None
        assert trained.weights is not None
    unvalidated = trainer.train(prepared, epochs=1, val_interval=2, **{**anew, "seed": 2})
    assert (unvalidated.weights, unvalidated.best_projection, unvalidated.metrics) == (None, None, {})


def test_a_training_that_goes_on_without_projection_has_no_best_projection(places):
    bundles, prepared = places
    trainer = UnifiedTrainer(1, bundles)
    trainer.train(prepared, epochs=1, **BRIEF)
    assert trainer.train(prepared, epochs=2, validate_projection=False, **BRIEF).best_projection is None


def test_what_is_written_elsewhere_is_found_there(places, tmp_path):
    bundles, prepared = places
    elsewhere: dict[str, Any] = {f"{name}_path": str(tmp_path / f"{name}.pt") for name in ("best", "best_drr", "last")}
    trained = UnifiedTrainer(1, bundles).train(prepared, epochs=1, **elsewhere, **BRIEF)
    assert [str(file) for file in (trained.weights, trained.best_projection, trained.last)] == list(elsewhere.values())


def test_a_bundle_that_has_never_been_trained_has_left_nothing(places):
    trained = UnifiedTrainer(1, places[0]).trained()
    assert (trained.weights, trained.best_projection, trained.metrics) == (None, None, {})
    assert not trained.last.exists()


def test_the_checkpoint_of_the_stage_before_is_what_the_second_stage_starts_from(places, tmp_path):
    """With damaged weights in the first bundle, training works with the checkpoint and not without."""
    bundles, prepared = places
    checkpoint = tmp_path / "elsewhere.pt"
    checkpoint.write_bytes((bundles / "stage1" / WEIGHTS).read_bytes())
    (bundles / "stage1" / WEIGHTS).write_bytes(b"damaged")
    with pytest.raises(WeightsFailure, match="damaged"):
        UnifiedTrainer(2, bundles).train(prepared, epochs=1, **BRIEF)
    assert UnifiedTrainer(2, bundles, checkpoint).train(prepared, epochs=1, **BRIEF).weights is not None


def test_documents_of_the_users_own_are_taken(places, tmp_path):
    bundles, prepared = places
    overlay = tmp_path / "short.json"
    overlay.write_text('{"max_epochs": 1}')
    trainer = UnifiedTrainer(1, [bundles / "stage1" / "configs" / "train.json", overlay])
    assert trainer.train(prepared, **BRIEF).weights is not None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((4,), "stage must be one of 1, 2, 3, got 4"),
        ((1, "bundles", "model.pt"), "prev_stage_checkpoint must be None for stage 1"),
        ((1, ["nowhere/train.json"]), "config must be a folder of bundles or a list of JSON documents, got no .*nowhere"),
        ((1, []), "config must be a folder of bundles or a list of JSON documents, got no document"),
    ],
)
def test_what_cannot_be_trained_is_refused(arguments, message):
    with pytest.raises(UsageFailure, match=message):
        UnifiedTrainer(*arguments)

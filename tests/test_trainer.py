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

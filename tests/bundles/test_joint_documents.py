"""What a joint training's documents make of train.json: no setting of it goes unread, in whatever order overlays come."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from tests.bundles import linter
from tests.bundles.tiny_bundles import BUNDLES, STAGES

CONFIGS = BUNDLES / "stage3" / "configs"
JOINT = ("joint_finetune.json", "joint_train.json")
MANY = "multi_gpu_train.json"


def merged(*overlays: str) -> dict[str, Any]:
    """Stage 3's train.json after overlays."""
    config = json.loads((CONFIGS / "train.json").read_text(encoding="utf-8"))
    for name in overlays:
        config = linter.overlaid(config, json.loads((CONFIGS / name).read_text(encoding="utf-8")))
    return config


@pytest.mark.parametrize("joint", JOINT)
def test_every_setting_of_a_stages_training_is_read_in_a_joint_one_too(joint):
    assert list(linter.unread_settings(merged(joint))) == []


@pytest.mark.parametrize("joint", JOINT)
@pytest.mark.parametrize("place", [0, 1])
def test_many_processes_share_the_steps_of_all_stages_whichever_overlay_comes_first(joint, place):
    overlays = [joint]
    overlays.insert(place, MANY)
    config = merged(*overlays)
    assert linter.faults(config) == []
    assert list(linter.unread_settings(config)) == []
    called = config["train"]["trainer"]["network"]
    assert called["_target_"].endswith(".across_processes")
    assert called["module"] == "@step"
    assert config["step"]["_target_"].endswith(".JointStep")


@pytest.mark.parametrize("joint", JOINT)
def test_the_measuring_of_all_stages_takes_the_place_of_that_of_one(joint):
    """The overlay knows the handler by its number alone."""
    before, after = (merged(*overlays)["train"]["handlers"] for overlays in ((), (joint,)))
    changed = [(one["_target_"], other["_target_"]) for one, other in zip(before, after, strict=True) if one != other]
    expected = ("handlers.MeasureStatistics", "joint_statistics.MeasureJointStatistics")
    assert changed == [tuple(f"xct_components.training.{name}" for name in expected)]


def test_all_stages_have_the_same_overlay_for_many_processes():
    texts = [(BUNDLES / f"stage{stage}" / "configs" / MANY).read_text(encoding="utf-8") for stage in STAGES]
    assert all(one == other for one, other in itertools.pairwise(texts))

"""The bundles' own documents on a second device: from scratch to released weights, to the bit as on the processor."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import run

from tests.bundles.prepared_folder import prepared_folder
from tests.bundles.tiny_bundles import TINY_COLUMN, TINY_SIZE, copied_bundles
from tests.inferers.tiny_stages import chest_hu, held_voxels_mm
from tests.second_device import second_device
from xct_components.bundle_io.parent_stages import WEIGHTS, stage_of
from xct_components.geometry import VolumeGrid

BRIEF: dict[str, Any] = {
    "real_repeats": 1,
    "phantom_count": 0,
    "batch_size": 1,
    "case_cache": "none",
    "statistics_cases": 1,
    "max_epochs": 1,
}
#: The losses that the documents leave out, two films, columns, pictures, what frozen stages make of the cases kept; and a rate
#: that does not know how long the training will be, so that it can be stopped anywhere.
EVERYTHING: dict[str, Any] = {
    "loss::perceptual": 0.1,
    "loss::gradient": 0.1,
    "train::prepare_batch::second_view_share": 1.0,
    "train::prepare_batch::column_pixels": TINY_COLUMN,
    "picture_interval": 2,
    "val_interval": 2,
    "case_draws": 2,
    "scheduler": {"_target_": "torch.optim.lr_scheduler.ConstantLR", "optimizer": "@optimizer", "factor": 1.0},
}


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    before = root.level, root.handlers[:]
    yield
    root.setLevel(before[0])
    root.handlers[:] = before[1]


def run_documents(device: str, bundle: Path, documents: list[str], **settings: Any) -> None:
    paths = {"bundle_root": str(bundle), "device": f"$torch.device({device!r})"}
    with second_device() if device == "cuda" else nullcontext():
        run(config_file=[str(bundle / "configs" / name) for name in documents], **paths, **settings)


def holding_a_ct(bundle: Path) -> None:
    """The weights of the first stage, as if it had been trained on the chest that the second is going to be trained on."""
    stage = stage_of(bundle)
    stage.load_state_dict(torch.load(bundle / WEIGHTS, weights_only=True))
    assert stage.multi_atlas is not None
    stage.multi_atlas.make_room(1)
    stage.multi_atlas.measure([("first", chest_hu(VolumeGrid.chest((32, 32, 32), held_voxels_mm(1)[0])))])
    torch.save(stage.state_dict(), bundle / WEIGHTS)


@pytest.mark.parametrize(
    ("stage", "documents", "settings", "released"),
    [
        (1, ["train.json"], {"case_draws": 0}, "model.pt"),
        (3, ["train.json", "joint_train.json"], {"train::prepare_batch::column_pixels": TINY_COLUMN}, "unified_all_stages.pt"),
    ],
    ids=["the first stage", "all stages together"],
)
def test_what_is_trained_from_scratch_there_is_what_is_trained_here(
    stage: int, documents: list[str], settings: dict[str, Any], released: str, tmp_path: Path
) -> None:
    prepared, weights = prepared_folder(tmp_path / "prepared", TINY_SIZE.values()), []
    for device in ("cpu", "cuda"):
        bundle = copied_bundles(tmp_path / device) / f"stage{stage}"
        run_documents(device, bundle, documents, dataset_dir=str(prepared), **{**BRIEF, **settings})
        weights.append((bundle / "models" / released).read_bytes())
    assert weights[0] == weights[1]


def test_a_later_stage_is_trained_there_stopped_and_gone_on_with(tmp_path: Path) -> None:
    prepared, weights = prepared_folder(tmp_path / "prepared", TINY_SIZE.values()), []
    for device, stops in (("cpu", [2]), ("cuda", [1, 2])):
        bundles = copied_bundles(tmp_path / device)
        holding_a_ct(bundles / "stage1")
        bundle = bundles / "stage2"
        for epochs in stops:
            settings = {**BRIEF, **EVERYTHING, "max_epochs": epochs}
            run_documents(device, bundle, ["train.json"], dataset_dir=str(prepared), **settings)
        weights.append((bundle / "models" / "model.pt").read_bytes())
        assert [*bundle.glob("runs/**/*.png")]
        assert [*bundle.glob("cache/**/*.hu")]
    assert weights[0] == weights[1]

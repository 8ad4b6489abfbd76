"""The bundles' own documents train and evaluate a tiny stage, as MONAI runs them."""

from __future__ import annotations

import csv
import json
import logging

import pytest
import torch
from monai.bundle import run

from tests.bundles.prepared_folder import prepared_folder
from tests.bundles.tiny_bundles import TINY_COLUMN, TINY_SIZE, copied_bundles
from xct_components.bundle_io.parent_stages import WEIGHTS, stage_of
from xct_components.cascade import UnifiedHybridViTCascade
from xct_components.data.file_hash import file_sha256

#: Enough for the mechanics; what a training reaches is measured elsewhere.
BRIEF = {"max_epochs": 1, "real_repeats": 2, "phantom_count": 0, "batch_size": 1, "case_cache": "none"}
#: The released weights are rounded to half precision, 1 in 2048; the metrics follow.
HALF_PRECISION = 5e-3


@pytest.fixture(autouse=True)
def logging_as_it_was():
    root = logging.getLogger()
    before = root.level, root.handlers[:]
    yield
    root.setLevel(before[0])
    root.handlers[:] = before[1]


@pytest.mark.parametrize("stage", [1, 2])
def test_a_stage_trains_releases_its_weights_and_is_evaluated(stage, tmp_path, monkeypatch):
    bundles, prepared = copied_bundles(tmp_path / "bundles"), prepared_folder(tmp_path / "prepared", TINY_SIZE.values())
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    bundle = bundles / f"stage{stage}"
    before = file_sha256(bundle / WEIGHTS)
    paths = {"bundle_root": str(bundle), "dataset_dir": str(prepared), "output_dir": str(tmp_path / "out")}
    train, evaluate = (str(bundle / "configs" / name) for name in ("train.json", "evaluate.json"))

    run(config_file=train, **paths, **BRIEF)
    released = json.loads((bundle / WEIGHTS).with_suffix(".json").read_text())
    assert released["sha256"] == file_sha256(bundle / WEIGHTS) != before
    tensors = torch.load(bundle / WEIGHTS, weights_only=True)
    assert all(torch.isfinite(tensor).all() for tensor in tensors.values())

    run(config_file=[train, evaluate], **paths, **BRIEF)
    with (tmp_path / "out" / "metrics.csv").open() as stream:
        evaluated = {name: float(value) for name, value in csv.reader(stream)}
    assert evaluated == pytest.approx(released["metrics"], rel=HALF_PRECISION)


@pytest.mark.parametrize("overlay", ["joint_finetune.json", "joint_train.json"])
def test_all_stages_train_together_into_one_file_that_the_cascade_reads(overlay, tmp_path):
    bundles, prepared = copied_bundles(tmp_path / "bundles"), prepared_folder(tmp_path / "prepared", TINY_SIZE.values())
    last = bundles / "stage3"
    untouched = [file_sha256(bundles / f"stage{stage}" / WEIGHTS) for stage in (1, 2, 3)]
    unified = last / "models" / "unified_all_stages.pt"
    configs = [str(last / "configs" / name) for name in ("train.json", overlay)]
    tiny = {"train::prepare_batch::column_pixels": TINY_COLUMN, "learning_rate": 1e-3}
    run(config_file=configs, bundle_root=str(last), dataset_dir=str(prepared), **BRIEF, **tiny)

    assert untouched == [file_sha256(bundles / f"stage{stage}" / WEIGHTS) for stage in (1, 2, 3)]
    cascade = UnifiedHybridViTCascade.from_pretrained(bundles, weights=unified)
    state = torch.load(unified, weights_only=True)
    for number, stage in enumerate(cascade.stages, start=1):
        for name, tensor in stage.state_dict().items():
            assert torch.equal(tensor, state[f"stage{number}.{name}"].to(tensor)), name
        assert stage.atlas.is_measured
    assert {record["file"] for record in cascade.weights} == {unified.name}
    before = [stage_of(bundles / f"stage{stage}") for stage in (1, 2)]
    for number, one in enumerate(before, start=1):
        one.load_state_dict(torch.load(bundles / f"stage{number}" / WEIGHTS, weights_only=True))
        pairs = zip(cascade.stages[number - 1].parameters(), one.parameters(), strict=True)
        assert not all(torch.equal(new, old) for new, old in pairs), f"stage {number} has learned nothing"

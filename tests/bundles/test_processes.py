"""One training in two processes, as torchrun starts them: the training of one process with batches twice as large.

Of one stage, and of all stages at once.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.bundles.prepared_folder import prepared_folder
from tests.bundles.tiny_bundles import TINY_SIZE, copied_bundles
from xct_components.failures import ExitCode

#: Six cases of one patient, each augmented by itself; one view, as the choice of a second film is one for a whole batch.
SETTINGS = {"max_epochs": 2, "real_repeats": 6, "phantom_count": 0, "case_cache": "none", "second_view_share": 0.0}
#: The mean of two halves is the mean of the whole but for rounding (1e-7), which six steps of AdamW carry on: it divides by
#: the size of a gradient, so where a gradient is nearly 0 its rounding counts. Steps are 8e-4 long at most.
WEIGHT_TOLERANCE, LOSS_TOLERANCE = 2e-4, 1e-4


#: Whole volumes, as the choice of a column is one for a whole batch too; a rate at which weights move by ten tolerances.
JOINT = {"train::prepare_batch::column_pixels": 0, "real_repeats": 4, "learning_rate": 8e-4}
#: Three patients, of whom one process of two validates two.
VALIDATED = ("second", "third", "fourth")
MANY, JOINTLY = "multi_gpu_train.json", "joint_finetune.json"


class Workplace:
    """Tiny bundles and a prepared folder, and how to train a stage on them, or with an overlay all of them."""

    def __init__(self, folder: Path, *, stage: int = 1, kept: str = "stage1_last.pt") -> None:
        self.bundle = copied_bundles(folder / "bundles") / f"stage{stage}"
        self.prepared = prepared_folder(folder / "prepared", TINY_SIZE.values(), VALIDATED)
        self.last, self.log = self.bundle / "models" / kept, folder / "log.txt"

    def start(self, processes: int, *overlays: str, **settings: Any) -> subprocess.Popen[bytes]:
        """Begin, or go on with, a training by train.json and these overlays."""
        configs = [str(self.bundle / "configs" / name) for name in ("train.json", *overlays)]
        launcher = ["-m"]
        if processes > 1:
            launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}", "-m"]
        command = [sys.executable, *launcher, "monai.bundle", "run", "--config_file", str(configs)]
        paths = {"bundle_root": str(self.bundle), "dataset_dir": str(self.prepared)}
        for name, value in {**SETTINGS, **paths, **settings}.items():
            command += [f"--{name}", str(value)]
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
        with self.log.open("ab") as stream:
            return subprocess.Popen(command, stdout=stream, stderr=stream, env=environment, cwd=self.bundle)

    def train(self, processes: int, *overlays: str, **settings: Any) -> None:
        """A training to its end."""
        assert self.start(processes, *overlays, **settings).wait(timeout=300) == 0, self.log.read_text()[-3000:]

    def begin_and_lose_a_process(self, *overlays: str, **settings: Any) -> None:
        """Begin in two processes; one of them dies once there is something to go on from."""
        job = self.start(2, *overlays, keep_every_min=0.0, **settings)
        deadline = time.monotonic() + 240
        while not self.last.exists() and job.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        workers = Path(f"/proc/{job.pid}/task/{job.pid}/children").read_text().split()
        os.kill(int(workers[-1]), signal.SIGKILL)
        assert job.wait(timeout=120) != 0
        assert "Signal 9 (SIGKILL)" in self.log.read_text()

    def checkpoint(self) -> dict[str, Any]:
        """What the training has kept."""
        return torch.load(self.last, weights_only=True)

    def validations(self) -> list[float]:
        """RMSE of every epoch, as the first process has logged it."""
        log = self.last.with_name(self.last.name.replace("last.pt", "log.jsonl"))
        return [json.loads(line)["val_rmse_hu"] for line in log.read_text().splitlines()]

    def losses(self) -> list[float]:
        """The mean loss of every epoch, from the log of the first process."""
        return [float(loss) for loss in re.findall(r"epoch \d+: .*?loss (\d+\.\d+)", self.log.read_text())]


def joint_workplace(folder: Path) -> Workplace:
    return Workplace(folder, stage=3, kept="stage3_joint_last.pt")


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    place = Workplace(tmp_path_factory.mktemp("together"))
    place.train(2, MANY, batch_size=1)
    return place


@pytest.fixture(scope="module")
def all_together(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    place = joint_workplace(tmp_path_factory.mktemp("all-together"))
    place.train(2, JOINTLY, MANY, batch_size=1, **JOINT)
    return place


def require_equal(first: dict[str, Any], second: dict[str, Any], tolerance: float) -> None:
    weights = [document["parts"]["average"] for document in (first, second)]
    for name, tensor in weights[0].items():
        assert torch.allclose(tensor.float(), weights[1][name].float(), rtol=0.0, atol=tolerance), name


def require_the_same_training(alone: Workplace, together: Workplace) -> None:
    assert alone.checkpoint()["iteration"] == together.checkpoint()["iteration"]
    require_equal(alone.checkpoint(), together.checkpoint(), WEIGHT_TOLERANCE)
    one, both = sorted(set(alone.losses())), sorted(set(together.losses()))
    assert len(one) == SETTINGS["max_epochs"]
    assert both == pytest.approx(one, rel=LOSS_TOLERANCE)
    assert together.validations() == pytest.approx(alone.validations(), rel=LOSS_TOLERANCE)


def test_two_processes_train_as_one_with_batches_twice_as_large(together: Workplace, tmp_path: Path) -> None:
    alone = Workplace(tmp_path)
    alone.train(1, batch_size=2)
    assert alone.checkpoint()["iteration"] == 6
    require_the_same_training(alone, together)


def test_two_processes_train_all_stages_as_one_with_batches_twice_as_large(all_together: Workplace, tmp_path: Path) -> None:
    alone = joint_workplace(tmp_path)
    alone.train(1, JOINTLY, batch_size=2, **JOINT)
    assert alone.checkpoint()["iteration"] == 4
    require_the_same_training(alone, all_together)


def test_only_the_first_process_releases(together: Workplace) -> None:
    folder = together.bundle / "models"
    assert {path.name for path in folder.iterdir()} == {
        f"{name}.{kind}" for name in ("model", "stage1_best", "stage1_best_drr") for kind in ("pt", "json")
    } | {"stage1_last.pt", "stage1_log.jsonl"}
    assert json.loads((folder / "model.json").read_text())["chosen_by"] == "val_rmse_hu"


def test_a_process_that_dies_stops_the_training_which_then_goes_on(together: Workplace, tmp_path: Path) -> None:
    place = Workplace(tmp_path)
    place.begin_and_lose_a_process(MANY, batch_size=1)
    assert place.checkpoint()["iteration"] < together.checkpoint()["iteration"]
    place.train(2, MANY, batch_size=1)
    assert place.checkpoint()["iteration"] == together.checkpoint()["iteration"]
    require_equal(place.checkpoint(), together.checkpoint(), 0.0)


def test_a_training_of_all_stages_goes_on_too_and_the_order_of_its_overlays_is_all_the_same(
    all_together: Workplace, tmp_path: Path
) -> None:
    place = joint_workplace(tmp_path)
    place.begin_and_lose_a_process(MANY, JOINTLY, batch_size=1, **JOINT)
    assert place.checkpoint()["iteration"] < all_together.checkpoint()["iteration"]
    place.train(2, MANY, JOINTLY, batch_size=1, **JOINT)
    assert place.checkpoint()["iteration"] == all_together.checkpoint()["iteration"]
    require_equal(place.checkpoint(), all_together.checkpoint(), 0.0)


@pytest.mark.parametrize(("stage", "overlays"), [(1, ()), (2, ()), (3, (JOINTLY,))])
def test_processes_that_would_each_train_by_themselves_are_refused(stage: int, overlays: Any, tmp_path: Path) -> None:
    place = Workplace(tmp_path, stage=stage)
    before = sorted(path.name for path in (place.bundle / "models").iterdir())
    assert place.start(2, *overlays, batch_size=1).wait(timeout=120) != 0
    said = place.log.read_text()
    assert "xct: 2 processes would each train by themselves; add multi_gpu_train.json, which lies beside train.json" in said
    assert f"exitcode  : {ExitCode.USAGE}" in said
    assert sorted(path.name for path in (place.bundle / "models").iterdir()) == before


def test_one_process_by_itself_cannot_share_its_steps(tmp_path: Path) -> None:
    place = Workplace(tmp_path)
    assert place.start(1, MANY, batch_size=1).wait(timeout=120) == ExitCode.USAGE
    assert "xct: multi_gpu_train.json must be run by torchrun, got a single process" in place.log.read_text()

"""One training in two processes, as torchrun starts them: the training of one process with batches twice as large."""

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

#: Six cases of one patient, each augmented by itself; one view, as the choice of a second film is one for a whole batch.
SETTINGS = {"max_epochs": 2, "real_repeats": 6, "phantom_count": 0, "case_cache": "none", "second_view_share": 0.0}
#: The mean of two halves is the mean of the whole but for rounding (1e-7), which six steps of AdamW carry on: it divides by
#: the size of a gradient, so where a gradient is nearly 0 its rounding counts. Steps are 8e-4 long at most.
WEIGHT_TOLERANCE, LOSS_TOLERANCE = 2e-4, 1e-4


class Workplace:
    """Tiny bundles and a prepared folder, and how to train stage 1 on them."""

    def __init__(self, folder: Path) -> None:
        self.bundle = copied_bundles(folder / "bundles") / "stage1"
        self.prepared = prepared_folder(folder / "prepared", TINY_SIZE.values())
        self.log = folder / "log.txt"

    def start(self, processes: int, **settings: Any) -> subprocess.Popen[bytes]:
        """Begin, or go on with, a training."""
        configs = [str(self.bundle / "configs" / "train.json")]
        launcher = ["-m"]
        if processes > 1:
            configs.append(str(self.bundle / "configs" / "multi_gpu_train.json"))
            launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}", "-m"]
        command = [sys.executable, *launcher, "monai.bundle", "run", "--config_file", str(configs)]
        paths = {"bundle_root": str(self.bundle), "dataset_dir": str(self.prepared)}
        for name, value in {**SETTINGS, **paths, **settings}.items():
            command += [f"--{name}", str(value)]
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
        with self.log.open("ab") as stream:
            return subprocess.Popen(command, stdout=stream, stderr=stream, env=environment, cwd=self.bundle)

    def train(self, processes: int, **settings: Any) -> None:
        """A training to its end."""
        assert self.start(processes, **settings).wait(timeout=300) == 0, self.log.read_text()[-3000:]

    def checkpoint(self) -> dict[str, Any]:
        """What the training has kept."""
        return torch.load(self.bundle / "models" / "stage1_last.pt", weights_only=True)

    def losses(self) -> list[float]:
        """The mean loss of every epoch, from the log of the first process."""
        return [float(loss) for loss in re.findall(r"epoch \d+: .*?loss (\d+\.\d+)", self.log.read_text())]


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    place = Workplace(tmp_path_factory.mktemp("together"))
    place.train(2, batch_size=1)
    return place


def require_equal(first: dict[str, Any], second: dict[str, Any], tolerance: float) -> None:
    weights = [document["parts"]["average"] for document in (first, second)]
    for name, tensor in weights[0].items():
        assert torch.allclose(tensor.float(), weights[1][name].float(), rtol=0.0, atol=tolerance), name


def test_two_processes_train_as_one_with_batches_twice_as_large(together: Workplace, tmp_path: Path) -> None:
    alone = Workplace(tmp_path)
    alone.train(1, batch_size=2)
    assert alone.checkpoint()["iteration"] == together.checkpoint()["iteration"] == 6
    require_equal(alone.checkpoint(), together.checkpoint(), WEIGHT_TOLERANCE)
    one, both = sorted(set(alone.losses())), sorted(set(together.losses()))
    assert len(one) == SETTINGS["max_epochs"]
    assert both == pytest.approx(one, rel=LOSS_TOLERANCE)


def test_only_the_first_process_releases(together: Workplace) -> None:
    folder = together.bundle / "models"
    assert {path.name for path in folder.iterdir()} == {
        f"{name}.{kind}" for name in ("model", "stage1_best", "stage1_best_drr") for kind in ("pt", "json")
    } | {"stage1_last.pt", "stage1_log.jsonl"}
    assert json.loads((folder / "model.json").read_text())["chosen_by"] == "val_rmse_hu"


def test_a_process_that_dies_stops_the_training_which_then_goes_on(together: Workplace, tmp_path: Path) -> None:
    place = Workplace(tmp_path)
    last = place.bundle / "models" / "stage1_last.pt"
    job = place.start(2, batch_size=1, keep_every_min=0.0)
    deadline = time.monotonic() + 240
    while not last.exists() and job.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    workers = Path(f"/proc/{job.pid}/task/{job.pid}/children").read_text().split()
    os.kill(int(workers[-1]), signal.SIGKILL)
    assert job.wait(timeout=120) != 0
    assert "Signal 9 (SIGKILL)" in place.log.read_text()
    assert place.checkpoint()["iteration"] < together.checkpoint()["iteration"]
    place.train(2, batch_size=1)
    assert place.checkpoint()["iteration"] == together.checkpoint()["iteration"]
    require_equal(place.checkpoint(), together.checkpoint(), 0.0)

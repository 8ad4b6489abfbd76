"""One row of ``benchmarks.training`` in a process of its own: `python -m benchmarks.training_worker JOB` prints a JSON line."""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.multiprocessing.spawn import spawn
from torch.utils.data import DataLoader
from torch.utils.flop_counter import FlopCounterMode

from xct_components.bundle_io.parent_stages import stage_of
from xct_components.data.cases.cases import TrainingCases, case_dataset, load_case, phantom_items
from xct_components.losses.hybrid import HybridLoss
from xct_components.networks.cascade_stage import CascadeStage
from xct_components.training.case_order import CaseOrder
from xct_components.training.kept_volumes import KeptVolumes
from xct_components.training.prepare_batch import PrepareStageBatch
from xct_components.training.processes import across_processes, summed_over_processes
from xct_components.training.stage_step import StageStep
from xct_components.training.statistics import hold_patients, measure_statistics

PHANTOMS = 4
#: Patients that stage 1 holds and bends to each film, as many as the released weights hold; phantoms here.
HELD, FIRST_HELD = 8, 1000
#: What a step is made of, in order.
PARTS = ("data", "prepare", "forward", "backward", "update")


class Training:
    """A stage as its train.json trains it, on phantoms that lie on the disk.

    Args:
        job: ``stage``, ``bundles``, ``configs``, ``batch``, ``column``, ``columns``, ``device``, ``workers``, ``kept`` (whether
            starts are).
        cache_dir: where the phantoms lie.
    """

    def __init__(self, job: dict[str, Any], cache_dir: str) -> None:
        device = torch.device(job["device"])
        bundles, number = Path(job["bundles"]), job["stage"]
        chain = [stage_of(bundles / f"stage{n}", job["configs"]).to(device) for n in range(1, number + 1)]
        document = json.loads((bundles / f"stage{number}" / "configs" / "train.json").read_text(encoding="utf-8"))
        weights = {name: value for name, value in document["loss"].items() if name != "_target_"}
        size = chain[-1].field.shape[0]
        volumes = case_dataset(phantom_items(PHANTOMS, size), cache="disk", cache_dir=cache_dir)
        for index in range(PHANTOMS):
            volumes[index]  # drawn once, read from now on
        cases = TrainingCases(volumes)
        _begin(chain, cases)
        self.device, self.stage = device, chain[-1]
        kept = KeptVolumes(Path(cache_dir) / "starts") if job["kept"] else None
        self.prepare = PrepareStageBatch(self.stage, chain[:-1], column_pixels=job["column"], columns=job["columns"], kept=kept)
        for index in range(PHANTOMS if job["kept"] else 0):
            self.prepare.batch([cases[index]], device)
        step: nn.Module = StageStep(self.stage, depth_target=bool(weights.get("depth_prior")))
        self.step = across_processes(step, device) if job["processes"] > 1 else step
        self.loss = HybridLoss(**weights).to(device)
        self.optimizer = torch.optim.AdamW(self.step.parameters(), lr=1e-5)
        order = CaseOrder(range(PHANTOMS))
        settings = {"batch_size": job["batch"], "num_workers": job["workers"], "collate_fn": list, "drop_last": True}
        self.loader = DataLoader(cases, sampler=order, persistent_workers=job["workers"] > 0, **settings)

    def batches(self) -> Iterator[list[dict[str, Any]]]:
        """Cases for ever."""
        while True:
            yield from self.loader

    def backward(self, cases: list[dict[str, Any]]) -> None:
        """Forward and backward without the clock, for counting."""
        self.loss(self.step(self.prepare.batch(cases, self.device)))["loss"].backward()

    def seconds(self, batches: Iterator[list[dict[str, Any]]]) -> list[float]:
        """Seconds of the ``PARTS`` of one step."""
        marks = [self._now()]
        cases = next(batches)
        marks.append(self._now())
        batch = self.prepare.batch(cases, self.device)
        marks.append(self._now())
        loss = self.loss(self.step(batch))["loss"]
        marks.append(self._now())
        self.optimizer.zero_grad()
        loss.backward()
        marks.append(self._now())
        self.optimizer.step()
        marks.append(self._now())
        return [after - before for before, after in pairwise(marks)]

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()


def main() -> None:
    """Measure the job of the command line."""
    job = json.loads(sys.argv[1])
    with tempfile.TemporaryDirectory() as cache_dir:
        if job["processes"] == 1:
            _measure(0, job, cache_dir)
            return
        spawn(_measure, args=(job, cache_dir), nprocs=job["processes"])


def _measure(rank: int, job: dict[str, Any], cache_dir: str) -> None:
    torch.set_num_threads(job["threads"])
    torch.manual_seed(0)
    if job["processes"] > 1:
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(job["port"])}
        torch.distributed.init_process_group("gloo", rank=rank, world_size=job["processes"])
    training = Training(job, f"{cache_dir}/{rank}")
    batches = training.batches()
    training.seconds(batches)  # the first step allocates
    cpu_s = time.process_time()
    steps = [training.seconds(batches) for _ in range(job["steps"])]
    cpu_s = (time.process_time() - cpu_s) / job["steps"]
    parts = [sum(values) / job["steps"] for values in zip(*steps, strict=True)]
    mean_step_s = summed_over_processes([sum(parts)])[0] / job["processes"]
    samples = job["batch"] * job["columns"]
    report = {
        **{f"{name}_s": seconds for name, seconds in zip(PARTS, parts, strict=True)},
        "samples_per_s": samples * job["processes"] / mean_step_s,
        "cpu_s": cpu_s,
        "waiting": parts[0] / sum(parts),
        "preparing": (parts[0] + parts[1]) / sum(parts),
        "process_mib": _peak_mib(training.device),
        "tflop": _tflop(training, batches) / samples if job["processes"] == 1 else None,
        "params_m": sum(parameter.numel() for parameter in training.stage.parameters()) / 1e6,
    }
    if rank == 0:
        print(json.dumps(report), flush=True)
    if job["processes"] > 1:
        torch.distributed.destroy_process_group()


def _begin(chain: list[CascadeStage], cases: TrainingCases) -> None:
    """Atlases and scales from one phantom, and patients to bend: enough for time and memory."""
    held = [(str(item["case"]), load_case(item)["ct_hu"].float()) for item in phantom_items(HELD, 64, FIRST_HELD)]
    for number, stage in enumerate(chain):
        if number < len(chain) - 1:
            stage.atlas.measure([cases[0]["ct_hu"].float()])
            hold_patients(stage, held if number == 0 else [])
            continue
        measure_statistics(PrepareStageBatch(stage, chain[:-1]), [[cases[0]]], held if number == 0 else [])


def _peak_mib(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0


def _tflop(training: Training, batches: Iterator[list[dict[str, Any]]]) -> float:
    """Of one step's matrix products and convolutions, attention included: that is counted in its plain form alone."""
    cases = next(batches)
    with FlopCounterMode(display=False) as counter, torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        training.backward(cases)
    return counter.get_total_flops() / 1e12


if __name__ == "__main__":
    main()

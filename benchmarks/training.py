"""What training costs: samples per second, memory, and what the time goes into, of every stage as its train.json trains it.

    python -m benchmarks.training [--stages 1,2,3] [--threads 2] [--steps 3] [--workers 0] [--device cpu] [--json out]
    python -m benchmarks.training --full 1 --device cuda

Every row runs in a process of its own, on phantoms that lie on the disk, with random weights and eight phantoms that stage 1
holds and bends. "data" is the time that the loop waits for cases, "prepare" augmentation, films, bent CTs and the frozen stages
before; "waiting" the share of "data" (goal: below 10 %), "preparing" that of both. "starts kept" reads what those stages made
from the disk, as every epoch does once ``case_draws`` epochs are over.
"2 processes" are two processes of half the threads each, as torchrun starts them, joined by gloo. "TFLOP" counts matrix
products, convolutions and attention of one sample, forward, backward and the stages before; the projector is not in it.

The second table is a model and no measurement: the least that the arithmetic of 1000 CTs takes on one H200, TFLOP per sample
over a rate that such networks sustain. Small networks are held up by memory and by starting kernels long before that.
"""

from __future__ import annotations

import argparse
import json
import socket
import sys
from pathlib import Path
from typing import Any

from benchmarks.isolated_process import run_isolated
from benchmarks.machine import describe_machine
from benchmarks.markdown_table import markdown_table

#: Cases of a batch, side of a column and columns of every case: those of the released trainings; a column is a sample.
BATCH, COLUMN, COLUMNS = {1: 4, 2: 2, 3: 1}, {1: 0, 2: 0, 3: 64}, {1: 1, 2: 1, 3: 4}
VOXELS = {1: "64³", 2: "128³", 3: "256³, 4 columns of 64"}
KEYS = {
    "what": "what",
    "params_m": "params [M]",
    "samples_per_s": "samples/s",
    "cpu_s": "CPU s/step",
    "waiting_percent": "waiting [%]",
    "preparing_percent": "preparing [%]",
    "data_s": "data [s]",
    "prepare_s": "prepare [s]",
    "forward_s": "forward [s]",
    "backward_s": "backward [s]",
    "update_s": "update [s]",
    "process_mib": "process [MiB]",
    "tflop": "TFLOP/sample",
    "note": "note",
}
#: Sustained bf16 rate of an H200 on such networks: 12 to 20 % of 990 TF/s dense, as 3-D convolutions of few channels reach.
H200_TFLOPS = 120.0
MODEL_HEADER = ("stage", "epochs", "samples", "TFLOP/sample", "hours on one H200, at least (model)")
CTS, EPOCHS = 1000, {1: 100, 2: 100, 3: 150}
#: Columns of 64 x 64 that cover a film once: a sample of stage 3 trains on one of them.
FULL_COLUMNS = 604 * 512 / 64**2


def main() -> None:
    """Measure, print Markdown tables, and write the figures as JSON if asked to."""
    options = _options()
    rows = []
    for job in _jobs(options):
        figures = run_isolated("benchmarks.training_worker", job, threads=job["threads"], timeout_s=options.timeout)
        if "waiting" in figures:
            figures |= {f"{name}_percent": 100.0 * figures.pop(name) for name in ("waiting", "preparing")}
        rows.append({"what": job["what"], "stage": job["stage"], "kept": job["kept"], **figures})
        print(f"{job['what']}: {figures}", file=sys.stderr)
    machine = describe_machine(["monai"])
    print(markdown_table(list(KEYS.values()), [[row.get(key) for key in KEYS] for row in rows]))
    print("\n" + ", ".join(f"{name} {value}" for name, value in machine.items()))
    print(
        "\n"
        + markdown_table(("stage", "epochs", "samples", "TFLOP/sample", "hours on one H200, at least (model)"), _hours(rows))
    )
    if options.json:
        Path(options.json).write_text(json.dumps({"machine": machine, "rows": rows}, indent=1), encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stages", default="1,2,3")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--workers", type=int, default=0, help="of the data loader")
    parser.add_argument("--full", type=int, default=0, help="1 takes the large networks")
    parser.add_argument("--processes", type=int, default=2, help="1 leaves the rows of several processes out")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--bundles", default="bundles")
    parser.add_argument("--timeout", type=float, default=900.0)
    parser.add_argument("--json", default=None)
    return parser.parse_args()


def _jobs(options: argparse.Namespace) -> list[dict[str, Any]]:
    configs = ["inference.json", "full.json"] if options.full else ["inference.json"]
    shared = {"bundles": options.bundles, "configs": configs, "steps": options.steps, "device": options.device}
    stages = [int(stage) for stage in options.stages.split(",")]
    rows = [(stage, 1, kept) for stage in stages for kept in (False, True)]
    rows += [(1, options.processes, False)] * (1 in stages and options.processes > 1)
    return [
        {
            **shared,
            "stage": stage,
            "workers": options.workers,
            "batch": BATCH[stage] // processes,
            "column": COLUMN[stage],
            "columns": COLUMNS[stage],
            "processes": processes,
            "kept": kept,
            "port": _free_port(),
            "threads": max(1, options.threads // processes),
            "what": f"stage {stage}, {VOXELS[stage]}"
            + (", starts kept" if kept else "")
            + (f", {processes} processes" if processes > 1 else ""),
        }
        for stage, processes, kept in rows
    ]


def _hours(rows: list[dict[str, Any]]) -> list[list[Any]]:
    """Hours of each stage over 1000 CTs; the last also over every column of 512 x 604 x 512."""
    table = []
    for row in rows:
        if not row.get("tflop") or row["kept"]:
            continue
        samples = CTS * EPOCHS[row["stage"]]
        hours = samples * row["tflop"] / H200_TFLOPS / 3600.0
        table.append([row["what"], EPOCHS[row["stage"]], samples, row["tflop"], hours])
        if row["stage"] == 3:
            # twice as deep as 256³, and as many columns as cover the film
            whole = 2.0 * FULL_COLUMNS * row["tflop"]
            table.append(["stage 3, all columns of 512 x 604 x 512", 1, CTS, whole, CTS * whole / H200_TFLOPS / 3600.0])
    return table


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


if __name__ == "__main__":
    main()

"""Our projector beside its peers: `python -m benchmarks.projector` measures all of them in one run and prints the tables.

Everyone solves the same problem: a 360 mm box of voxels, a 430 mm detector, PA, source to detector 1800 mm, source to patient
1600 mm, float32. Each method and size runs in a process of its own with a time limit and a memory limit. A film is held
against the analytic one first, so that a peer that is set up wrongly shows. A method that does not finish a size is not tried
at larger ones. Peers that are not installed are left out: `pip install nanodrr diffdrr itk-rtk`.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from benchmarks.isolated_process import run_isolated
from benchmarks.machine import available_memory_mib, describe_machine, usable_cores
from benchmarks.markdown_table import markdown_table
from benchmarks.projection_problem import problem_of_size
from benchmarks.projector_bars import Bar, Figures, accuracy_bars, speed_bars
from benchmarks.projector_peers import METHODS, Method, choose_methods
from benchmarks.projector_worker import Job

SIZES = "128,256,512x512x133,512x512x604"
#: Accuracy is measured at this size, when it is among the sizes.
ACCURACY_SIZE = "128"
#: A worker may take this share of the memory that is free at the start: a refused allocation ends a row, not the machine.
MEMORY_SHARE = 0.6

SPEED_COLUMNS = {
    "size": "size", "method": "method", "fwd_wall_s": "fwd s", "fwd_cpu_s": "fwd CPU s", "fwd_peak_mib": "fwd MiB",
    "fb_wall_s": "f+b s", "fb_cpu_s": "f+b CPU s", "fb_peak_mib": "f+b MiB", "fb_first_peak_mib": "first f+b MiB",
    "fb_over_gradient": "f+b MiB / gradient", "blob_l2": "blob error", "load": "load", "note": "note",
}  # fmt: skip
ACCURACY_COLUMNS = {
    "method": "method", "truth": "truth", "sphere_l2": "sphere L2", "sphere_max": "sphere max",
    "sphere_interior_l2": "sphere interior", "blob_l2": "blob L2", "blob_max": "blob max",
    "adjoint_itself": "adjoint, y = Ax", "adjoint_random": "adjoint, y random", "no_gradient_128": "no gradient 128²",
    "no_gradient_64": "64²", "no_gradient_32": "32²", "note": "note",
}  # fmt: skip


def measure(method: Method, size: str, kind: str, options: argparse.Namespace) -> Figures:
    """One row: the worker's figures, with the load average of the minute before."""
    load = round(os.getloadavg()[0], 1)
    memory = available_memory_mib()
    limit = int(memory * MEMORY_SHARE) if memory and options.device == "cpu" else 0
    job = Job(kind, method.name, size, options.device, options.threads, options.repeats, limit)
    figures = run_isolated("benchmarks.projector_worker", asdict(job), threads=options.threads, timeout_s=options.timeout)
    row: Figures = {"size": size, "method": method.name, "truth": method.truth, "load": load, **figures}
    if row.get("fb_peak_mib") is not None:
        row["fb_over_gradient"] = row["fb_peak_mib"] / row["gradient_mib"]
    return row


def run(options: argparse.Namespace) -> dict[str, Any]:
    """All rows of the run: {"machine", "speed", "accuracy", "bars"}."""
    methods = choose_methods(options.methods, options.device)
    packages = list(dict.fromkeys(method.package for method in METHODS.values()))
    results: dict[str, Any] = {"machine": describe_machine(packages), "speed": [], "accuracy": []}
    results["machine"] |= {"device": options.device, "threads": options.threads}
    given_up: dict[str, Figures] = {}
    sizes = sorted(options.sizes, key=lambda size: math.prod(problem_of_size(size).grid.shape))
    jobs = [("accuracy", ACCURACY_SIZE, method) for method in methods if ACCURACY_SIZE in sizes]
    jobs += [("speed", size, method) for size in sizes for method in methods]
    for number, (kind, size, method) in enumerate(jobs, start=1):
        failed = given_up.get(method.name)
        if failed is not None and failed.get("absent"):
            continue
        row = _row_not_tried(method, size, failed) if failed else measure(method, size, kind, options)
        print(f"[{number}/{len(jobs)}] {kind} {size} {method.name}: {_summary(row)}", file=sys.stderr, flush=True)
        if row.get("absent") or (kind == "speed" and row.get("note")):
            given_up.setdefault(method.name, row)
        if not row.get("absent"):
            results[kind].append(row)
    bars = speed_bars(results["speed"], options.device) + accuracy_bars(results["accuracy"], ACCURACY_SIZE)
    results["bars"] = [asdict(bar) | {"verdict": bar.verdict} for bar in bars]
    return results


def _row_not_tried(method: Method, size: str, failed: Figures) -> Figures:
    """The row of a method that did not finish a smaller size."""
    return {"size": size, "method": method.name, "truth": method.truth, "note": f"not tried, see {failed['size']}"}


def as_markdown(results: dict[str, Any]) -> str:
    """The run as a header line and up to three tables."""
    parts = [" · ".join(f"{name} {value}" for name, value in results["machine"].items() if value is not None)]
    for title, key, columns in (("Speed and memory", "speed", SPEED_COLUMNS), ("Accuracy", "accuracy", ACCURACY_COLUMNS)):
        if results[key]:
            rows = [[row.get(column) for column in columns] for row in results[key]]
            parts.append(f"### {title}\n\n{markdown_table(list(columns.values()), rows)}")
    if results["bars"]:
        bars = [Bar(**{name: value for name, value in bar.items() if name != "verdict"}) for bar in results["bars"]]
        rows = [[bar.size, bar.what, f"{bar.value:.4g}", bar.asked, bar.verdict] for bar in bars]
        parts.append(f"### The bar\n\n{markdown_table(['size', 'figure', 'measured', 'asked', 'verdict'], rows)}")
    return "\n\n".join(parts)


def parse_options(arguments: list[str]) -> argparse.Namespace:
    """The command line."""
    families = list(dict.fromkeys(name.split("_")[0] for name in METHODS))
    parser = argparse.ArgumentParser(prog="python -m benchmarks.projector", description=__doc__.split("\n\n")[0])
    add = parser.add_argument
    add("--sizes", type=_names, default=_names(SIZES), help=f"comma-separated; n or columns x rows x slices ({SIZES})")
    add("--methods", type=_names, default=families, help=f"comma-separated names or families ({','.join(families)})")
    add("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    add("--threads", type=int, default=usable_cores(), help="CPU threads of every method (all usable cores)")
    add("--repeats", type=int, default=5, help="least number of calls per figure; slow calls are made once (5)")
    add("--timeout", type=float, default=180.0, help="seconds for each method and size (180)")
    add("--json", type=Path, help="also write all figures here")
    add("--markdown", type=Path, help="also write the tables here")
    options = parser.parse_args(arguments)
    try:
        choose_methods(options.methods, options.device)
        for size in options.sizes:
            problem_of_size(size)
    except ValueError as wrong:
        parser.error(str(wrong))
    return options


def main(arguments: list[str]) -> None:
    """Measure, print the tables, and write the files that were asked for."""
    options = parse_options(arguments)
    results = run(options)
    print(as_markdown(results))
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")
    if options.markdown:
        options.markdown.write_text(as_markdown(results) + "\n")


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _summary(row: Figures) -> str:
    shown = [f"{label} {row[key]:.4g}" for key, label in (("fwd_cpu_s", "fwd CPU s"), ("fb_cpu_s", "f+b CPU s")) if key in row]
    if "blob_l2" in row:
        shown.append(f"blob error {row['blob_l2']:.2e}")
    return ", ".join(shown + ([row["note"]] if row.get("note") else []))


if __name__ == "__main__":
    main(sys.argv[1:])

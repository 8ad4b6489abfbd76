"""What a film costs: seconds, process-CPU seconds and peak memory of every stage, beside MONAI's diffusion UNet.

    python -m benchmarks.sampling [--sizes 64,128,256,full] [--steps 4] [--threads 2] [--bundles bundles] [--json out.json]
    python -m benchmarks.sampling --sizes full --rows mean,sample --timeout 3600

The second command is 512 x 604 x 512 voxels in columns; --rows takes some of evaluation, mean, sample and cascade.

Every row runs in a process of its own. "evaluation" is one call of the denoiser on the whole volume, "stage" all that turns a
film into the stage's volume (bent CTs or prior, conditions, consistency; one evaluation for the mean, --steps for a sample),
"all stages" the whole way from the film there, with the released weights and the standard deviation. The peers are
MONAI's DiffusionModelUNet with about as many parameters as our stage, and with the same channels; they see the same four input
channels, attend at their coarsest level, and are timed for one evaluation on random weights, in float32 and under the same
bfloat16 autocast as ours. "peak" is what the call took beyond the process with its inputs, "process" the most that the
process ever held, libraries included. The weights of single stages are random ones: time and memory do not depend on them; the
first bends eight phantoms.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.isolated_process import run_isolated
from benchmarks.machine import describe_machine
from benchmarks.markdown_table import markdown_table

#: Stage and volume (D, H, W) of every size.
SIZES: dict[str, tuple[int, tuple[int, int, int]]] = {
    "64": (1, (64, 64, 64)),
    "128": (2, (128, 128, 128)),
    "256": (3, (256, 256, 256)),
    "full": (3, (512, 604, 512)),
}
#: Channels of MONAI's DiffusionModelUNet: about as many parameters as our stage, and our channels. At 256³ its attention, at
#: half resolution with so few levels, would compare two million tokens with each other.
PEERS: dict[str, dict[str, tuple[int, ...]]] = {
    "64": {"equal parameters": (32, 64, 128), "equal channels": (32, 96, 256)},
    "128": {"equal parameters": (32, 64, 128), "equal channels": (16, 48, 96, 256)},
}
HEADER = ("size", "what", "params [M]", "wall [s]", "CPU [s]", "peak [MiB]", "process [MiB]", "note")
ROWS = ("evaluation", "mean", "sample", "cascade")


def main() -> None:
    """Measure, print a Markdown table, and write the figures as JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="64,128,256")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--timeout", type=float, default=900.0)
    parser.add_argument("--bundles", default="bundles")
    parser.add_argument("--rows", type=_rows, default=ROWS, help="some of " + ",".join(ROWS))
    parser.add_argument("--peers", type=int, default=1, help="0 leaves MONAI's UNet out")
    parser.add_argument("--json", default=None)
    options = parser.parse_args()
    rows = []
    for size in options.sizes.split(","):
        for job in _jobs(size, options):
            figures = run_isolated("benchmarks.sampling_worker", job, threads=options.threads, timeout_s=options.timeout)
            rows.append({"size": size, "what": job["what"], **figures})
            print(f"{size} {job['what']}: {figures}", file=sys.stderr)
    machine = describe_machine(["monai"])
    print(markdown_table(HEADER, [[row.get(key) for key in _KEYS] for row in rows]))
    print("\n" + ", ".join(f"{name} {value}" for name, value in machine.items()))
    if options.json:
        Path(options.json).write_text(json.dumps({"machine": machine, "rows": rows}, indent=1), encoding="utf-8")


_KEYS = ("size", "what", "params_m", "wall_s", "cpu_s", "peak_mib", "process_mib", "note")


def _rows(text: str) -> tuple[str, ...]:
    rows = tuple(text.split(","))
    if set(rows) - set(ROWS):
        raise argparse.ArgumentTypeError(f"must be some of {', '.join(ROWS)} with commas between, got {text!r}")
    return rows


def _jobs(size: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    stage, shape = SIZES[size]
    common = {"stage": stage, "shape": shape, "bundles": options.bundles, "threads": options.threads}
    what = {
        "evaluation": "one evaluation",
        "mean": "stage, mean",
        "sample": f"stage, sample of {options.steps} steps",
        "cascade": "all stages, mean",
    }
    jobs = [{**common, "kind": "ours", "what": f"xct: {what[row]}", "row": row, "steps": options.steps} for row in options.rows]
    for name, channels in PEERS.get(size, {}).items() if options.peers else ():
        for precision in ("fp32", "bf16"):
            peer = f"MONAI UNet {channels}, {name}, {precision}: one evaluation"
            jobs.append({**common, "kind": "monai", "what": peer, "channels": channels, "precision": precision})
    return jobs


if __name__ == "__main__":
    main()

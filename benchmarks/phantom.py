"""The procedural thorax: how fast, and how like real chests.

`python -m benchmarks.phantom` measures phantoms per second of processor time on one thread at 64^3 and 128^3. With
`--data FOLDER` (every CT or DICOM folder in it is one patient) and `--output DIR` it also writes contact sheets of phantoms
and of the CTs, and prints the sizes and HU of both, measured alike, beside published figures; and organ by organ HU histograms.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.folder_of_cts import read_cts
from benchmarks.machine import describe_machine
from benchmarks.markdown_table import markdown_table
from benchmarks.organ_hu import organ_quantiles, organ_table
from benchmarks.phantom_measures import SPACING_MM, VOXELS, chest_of_ct, measures, summary
from benchmarks.phantom_sheet import write_sheet
from xct_components.data.phantom import draw_thorax, random_thorax, render_thorax
from xct_components.geometry import VolumeGrid

#: Sizes that are timed, and the phantoms rendered for it.
TIMED = {64: 8, 128: 3}
ROWS_PER_SHEET = 5
#: Published figures for the same measures (see docs/phantom.md).
LITERATURE = {
    "lung volume, ml": "4468 +- 1271 (supine CT, Cheng 2019)",
    "cardiothoracic ratio": "< 0.5 in most healthy adults",
}


def seconds_per_phantom(voxels: int, count: int) -> float:
    """Processor time for one random phantom on one thread, drawing included; one is made before the clock starts."""
    grid = VolumeGrid.chest((voxels,) * 3, 320.0 / voxels)
    random_thorax(0, grid)
    start = time.process_time()
    for seed in range(1, count + 1):
        random_thorax(seed, grid)
    return (time.process_time() - start) / count


def phantoms(count: int) -> Iterator[tuple[str, Tensor]]:
    """Title and HU of random adults on the measuring grid."""
    grid = VolumeGrid.chest((VOXELS,) * 3, SPACING_MM)
    for seed in range(count):
        generator = torch.Generator().manual_seed(seed)
        who = draw_thorax(generator)
        title = f"phantom {seed}: {who.sex}, {who.age_years:.0f} y, BMI {who.bmi:.0f}, breath {who.breath:.2f}"
        yield title, render_thorax(who, grid, generator).ct_hu[0, 0]


def real_chests(folders: list[Path]) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Name, HU and scanned voxels of every CT in the folders."""
    for name, ct_hu, grid in read_cts(folders):
        yield name, *chest_of_ct(ct_hu, grid)


def write_sheets(chests: list[tuple[str, Tensor]], folder: Path, name: str) -> None:
    """As many sheets as the chests need."""
    for first in range(0, len(chests), ROWS_PER_SHEET):
        write_sheet(chests[first : first + ROWS_PER_SHEET], folder / f"{name}_{first // ROWS_PER_SHEET}.png", SPACING_MM)


def comparison_table(made: list[dict[str, float]], real: list[dict[str, float]]) -> str:
    """Mean and range of every measure, phantoms beside CTs."""
    of_made, of_real = summary(made), summary(real) if real else {}
    rows = [
        [name, _with_range(of_made[name]), _with_range(of_real[name]) if of_real else None, LITERATURE.get(name)]
        for name in of_made
    ]
    return markdown_table(["measure", f"{len(made)} phantoms", f"{len(real)} CTs", "published"], rows)


def _with_range(figures: tuple[float, float, float]) -> str:
    return "{} ({} to {})".format(*(f"{figure:.2f}" if abs(figure) < 2.0 else f"{figure:.0f}" for figure in figures))


def main(arguments: list[str]) -> None:
    """Time, compare, print, and write the files that were asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.phantom", description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "--data", type=Path, nargs="+", default=[], help="folders; every file or DICOM folder in them is one CT"
    )
    parser.add_argument("--output", type=Path, help="folder for the contact sheets and figures.json")
    parser.add_argument("--phantoms", type=int, default=20, help="how many phantoms are compared")
    options = parser.parse_args(arguments)
    missing = [str(folder) for folder in options.data if not folder.is_dir()]
    if missing:
        parser.error(f"--data must name folders with CTs, got {', '.join(missing)}")
    torch.set_num_threads(1)  # what is measured is one core
    results: dict[str, Any] = {"machine": describe_machine(["xct-components"])}
    results["seconds"] = {voxels: seconds_per_phantom(voxels, count) for voxels, count in TIMED.items()}
    rows = [[f"{voxels}^3", seconds, 1.0 / seconds] for voxels, seconds in results["seconds"].items()]
    print(markdown_table(["grid", "s per phantom", "phantoms per s and core"], rows), flush=True)
    made = list(phantoms(options.phantoms))
    real = list(real_chests(options.data))
    everywhere = torch.ones((VOXELS,) * 3, dtype=torch.bool)
    results["phantoms"] = [measures(hu, everywhere) for _, hu in made]
    results["cts"] = [measures(hu, scanned) for _, hu, scanned in real]
    print("\n" + comparison_table(results["phantoms"], results["cts"]))
    if real:
        organs = [organ_quantiles(hu, everywhere) for _, hu in made], [organ_quantiles(hu, scanned) for _, hu, scanned in real]
        print("\n" + organ_table(*organs))
    if options.output:
        options.output.mkdir(parents=True, exist_ok=True)
        write_sheets(made, options.output, "phantoms")
        write_sheets([(name, hu) for name, hu, _ in real], options.output, "cts")
        (options.output / "figures.json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])

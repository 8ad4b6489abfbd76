"""Columns against one piece: how far the released weights' mean lies apart when the volume is cut into columns.

    python -m benchmarks.columns [--sizes 128,256] [--overlaps 0,16,32,48,80] [--stages 2,3] [--bundles bundles]
                                 [--picture seams.png] [--json out.json]

A phantom (--seed) is exposed to the cascade's PA beam. The stages before run once; then the stage's mean is computed in one
piece and in columns, both consistent with the film. At 128³ columns are 64 wide, at 256³ 128; what is not wide enough for an
overlap is left out. The volume is 320 mm wide: at 128³ stage 3 gets voxels of 2.5 mm instead of its 1.25. Overlap 0 puts the
columns side by side. |Difference| in HU over all voxels, and "shared" over those that lie in more than one column; "step" is
the largest change of the difference between neighbouring voxels of a film row or column, what an eye would see as a seam. The
picture shows, for every row of the table, the mean along the rays and the coronal and axial slices through the largest.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks.machine import describe_machine
from benchmarks.markdown_table import markdown_table
from xct_components.cascade import UnifiedHybridViTCascade
from xct_components.data.phantom import random_thorax
from xct_components.geometry import VolumeGrid, chest_beam_covering
from xct_components.inferers.column_reach import column_reach, window_alignment
from xct_components.inferers.columns import ColumnWindow, column_windows
from xct_components.inferers.stage import StageInferer
from xct_components.inferers.stage_work import StageWork
from xct_components.networks.cascade_stage import CascadeStage
from xct_components.networks.hybrid_vit_unet import HybridViTUNet
from xct_components.physics.attenuation import hu_to_mu_per_mm
from xct_components.physics.projector import project

FIELD_MM = 320.0
#: Side of the columns at each size.
COLUMNS = {128: 64, 256: 128}
#: What the project asks of the default overlap, in HU.
ASKED_HU = 2.0
HEADER = (
    *("stage", "size", "column", "overlap", "columns"),
    *("max [HU]", "mean [HU]", "max shared [HU]", "mean shared [HU]", "step [HU]"),
)


class Seams(NamedTuple):
    """One way of cutting: its figures in the order of ``HEADER``, and columns minus one piece (D, H, W) in HU."""

    title: str
    figures: tuple[Any, ...]
    difference_hu: Tensor


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print a Markdown table, write picture and JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="128,256")
    parser.add_argument("--overlaps", default="0,16,32,48,80")
    parser.add_argument("--stages", default="2,3")
    parser.add_argument("--bundles", default=None)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--picture", type=Path, default=None)
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args(arguments)
    sizes, overlaps, stages = (list(map(int, text.split(","))) for text in (options.sizes, options.overlaps, options.stages))
    cascade = UnifiedHybridViTCascade.from_pretrained(options.bundles, stages=max(stages)).stages
    found = [
        one
        for stage in stages
        for size in sizes
        if size == 128 or stage == 3  # stage 2 ends at 128³
        for one in seams(cascade[:stage], size, COLUMNS[size], overlaps, options.seed)
    ]
    print(markdown_table(HEADER, [one.figures for one in found]))
    machine = describe_machine(["monai"])
    print("\n" + ", ".join(f"{name} {value}" for name, value in machine.items()))
    if options.picture:
        write_picture(found, options.picture)
    if options.json:
        rows = [dict(zip(HEADER, one.figures, strict=True)) for one in found]
        options.json.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1), encoding="utf-8")


@torch.no_grad()
def seams(cascade: Sequence[CascadeStage], size: int, column: int, overlaps: Sequence[int], seed: int) -> list[Seams]:
    """What cutting does to the mean of the last stage at ``size``³ voxels of a phantom, for each overlap.

    Args:
        cascade: the stages, first one first.
        size: voxels along each side of the volume.
        column: side of the columns in voxels.
        overlaps: of neighbours in voxels; 0 butts them against each other.
        seed: of the phantom.
    """
    network, infer = cascade[-1].network, StageInferer()
    work = prepared(cascade, size, seed)
    whole = infer.mean(work)
    results = []
    for overlap in (one for one in overlaps if one < column):
        windows = cut(work.size, column, overlap, network)
        difference_hu = (infer.mean(replace(work, windows=windows, kept={})) - whole)[0, 0]
        apart, shared = difference_hu.abs(), shared_rays(windows, work.size)
        inside = apart[:, shared]
        figures = (
            *(float(apart.max()), float(apart.mean())),
            *((float(inside.max()), float(inside.mean())) if inside.numel() else (None, None)),
            max(float(difference_hu.diff(dim=axis).abs().max()) for axis in (1, 2)),
        )
        title = f"stage {len(cascade)} at {size}³, overlap {overlap}"
        results.append(Seams(title, (len(cascade), f"{size}³", column, overlap, len(windows), *figures), difference_hu))
    return results


def prepared(cascade: Sequence[CascadeStage], size: int, seed: int) -> StageWork:
    """The last stage on a phantom's film, after the stages before it, in one piece."""
    field = VolumeGrid.chest((size,) * 3, FIELD_MM / size)
    truth_hu = random_thorax(seed, field).ct_hu.float()
    beams = [[chest_beam_covering(field, "PA", size, size)]]
    film = project(hu_to_mu_per_mm(truth_hu), field, beams)
    coarse: Tensor | None = None
    for stage in cascade[:-1]:
        coarse = StageInferer()(film, stage, beams=beams, coarse_hu=coarse).volume_hu
    return StageInferer().prepared(film, cascade[-1], fields=[field], beams=beams, coarse_hu=coarse)


def cut(size: tuple[int, int, int], column: int, overlap: int, network: HybridViTUNet) -> list[ColumnWindow]:
    """The columns that the inferer would take; for overlap 0, which it refuses, columns side by side."""
    if overlap:
        how = {"alignment": window_alignment(network), "reach": column_reach(network)}
        return column_windows(size, column, overlap, multiple=network.coarsest, **how)
    rows, cols = ([slice(start, min(start + column, n)) for start in range(0, n, column)] for n in (size[1], size[2]))
    return [ColumnWindow(r, c, torch.ones(r.stop - r.start, c.stop - c.start)) for r in rows for c in cols]


def shared_rays(windows: Sequence[ColumnWindow], size: tuple[int, int, int]) -> Tensor:
    """(H, W) rays that lie in more than one column; none for columns side by side."""
    columns = torch.zeros(size[1:])
    for window in windows:
        columns[window.rows, window.cols] += 1.0
    return columns > 1.0


def write_picture(found: Sequence[Seams], path: Path) -> None:
    """One row per way of cutting: mean |difference| along the rays, and a coronal and an axial slice through the largest."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 3.0 * len(found)), layout="constrained")
    for row, one in enumerate(found):
        d, h, _ = (int(place) for place in torch.unravel_index(one.difference_hu.abs().argmax(), one.difference_hu.shape))
        pictures = {
            "mean |difference| along rays": one.difference_hu.abs().mean(0),
            f"coronal slice {d}": one.difference_hu[d],
            f"axial slice {h}": one.difference_hu[:, h],
        }
        for place, (title, picture) in enumerate(pictures.items()):
            axes = figure.add_subplot(len(found), 3, 3 * row + place + 1)
            signed: dict[str, Any] = {"cmap": "coolwarm", "vmin": -ASKED_HU, "vmax": ASKED_HU}
            look = signed if place else {"cmap": "magma", "vmin": 0.0}
            figure.colorbar(axes.imshow(picture.numpy(), **look), ax=axes, shrink=0.8)
            axes.set_title(f"{one.title}:\n{title}" if place == 0 else title, fontsize=7, loc="left")
            axes.axis("off")
    figure.savefig(path, dpi=80)


if __name__ == "__main__":
    main()

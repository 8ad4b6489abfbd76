"""What the standard deviation of samples tells about the error: how wide it is to be pooled, and how far it falls short.

    python -m benchmarks.deviation --prepared PREPARED [--bundles bundles] [--stages 2] [--samples 4] [--steps 4]
    python -m benchmarks.deviation --work WORK       # the folds of benchmarks.cross_validation: all patients, none seen

Each CT of the side ``val`` is exposed to the cascade's own PA beam. The deviation of the samples, pooled over each width, is
held against the error of the one-step mean in the body: Spearman's rank correlation, the share of voxels within 1.645
deviations (0.9 if the deviation is right), and the factor that would make it 0.9.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.held_out import BODY_HU, filled, spearman
from benchmarks.markdown_table import markdown_table
from xct_components.cascade import UnifiedHybridViTCascade
from xct_components.data.cases.cases import load_case, prepared_items
from xct_components.geometry import VolumeGrid, chest_beam_covering
from xct_components.inferers.pooled_deviation import POOLED_MM, pooled_deviation
from xct_components.inferers.stage import StageInferer
from xct_components.networks.explained_volume import HIGHEST_HU, LOWEST_HU
from xct_components.physics.attenuation import hu_to_mu_per_mm
from xct_components.physics.projector import project

WIDTHS_MM = (0.0, 2.5, POOLED_MM, 10.0, 15.0)
#: Normal quantile of a central interval of 90 %.
Z90 = 1.6449
Found = dict[tuple[int, float], tuple[float, float, float]]


def main() -> None:
    """Print a table of the means over patients, and each patient's factor at the width in use."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prepared")
    parser.add_argument("--bundles", default=None)
    parser.add_argument("--work", default=None)
    parser.add_argument("--stages", type=int, default=2)
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--steps", type=int, default=4)
    options = parser.parse_args()
    if (options.prepared is None) == (options.work is None):
        parser.error("give --prepared, or --work with the folds of benchmarks.cross_validation")
    patients: dict[str, Found] = {}
    with torch.no_grad():
        for prepared, bundles in _sides(options):
            cascade = UnifiedHybridViTCascade.from_pretrained(bundles, stages=options.stages)
            for item in prepared_items(prepared, "val", 64):
                patients[str(item["case"])] = _of_patient(cascade, prepared, str(item["case"]), options)
    means: dict[tuple[int, float], list[tuple[float, float, float]]] = defaultdict(list)
    for found in patients.values():
        for key, figures in found.items():
            means[key].append(figures)
    rows = [
        [size, width, *(f"{sum(column) / len(column):.3f}" for column in zip(*figures, strict=True))]
        for (size, width), figures in sorted(means.items())
    ]
    print(f"mean of {len(patients)} patients, {options.samples} samples of {options.steps} steps\n")
    print(markdown_table(["size", "pooled over mm", "Spearman", "within 1.645 std", "factor to 0.9"], rows))
    sizes = sorted({size for size, _ in means})
    print(f"\nfactor to 0.9 of each patient, pooled over {POOLED_MM:g} mm\n")
    table = [[case, *(f"{found[size, POOLED_MM][2]:.2f}" for size in sizes)] for case, found in patients.items()]
    print(markdown_table(["patient", *map(str, sizes)], table))


def _sides(options: argparse.Namespace) -> Iterator[tuple[str, str | None]]:
    """(prepared folder, bundles) to judge."""
    if options.work is None:
        yield options.prepared, options.bundles
        return
    for fold in sorted(Path(options.work).glob("fold*")):
        yield str(fold / "prepared"), str(fold / "bundles")


def _of_patient(cascade: UnifiedHybridViTCascade, prepared: str, case: str, options: argparse.Namespace) -> Found:
    found: Found = {}
    mean_hu: Tensor | None = None
    drawn: list[Tensor | None] = [None] * options.samples
    for stage in cascade.stages:
        size = stage.field.shape[0]
        item = next(item for item in prepared_items(prepared, "val", size) if item["case"] == case)
        loaded = load_case(item)
        truth, grid = loaded["ct_hu"].float().clamp(LOWEST_HU, HIGHEST_HU), VolumeGrid.from_json(loaded["grid"])
        beams = [[chest_beam_covering(grid, "PA", *stage.film_shape)]]
        film = project(hu_to_mu_per_mm(truth), grid, beams[0])
        mean_hu = StageInferer()(film, stage, coarse_hu=mean_hu, fields=[grid], beams=beams).volume_hu
        one = StageInferer(mode="sample", steps=options.steps)
        drawn = [
            one(film, stage, coarse_hu=coarse, chain=chain, fields=[grid], beams=beams).volume_hu
            for chain, coarse in enumerate(drawn)
        ]
        std = torch.stack([sample for sample in drawn if sample is not None]).std(0)
        body = filled(truth > BODY_HU)
        error = (mean_hu - truth).abs()[body]
        for width in WIDTHS_MM:
            pooled = std if width == 0.0 else pooled_deviation(std, grid.spacing_mm, width)
            found[size, width] = _figures(error, pooled[body])
    return found


def _figures(error: Tensor, std: Tensor) -> tuple[float, float, float]:
    """Spearman, share within 1.645 deviations, and the factor that makes the share 0.9."""
    ratio = error / std.clamp_min(1e-3)
    factor = float(ratio.kthvalue(int(0.9 * ratio.numel())).values) / Z90
    return spearman(std, error), float((ratio < Z90).float().mean()), factor


if __name__ == "__main__":
    main()

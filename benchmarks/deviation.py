"""What samples of so many steps are worth, and what their deviation tells of the error: how wide to pool, how far it is short.

    python -m benchmarks.deviation --prepared PREPARED [--bundles bundles] [--stages 2] [--samples 4] [--steps 1,2,4,8]
    python -m benchmarks.deviation --work WORK [--keep bundles]    # the folds of benchmarks.cross_validation: none was seen

Each CT of the side ``val`` is exposed as ``xct evaluate`` does it. First the errors over the whole field of the one-step mean,
of one sample, and of the samples' mean. Then the deviation of the samples, pooled over each width, against the error of the
one-step mean in the body: Spearman's rank correlation, the share of voxels within 1.645 deviations (0.9 is right), the factor
that makes it 0.9. At the width in use: the share within so many deviations if each patient's are multiplied by the mean factor
of all *others*; and by tissue, as the mean shows it. ``--keep`` writes the mean factors into stageN/models/model.json of a
folder of bundles, trained as those of the folds were; ``--lateral`` gives two films.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from benchmarks.markdown_table import markdown_table
from xct_components.cascade import UnifiedHybridViTCascade
from xct_components.evaluation.deviation_check import keep_factor
from xct_components.evaluation.held_out_case import HeldOutCase, cases_of_side, held_out_case
from xct_components.inferers.pooled_deviation import POOLED_MM, pooled_deviation
from xct_components.inferers.stage import StageInferer
from xct_components.metrics.image import mae_hu, rmse_hu
from xct_components.metrics.regions import chest_regions
from xct_components.metrics.uncertainty import coverage_90, error_correlation, width_ratio_90
from xct_components.networks.deviation_factors import MeasuredFactor

WIDTHS_MM = (0.0, 2.5, POOLED_MM, 10.0, 15.0)
#: Half widths in deviations of the central intervals of a Gaussian that hold so much.
INTERVALS = {0.5: 0.6745, 0.68: 0.9945, 0.9: 1.6449, 0.95: 1.96}
#: Ranges of HU, in the mean that the cascade gives.
TISSUES = {"lung": (-1024.0, -500.0), "between": (-500.0, -150.0), "soft tissue": (-150.0, 150.0), "bone": (150.0, 1500.0)}


class Errors(NamedTuple):
    """One patient at one size and number of steps, voxels of the body: error, pooled deviation and mean in HU.

    ``figures``: by width, Spearman, coverage and factor. ``scores``: by volume, RMSE and MAE in HU over the whole field.
    """

    error: np.ndarray
    std: np.ndarray
    mean: np.ndarray
    figures: dict[float, tuple[float, float, float]]
    scores: dict[str, tuple[float, float]]


Key = tuple[int, int]
Patients = dict[str, dict[Key, Errors]]


def main() -> None:
    """Print the tables; keep the factors if asked to."""
    options = _options()
    steps = [int(count) for count in options.steps.split(",")]
    patients: Patients = {}
    for prepared, bundles in _sides(options):
        cascade = UnifiedHybridViTCascade.from_pretrained(bundles, stages=options.stages)
        for name in cases_of_side(prepared, "val", [stage.field.shape[0] for stage in cascade.stages]):
            case = held_out_case(prepared, "val", name, cascade.stages, lateral=options.lateral)
            patients[name] = {
                key: found for count in steps for key, found in _of_patient(cascade, case, options.samples, count)
            }
    print(f"mean of {len(patients)} patients, {options.samples} samples\n")
    _print_scores(patients)
    _print_widths(patients)
    _print_left_out(patients)
    _print_tissues(patients)
    if options.keep is not None:
        for number, size in enumerate(sorted({size for size, _ in next(iter(patients.values()))}), start=1):
            for count in steps:
                factor = float(np.mean(list(_factors(patients, (size, count)).values())))
                weights = Path(options.keep) / f"stage{number}" / "models" / "model.pt"
                keep_factor(weights, MeasuredFactor(count, factor, len(patients)))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prepared")
    parser.add_argument("--bundles", default=None)
    parser.add_argument("--work", default=None)
    parser.add_argument("--stages", type=int, default=2)
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--steps", default="1,2,4,8")
    parser.add_argument("--lateral", action="store_true")
    parser.add_argument("--keep", default=None)
    options = parser.parse_args()
    if (options.prepared is None) == (options.work is None):
        parser.error("give --prepared, or --work with the folds of benchmarks.cross_validation")
    return options


def _sides(options: argparse.Namespace) -> Iterator[tuple[Path, str | None]]:
    """(prepared folder, bundles) to judge."""
    if options.work is None:
        yield Path(options.prepared), options.bundles
        return
    for fold in sorted(Path(options.work).glob("fold*")):
        yield fold / "prepared", str(fold / "bundles")


@torch.no_grad()
def _of_patient(cascade: UnifiedHybridViTCascade, case: HeldOutCase, samples: int, steps: int) -> Iterator[tuple[Key, Errors]]:
    """Stage after stage: chains of samples beside the chain of means."""
    mean_hu: Tensor | None = None
    coarse: list[Tensor | None] = [None] * samples
    one, film, beams = StageInferer(mode="sample", steps=steps), case.film.line_integrals, [case.film.beams]
    for stage in cascade.stages:
        size = stage.field.shape[0]
        fields, truth = [case.fields[size]], case.truth_hu[size]
        mean_hu = StageInferer()(film, stage, coarse_hu=mean_hu, fields=fields, beams=beams).volume_hu
        settings: dict[str, Any] = {"fields": fields, "beams": beams}
        drawn = [one(film, stage, coarse_hu=coarse[k], chain=k, **settings).volume_hu for k in range(samples)]
        coarse, variance = list(drawn), torch.stack(drawn).var(0)
        shown = {"mean mode": mean_hu, "one sample": drawn[0], "mean of the samples": torch.stack(drawn).mean(0)}
        scores = {name: _scores(volume, truth) for name, volume in shown.items()}
        body = chest_regions(truth[0, 0].numpy(), fields[0]).body_on(fields[0].shape)
        figures: dict[float, tuple[float, float, float]] = {}
        for width in WIDTHS_MM:
            std = variance.sqrt() if width == 0.0 else pooled_deviation(variance, fields[0].spacing_mm, width)
            volumes = [volume[0, 0].numpy() for volume in (mean_hu, std.clamp_min(1e-3), truth)]
            mean, deviation, true = volumes
            figures[width] = (
                error_correlation(mean, deviation, true, body),
                coverage_90(mean, deviation, true, body),
                width_ratio_90(mean, deviation, true, body),
            )
            if width == POOLED_MM:
                kept = (np.abs(mean - true)[body], deviation[body], mean[body])
        yield (size, steps), Errors(*kept, figures=figures, scores=scores)


def _scores(volume: Tensor, truth: Tensor) -> tuple[float, float]:
    predicted, expected = volume[0, 0].numpy(), truth[0, 0].numpy()
    return rmse_hu(predicted, expected), mae_hu(predicted, expected)


def _print_scores(patients: Patients) -> None:
    rows = []
    for size, steps in next(iter(patients.values())):
        for name in next(iter(patients.values()))[size, steps].scores:
            means = np.mean([found[size, steps].scores[name] for found in patients.values()], axis=0)
            rows.append([size, steps, name, *(f"{value:.1f}" for value in means)])
    print(markdown_table(["size", "steps", "volume", "RMSE HU", "MAE HU"], rows) + "\n")


def _factors(patients: Patients, key: Key) -> dict[str, float]:
    return {name: found[key].figures[POOLED_MM][2] for name, found in patients.items()}


def _print_widths(patients: Patients) -> None:
    rows = []
    for size, steps in next(iter(patients.values())):
        for width in WIDTHS_MM:
            means = np.mean([found[size, steps].figures[width] for found in patients.values()], axis=0)
            rows.append([size, steps, width, *(f"{value:.3f}" for value in means)])
    print(markdown_table(["size", "steps", "pooled over mm", "Spearman", "within 1.645 std", "factor to 0.9"], rows))


def _print_left_out(patients: Patients) -> None:
    """What a patient meets whose factor was measured on others."""
    rows = []
    for size, steps in next(iter(patients.values())):
        factors = _factors(patients, (size, steps))
        shares = []
        for name, found in patients.items():
            others = [factor for other, factor in factors.items() if other != name]
            if others:
                ratio = found[size, steps].error / (np.mean(others) * found[size, steps].std)
                shares.append([float(np.mean(ratio <= half)) for half in INTERVALS.values()])
        each = " ".join(f"{factor:.2f}" for factor in factors.values())
        means = [f"{share:.3f}" for share in np.mean(shares, axis=0)] if shares else ["-"] * len(INTERVALS)
        rows.append([size, steps, f"{np.mean(list(factors.values())):.2f}", each, *means])
    heads = [f"within {share:.0%}" for share in INTERVALS]
    print(f"\nfactor, and coverage of each patient with the factor of the others ({', '.join(patients)})\n")
    print(markdown_table(["size", "steps", "factor", "of each patient", *heads], rows))


def _print_tissues(patients: Patients) -> None:
    rows = []
    for size, steps in next(iter(patients.values())):
        factor = float(np.mean(list(_factors(patients, (size, steps)).values())))
        for tissue, (low, high) in TISSUES.items():
            chosen = []
            for found in patients.values():
                error, std, mean = found[size, steps][:3]
                inside = (mean >= low) & (mean < high)
                stated = factor * std[inside]
                chosen.append(
                    [np.mean(error[inside] <= INTERVALS[0.9] * stated), stated.mean(), np.sqrt(np.mean(error[inside] ** 2))]
                )
            share, stated_hu, rmse_hu = np.mean(chosen, axis=0)
            rows.append([size, steps, tissue, f"{share:.3f}", f"{stated_hu:.0f}", f"{rmse_hu:.0f}"])
    print("\nwith the factor of all, by what the mean shows\n")
    print(markdown_table(["size", "steps", "tissue", "within 90%", "std HU", "RMSE HU"], rows))


if __name__ == "__main__":
    main()

"""What bent CTs and samples tell of the error, and how far errors go beyond it; what samples of so many steps are worth.

    python -m benchmarks.deviation --prepared PREPARED [--bundles bundles] [--stages 2] [--samples 4] [--steps 1,2,4,8]
    python -m benchmarks.deviation --work WORK [--keep bundles]    # the folds of benchmarks.cross_validation: none was seen

Each CT of the side ``val`` is exposed as ``xct evaluate`` does it. First the errors over the whole field of the one-step mean,
of one sample, and of the samples' mean. Then what tells the error of the one-step mean in the body: bent CTs alone, samples
alone, both (``inferers.stated_deviation``), and bent CTs pooled over other widths. Spearman's rank correlation with the error,
the share of voxels within 1.645 deviations (0.9 is right), the factor that makes it 0.9, and what each patient meets whose
factor is the mean of all *others*: the share within intervals, and CRPS. Last, by tissue as the mean shows it. ``--keep``
writes the mean factors into stageN/models/model.json of a folder of bundles, trained as those of the folds were; ``--lateral``
gives two films, whose factors are kept beside those of one; ``--samples 1`` draws none.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from benchmarks.markdown_table import markdown_table
from xct_components.cascade import UnifiedHybridViTCascade
from xct_components.evaluation.deviation_check import keep_factor
from xct_components.evaluation.held_out_case import HeldOutCase, cases_of_side, held_out_case
from xct_components.inferers.stage import StageInferer
from xct_components.inferers.stated_deviation import stated_deviation, variance_of_bent
from xct_components.metrics.image import mae_hu, rmse_hu
from xct_components.metrics.regions import chest_regions
from xct_components.metrics.uncertainty import coverage_90, crps_hu, error_correlation, width_ratio_90
from xct_components.networks.deviation_factors import NO_SAMPLES, FilmsSeen, MeasuredFactor

#: What is stated with and without samples; the others stand beside it.
BENT, BOTH = "bent CTs", "bent CTs and samples"
WIDTHS_MM = (0.5, 2.0, 5.0, 7.0)
#: Half widths in deviations of the central intervals of a Gaussian that hold so much.
INTERVALS = {0.5: 0.6745, 0.68: 0.9945, 0.9: 1.6449, 0.95: 1.96}
#: Ranges of HU, in the mean that the cascade gives.
TISSUES = {"lung": (-1024.0, -500.0), "between": (-500.0, -150.0), "soft tissue": (-150.0, 150.0), "bone": (150.0, 1500.0)}
#: Voxels of a patient that are compared, evenly chosen; of more the figures are the same.
MOST_VOXELS = 500_000
#: A deviation of nothing ranks nothing, and divides by zero.
LEAST_HU = 1e-3


class Errors(NamedTuple):
    """One patient at one size and number of steps, voxels of the body, in HU.

    ``mean``: predicted. ``std``: by what tells it. ``scores``: by volume, RMSE and MAE over the whole field.
    """

    mean: np.ndarray
    truth: np.ndarray
    std: dict[str, np.ndarray]
    scores: dict[str, tuple[float, float]]


class Key(NamedTuple):
    """Size and steps; ``NO_SAMPLES`` where none are drawn."""

    size: int
    steps: int


Patients = dict[str, dict[Key, Errors]]


def main() -> None:
    """Print the tables; keep the factors if asked to."""
    options = _options()
    steps = [NO_SAMPLES] if options.samples == 1 else [int(count) for count in options.steps.split(",")]
    patients: Patients = {}
    for prepared, bundles in _sides(options):
        cascade = UnifiedHybridViTCascade.from_pretrained(bundles, stages=options.stages)
        for name in cases_of_side(prepared, "val", [stage.field.shape[0] for stage in cascade.stages]):
            case = held_out_case(prepared, "val", name, cascade.stages, lateral=options.lateral)
            patients[name] = {
                key: found for count in steps for key, found in _of_patient(cascade, case, options.samples, count)
            }
    print(f"mean of {len(patients)} patients ({', '.join(patients)}), {options.samples} samples\n")
    _print_scores(patients)
    _print_told(patients)
    _print_tissues(patients)
    if options.keep is not None:
        _keep(patients, Path(options.keep), FilmsSeen(1 + options.lateral))


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
    mean_hu, bent = None, None
    coarse: list[Tensor | None] = [None] * (samples if samples > 1 else 0)
    film, beams = case.film.line_integrals, [case.film.beams]
    for stage in cascade.stages:
        size = stage.field.shape[0]
        (field,), truth = [case.fields[size]], case.truth_hu[size]
        settings: dict[str, Any] = {"fields": [field], "beams": beams, "bent": bent, "without": [case.name]}
        result = StageInferer()(film, stage, coarse_hu=mean_hu, **settings)
        mean_hu, bent = result.volume_hu, result.bent
        settings["bent"], shown = bent, {"mean mode": mean_hu}
        variance_hu2 = None
        if coarse:
            one = StageInferer(mode="sample", steps=steps)
            drawn = [one(film, stage, coarse_hu=before, chain=k, **settings).volume_hu for k, before in enumerate(coarse)]
            coarse, variance_hu2 = list(drawn), torch.stack(drawn).var(0)
            shown |= {"one sample": drawn[0], "mean of the samples": torch.stack(drawn).mean(0)}
        body = torch.from_numpy(chest_regions(truth[0, 0].numpy(), field).body_on(field.shape)).flatten().nonzero()[:, 0]
        body = body[:: max(1, len(body) // MOST_VOXELS)]
        told = {
            BENT: stated_deviation(mean_hu, field, bent=bent[0]),
            "samples": stated_deviation(mean_hu, field, variance_hu2=variance_hu2),
            BOTH: stated_deviation(mean_hu, field, bent=bent[0], variance_hu2=variance_hu2) if coarse else None,
        }
        if bent[0] is not None:
            told |= {f"{BENT}, {mm:g} mm": variance_of_bent(mean_hu, field, bent[0], mm).sqrt() for mm in WIDTHS_MM}
        std = {name: one.flatten()[body].clamp_min(LEAST_HU).numpy() for name, one in told.items() if one is not None}
        scores = {name: _scores(volume, truth) for name, volume in shown.items()}
        yield Key(size, steps), Errors(mean_hu.flatten()[body].numpy(), truth.flatten()[body].numpy(), std, scores)


def _scores(volume: Tensor, truth: Tensor) -> tuple[float, float]:
    predicted, expected = volume[0, 0].numpy(), truth[0, 0].numpy()
    return rmse_hu(predicted, expected), mae_hu(predicted, expected)


def _print_scores(patients: Patients) -> None:
    rows = []
    for key in next(iter(patients.values())):
        for name in next(iter(patients.values()))[key].scores:
            means = np.mean([found[key].scores[name] for found in patients.values()], axis=0)
            rows.append([key.size, key.steps or "-", name, *(f"{value:.1f}" for value in means)])
    print(markdown_table(["size", "steps", "volume", "RMSE HU", "MAE HU"], rows) + "\n")


def _mean(patients: Patients, key: Key, name: str, metric: Callable[..., float]) -> float:
    return float(np.mean([metric(found[key].mean, found[key].std[name], found[key].truth) for found in patients.values()]))


def _factors(patients: Patients, key: Key, name: str) -> dict[str, float]:
    """Of each patient."""
    return {who: width_ratio_90(found[key].mean, found[key].std[name], found[key].truth) for who, found in patients.items()}


def _print_told(patients: Patients) -> None:
    """Every way to tell the error, as it is and with the factor of the other patients."""
    rows = []
    for key, first in next(iter(patients.values())).items():
        for name in first.std:
            factors = _factors(patients, key, name)
            values = [_mean(patients, key, name, metric) for metric in (error_correlation, coverage_90)]
            each = " ".join(f"{factor:.2f}" for factor in factors.values())
            cells = [f"{value:.3f}" for value in values] + [f"{np.mean(list(factors.values())):.2f}", each]
            rows.append([key.size, key.steps or "-", name, *cells, *_left_out(patients, key, name, factors)])
    heads = [
        "Spearman",
        "within 1.645 std",
        "factor",
        "of each patient",
        *(f"within {share:.0%}" for share in INTERVALS),
        "CRPS",
    ]
    print("with the factor of all others from the sixth column on\n")
    print(markdown_table(["size", "steps", "told by", *heads], rows))


def _left_out(patients: Patients, key: Key, name: str, factors: dict[str, float]) -> list[str]:
    """What a patient meets whose factor was measured on others: shares within intervals, and CRPS."""
    found = []
    for who, errors in patients.items():
        others = [factor for other, factor in factors.items() if other != who]
        if others:
            one, std = errors[key], np.mean(others) * errors[key].std[name]
            ratio = np.abs(one.mean - one.truth) / std
            found.append([*(np.mean(ratio <= half) for half in INTERVALS.values()), crps_hu(one.mean, std, one.truth)])
    if not found:
        return ["-"] * (len(INTERVALS) + 1)
    *shares, crps = np.mean(found, axis=0)
    return [*(f"{share:.3f}" for share in shares), f"{crps:.1f}"]


def _print_tissues(patients: Patients) -> None:
    rows = []
    for key, first in next(iter(patients.values())).items():
        name = BOTH if BOTH in first.std else BENT
        factor = float(np.mean(list(_factors(patients, key, name).values())))
        for tissue, (low, high) in TISSUES.items():
            chosen = []
            for found in patients.values():
                inside = (found[key].mean >= low) & (found[key].mean < high)
                error, stated = np.abs(found[key].mean - found[key].truth)[inside], factor * found[key].std[name][inside]
                chosen.append([np.mean(error <= INTERVALS[0.9] * stated), stated.mean(), np.sqrt(np.mean(error**2))])
            share, stated_hu, rmse = np.mean(chosen, axis=0)
            rows.append([key.size, key.steps or "-", tissue, f"{share:.3f}", f"{stated_hu:.0f}", f"{rmse:.0f}"])
    print("\nwith the factor of all, by what the mean shows\n")
    print(markdown_table(["size", "steps", "tissue", "within 90%", "std HU", "RMSE HU"], rows))


def _keep(patients: Patients, bundles: Path, films: FilmsSeen) -> None:
    """The factor of bent CTs alone, and that with samples of each number of steps."""
    keys = list(next(iter(patients.values())))
    for number, size in enumerate(sorted({key.size for key in keys}), start=1):
        of_size = [key for key in keys if key.size == size]
        measured = [(NO_SAMPLES, of_size[0], BENT), *((key.steps, key, BOTH) for key in of_size if key.steps != NO_SAMPLES)]
        for steps, key, name in measured:
            factors = list(_factors(patients, key, name).values())
            weights = bundles / f"stage{number}" / "models" / "model.pt"
            keep_factor(weights, MeasuredFactor(steps, float(np.mean(factors)), len(factors), films))


if __name__ == "__main__":
    main()

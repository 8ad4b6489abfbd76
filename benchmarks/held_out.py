"""How good the cascade is on held-out CTs, beside baselines that need no network.

    python -m benchmarks.held_out --prepared PREPARED [--side val] [--stages 3] [--samples 8] [--bundles bundles]

Each CT of one side of a prepared folder is exposed to the cascade's own PA beam; the film goes through the stages; CTs that the
weights hold are never bent to their own films. Baselines at every size: the mean volume of the training side, and its CT whose
film is nearest; the atlas of stage 1, and the same made consistent with the film (depth-lifted atlas). RMSE and MAE in HU over
the whole field and inside the body, PSNR of the volume on [-1024, 1500] HU, film error of the view given and of a lateral view
that nobody was given; of means Spearman's rank correlation of the stated standard deviation with the error.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from xct_components.cascade import UnifiedHybridViTCascade
from xct_components.evaluation.baselines import ATLAS, MEAN, MEASURED, NEIGHBOUR, TRAIN, TrainSide, films_of, read_train_side
from xct_components.evaluation.held_out_case import cases_of_side, loaded
from xct_components.evaluation.held_patients import HELD_NOTE, held_cases
from xct_components.geometry import VolumeGrid, chest_beam_covering
from xct_components.inferers.stage import StageInferer
from xct_components.inferers.stated_deviation import stated_deviation
from xct_components.metrics.uncertainty import error_correlation
from xct_components.networks.explained_volume import HIGHEST_HU, LOWEST_HU
from xct_components.physics.attenuation import hu_to_mu_per_mm, mu_per_mm_to_hu
from xct_components.physics.consistency import HardConsistency, relative_film_error
from xct_components.physics.projector import project

#: Voxels denser than this are body, as far as the table below is concerned; the lungs inside count through the fill.
BODY_HU = -300.0
COLUMNS = ("rmse", "mae", "body_rmse", "psnr", "film", "lateral")


def main() -> None:
    """Print a table a case and the means over the cases; write them as JSON if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prepared", required=True)
    parser.add_argument("--side", default="val")
    parser.add_argument("--stages", type=int, default=3)
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--bundles", default=None)
    parser.add_argument("--json", default=None)
    options = parser.parse_args()
    cascade = UnifiedHybridViTCascade.from_pretrained(options.bundles, stages=options.stages)
    sizes = [stage.field.shape[0] for stage in cascade.stages]
    names = cases_of_side(Path(options.prepared), options.side, sizes)
    train = read_train_side(Path(options.prepared), sizes)
    cases = {name: _case(cascade, options, name, train) for name in names}
    for name, rows in [*cases.items(), (f"mean of {len(cases)}", _means(list(cases.values())))]:
        print(f"\n{name}\n{'':28s}" + "".join(f"{column:>11s}" for column in COLUMNS) + "   spearman")
        for label, row in rows.items():
            print(
                f"{label:28s}"
                + "".join(f"{row[column]:11.4g}" for column in COLUMNS)
                + f"{row.get('spearman', math.nan):11.3f}"
            )
    if held := held_cases(cascade.stages, names):
        print(f"\n{', '.join(held)}: {HELD_NOTE}")
    if options.json:
        Path(options.json).write_text(json.dumps(cases, indent=1), encoding="utf-8")


def _case(
    cascade: UnifiedHybridViTCascade, options: argparse.Namespace, case: str, train: TrainSide
) -> dict[str, dict[str, float]]:
    rows: dict[str, dict[str, float]] = {}
    mean_hu, bent, nearest = None, None, None
    drawn: list[Tensor | None] = [None] * options.samples
    for number, stage in enumerate(cascade.stages, start=1):
        size = stage.field.shape[0]
        truth, grid = loaded(Path(options.prepared), options.side, case, size)
        beams = [chest_beam_covering(grid, "PA", *stage.film_shape)]
        film = project(hu_to_mu_per_mm(truth), grid, beams)
        judge = _Judge(truth, grid, film, stage.film_shape)
        atlas = cascade.stages[0].atlas.mu_per_mm(stage.field.shape)
        rows[f"{size}: {MEASURED}"] = judge(mu_per_mm_to_hu(atlas))
        rows[f"{size}: {ATLAS}"] = judge(mu_per_mm_to_hu(HardConsistency()(atlas, film, grid, beams)))
        if train.cases:
            nearest = nearest or train.neighbour(films_of(truth, grid))
            rows[f"{size}: {MEAN}"] = judge(train.mean_hu[size])
            rows[f"{size}: {NEIGHBOUR}"] = judge(loaded(train.prepared, TRAIN, nearest, size)[0])
        settings: dict[str, Any] = {"fields": [grid], "beams": [beams], "bent": bent, "without": [case]}
        result = StageInferer()(film, stage, coarse_hu=mean_hu, **settings)
        if number > 1:
            rows[f"{size}: previous stage, upsampled"] = judge(result.prior_hu)
        elif stage.multi_atlas is not None:
            rows[f"{size}: CTs bent to the film"] = judge(result.prior_hu)
        mean_hu, bent = result.volume_hu, result.bent
        rows[f"{size}: stage {number}, mean"] = judge(mean_hu, result.std_hu)
        if not options.samples:
            continue
        one, settings["bent"] = StageInferer(mode="sample", steps=options.steps), bent
        drawn = [one(film, stage, coarse_hu=drawn[k], chain=k, **settings).volume_hu for k in range(options.samples)]
        samples = torch.stack([sample for sample in drawn if sample is not None])
        rows[f"{size}: stage {number}, one sample"] = _average([judge(sample) for sample in samples])
        mean, variance = samples.mean(0), samples.var(0) if options.samples > 1 else None
        told = stated_deviation(mean, grid, bent=bent[0], variance_hu2=variance)
        rows[f"{size}: stage {number}, mean of {options.samples}"] = judge(mean, told)
    return rows


class _Judge:
    """One CT and its films."""

    def __init__(self, truth_hu: Tensor, grid: VolumeGrid, film: Tensor, film_shape: tuple[int, int]) -> None:
        self.truth_hu, self.grid, self.film = truth_hu, grid, film
        self.beams = [chest_beam_covering(grid, "PA", *film_shape)]
        self.lateral = [chest_beam_covering(grid, "LL", *film_shape)]
        self.lateral_film = project(hu_to_mu_per_mm(truth_hu), grid, self.lateral)
        self.body = filled(truth_hu > BODY_HU)

    def __call__(self, volume_hu: Tensor, std_hu: Tensor | None = None) -> dict[str, float]:
        volume_hu = volume_hu.clamp(LOWEST_HU, HIGHEST_HU)
        error, mu = volume_hu - self.truth_hu, hu_to_mu_per_mm(volume_hu)
        rmse = float(error.square().mean().sqrt())
        row = {
            "rmse": rmse,
            "mae": float(error.abs().mean()),
            "body_rmse": float(error[self.body].square().mean().sqrt()),
            "psnr": 20.0 * math.log10((HIGHEST_HU - LOWEST_HU) / rmse),
            "film": float(relative_film_error(mu, self.film, self.grid, self.beams)),
            "lateral": float(relative_film_error(mu, self.lateral_film, self.grid, self.lateral)),
        }
        if std_hu is None:
            return row
        mean, std, truth = (volume.double().numpy()[0, 0] for volume in (volume_hu, std_hu, self.truth_hu))
        return {**row, "spearman": error_correlation(mean, std, truth, self.body.numpy()[0, 0])}


def filled(tissue: Tensor) -> Tensor:
    """The body with its lungs: filled slice by slice."""
    from scipy.ndimage import binary_fill_holes

    volume = tissue[0, 0].numpy()
    axial = [binary_fill_holes(volume[:, row]) for row in range(volume.shape[1])]
    return torch.stack([torch.from_numpy(one) for one in axial], dim=1)[None, None]


def _average(rows: list[dict[str, float]]) -> dict[str, float]:
    return {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}


def _means(cases: list[dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    return {label: _average([rows[label] for rows in cases]) for label in cases[0]}


if __name__ == "__main__":
    main()

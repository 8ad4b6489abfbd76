"""What linear regression on the film tells of a patient it has not seen, beside the atlas alone: no network, ten CTs.

    python -m benchmarks.film_regression --prepared PREPARED [--repeats 60] [--phantoms 400] [--rank 64] [--cache_dir DIR]

All CTs of a prepared folder, of any side, augmented ``repeats`` times, and phantoms are exposed in random rooms. Then every CT
in turn is left out with all its augmentations; atlas and regression are measured on the others, and its own film, in the
cascade's geometry, moves the atlas. RMSE in HU at 64 voxels a side over the field of 320 mm, after consistency.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from benchmarks.markdown_table import markdown_table
from xct_components.data.cases.cases import TrainingCases, case_dataset, load_case, phantom_items, prepared_items, render_batch
from xct_components.geometry import ChestView, VolumeGrid, chest_beam_covering
from xct_components.metrics.image import rmse_hu
from xct_components.networks.atlas import Atlas
from xct_components.networks.atlas_regression import REGRESSION_SIDE, AtlasRegression
from xct_components.networks.explained_volume import HIGHEST_HU, LOWEST_HU
from xct_components.physics.attenuation import FILM_ENERGY_KEV, hu_to_mu_per_mm, mu_per_mm_to_hu, water_mu_per_mm
from xct_components.physics.consistency import HardConsistency
from xct_components.physics.projector import project
from xct_components.training.regression_fit import RegressionCases, fit_regression

SIZE = 64
SIDES = ("train", "val", "test")
VIEWS: tuple[tuple[str, tuple[ChestView, ...]], ...] = (("one film", ("PA",)), ("two films", ("PA", "LL")))


@torch.no_grad()
def main() -> None:
    """Print a row a patient and the mean over patients."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prepared", required=True)
    parser.add_argument("--repeats", type=int, default=60)
    parser.add_argument("--phantoms", type=int, default=400)
    parser.add_argument("--rank", type=int, default=64)
    parser.add_argument("--cache_dir", default=None)
    options = parser.parse_args()
    patients = [item for side in SIDES for item in prepared_items(options.prepared, side, SIZE)]
    items = patients * options.repeats + phantom_items(options.phantoms, SIZE)
    atlas = Atlas((REGRESSION_SIDE,) * 3)
    atlas.measure(load_case(item)["ct_hu"].float() for item in patients)
    cases = _gathered(items, atlas, options.cache_dir)
    rows = [_row(item, cases, atlas, options.rank) for item in tqdm(patients, desc="left out")]
    means: list[Any] = ["mean", *(sum(row[k] for row in rows) / len(rows) for k in range(1, len(rows[0])))]
    headings = [
        "patient",
        *(f"{what}, {name}" for name, _ in VIEWS for what in ("atlas + consistency", "regression + consistency")),
    ]
    print(markdown_table(headings, [[row[0], *(f"{value:.0f}" for value in row[1:])] for row in [*rows, means]]))


def _gathered(items: Sequence[dict[str, Any]], atlas: Atlas, cache_dir: str | None) -> RegressionCases:
    drawn = TrainingCases(case_dataset(items, "disk" if cache_dir else "none", cache_dir))
    cases = RegressionCases()
    for i in tqdm(range(len(drawn)), desc="exposing"):
        case = drawn[i]
        rendered = render_batch([case], rows=SIZE, cols=SIZE, views=("PA", "LL"))
        cases.add([case["case"]], rendered, atlas, (REGRESSION_SIDE,) * 3)
    return cases


def _row(item: dict[str, Any], cases: RegressionCases, atlas: Atlas, rank: int) -> list[Any]:
    """Name and RMSE in HU, atlas and regression in turn, for each of ``VIEWS``."""
    kept = [i for i, name in enumerate(cases.names) if name != item["case"]]
    changes = torch.stack([cases.changes[i] for i in kept]).float()
    mean = changes.mean(0)
    others = RegressionCases([cases.names[i] for i in kept], list((changes - mean).half()), [cases.features[i] for i in kept])
    regression = AtlasRegression(rank)
    fit_regression(regression, others)
    coarse = atlas.mu_per_mm(regression.size) + water_mu_per_mm(FILM_ENERGY_KEV) * mean.view(1, 1, *regression.size)
    fine = F.interpolate(coarse, size=(SIZE,) * 3, mode="trilinear").clamp_min(0.0)
    truth_hu, grid = load_case(item)["ct_hu"].float().clamp(LOWEST_HU, HIGHEST_HU), VolumeGrid.from_json(item["grid"])
    row: list[Any] = [item["case"]]
    for _, views in VIEWS:
        beams = [chest_beam_covering(grid, view, SIZE, SIZE) for view in views]
        film, believed = project(hu_to_mu_per_mm(truth_hu), grid, beams), HardConsistency(sweeps=1 + len(views))
        starts = (fine, regression.moved(fine, film[0], grid, beams, believed))
        row += [_rmse_hu(mu_per_mm_to_hu(believed(start, film, grid, beams)), truth_hu) for start in starts]
    return row


def _rmse_hu(volume_hu: Tensor, truth_hu: Tensor) -> float:
    predicted, truth = (volume[0, 0].clamp(LOWEST_HU, HIGHEST_HU).numpy() for volume in (volume_hu, truth_hu))
    return rmse_hu(predicted, truth)


if __name__ == "__main__":
    main()

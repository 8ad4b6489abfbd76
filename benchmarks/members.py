"""What single members are worth beside their mean: as near to the truth as a draw can be, and how sharp.

    python -m benchmarks.members --prepared PREPARED [--bundles bundles] [--lateral]

Every CT of a prepared folder, of any side, in turn is the patient; all others are held, their detail too. His exact film bends
them, and stage 2 makes 128 voxels a side of their mean and of each of them. Of stage 1's network nothing is believed, as it has
seen some of these patients. Baselines: the mean of the others, the same made to explain his film, and the one of them whose
film is nearest. Metrics are those of docs/metrics.md; sharpness is the root mean square slope in the body over that of the
truth. A perfect draw is farther from the truth than a perfect mean by the square root of two.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from benchmarks.markdown_table import markdown_table
from xct_components.cascade import UnifiedHybridViTCascade
from xct_components.data.cases.cases import load_case, prepared_items
from xct_components.evaluation.baselines import MEAN as MEAN_CT
from xct_components.evaluation.baselines import NEIGHBOUR, explained_by_film, films_of
from xct_components.evaluation.held_out_case import HeldOutCase, held_out_case, loaded
from xct_components.geometry import ChestView
from xct_components.inferers.cascade import CascadeInferer
from xct_components.metrics.pair import TrueVolume
from xct_components.networks.cascade_stage import CascadeStage

SIDES = ("train", "val", "test")
SIZE = 128
COLUMNS = {
    "RMSE HU": "rmse_hu",
    "MAE HU": "mae_hu",
    "SSIM": "ssim",
    "anatomy /10": "anatomy_score",
    "frontal film": "frontal_film_error",
    "lateral film": "lateral_film_error",
    "sharpness": "sharpness",
}
PLAIN, DETAILED, MEAN, OF_ALL = "one member, without detail", "one member", "mean of the members", "stage 2, mean"


class Everyone(NamedTuple):
    """All patients.

    ``sides``: on which each stands. ``sum_hu``: of their volumes. ``films``: of each, those that are given.
    """

    sides: dict[str, str]
    sum_hu: Tensor
    films: dict[str, Tensor]


@torch.no_grad()
def main() -> None:
    """Print the means over patients; of members the mean over all of a patient's."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prepared", required=True, type=Path)
    parser.add_argument("--bundles", default=None)
    parser.add_argument("--lateral", action="store_true")
    options = parser.parse_args()
    stages = UnifiedHybridViTCascade.from_pretrained(options.bundles, stages=2).stages
    stages[0].residual_scale_hu.zero_()
    sides = {str(item["case"]): side for side in SIDES for item in prepared_items(options.prepared, side, SIZE)}
    everyone = _everyone(options.prepared, sides, lateral=options.lateral)
    scores: dict[str, list[dict[str, float]]] = {}
    for name, side in tqdm(sides.items(), disable=None):
        _hold_others(stages, options.prepared, sides, name)
        case = held_out_case(options.prepared, side, name, stages, lateral=options.lateral)
        truth = TrueVolume(case.truth_hu[SIZE], case.fields[SIZE])
        of_patient: dict[str, list[dict[str, float]]] = {}
        for what, volume_hu in (*_baselines(options.prepared, everyone, case), *_volumes(stages, case)):
            sharpness = _slope(volume_hu, truth) / _slope(truth.truth_hu, truth)
            of_patient.setdefault(what, []).append({**truth.scores(volume_hu), "sharpness": sharpness})
        for what, rows in of_patient.items():
            scores.setdefault(what, []).append({key: statistics.mean(row[key] for row in rows) for key in COLUMNS.values()})
    table = [
        [what, *(f"{statistics.mean(row[key] for row in of_all):.4g}" for key in COLUMNS.values())]
        for what, of_all in scores.items()
    ]
    print(markdown_table(["volume", *COLUMNS], table))
    print(f"\nn = {len(sides)} patients, {len(sides) - 1} members each")


def _everyone(prepared: Path, sides: dict[str, str], *, lateral: bool) -> Everyone:
    views: tuple[ChestView, ...] = ("PA", "LL") if lateral else ("PA",)
    films, sum_hu = dict[str, Tensor](), torch.zeros(())
    for name, side in sides.items():
        ct_hu, grid = loaded(prepared, side, name, SIZE)
        films[name], sum_hu = films_of(ct_hu, grid, views), sum_hu + ct_hu
    return Everyone(sides, sum_hu, films)


def _baselines(prepared: Path, everyone: Everyone, case: HeldOutCase) -> Iterator[tuple[str, Tensor]]:
    """What the others tell without being bent."""
    others = [name for name in everyone.sides if name != case.name]
    mean_hu = (everyone.sum_hu - case.truth_hu[SIZE]) / len(others)
    yield MEAN_CT, mean_hu
    yield f"{MEAN_CT} + consistency", explained_by_film(mean_hu, case, case.fields[SIZE])
    own = everyone.films[case.name]
    nearest = min(others, key=lambda name: float((everyone.films[name] - own).norm()))
    yield NEIGHBOUR, loaded(prepared, everyone.sides[nearest], nearest, SIZE)[0]


def _hold_others(stages: list[CascadeStage], prepared: Path, sides: dict[str, str], name: str) -> None:
    first, second = stages
    if first.multi_atlas is None or second.detail is None:
        raise SystemExit("--bundles needs a stage 1 with atlas_cts and a stage 2 with detail_step_hu")
    others = [one for one in sides if one != name]

    def cts(stage: CascadeStage) -> Iterator[tuple[str, Tensor]]:
        items = {str(item["case"]): item for side in SIDES for item in prepared_items(prepared, side, stage.field.shape[0])}
        return ((one, load_case(items[one])["ct_hu"].float()) for one in others)

    first.multi_atlas.make_room(len(others))
    first.multi_atlas.measure(cts(first))
    second.detail.measure(cts(second))


def _volumes(stages: list[CascadeStage], case: HeldOutCase) -> Iterator[tuple[str, Tensor]]:
    """The mean, each member with and without detail, and the mean of those with."""
    first, second = stages
    held = first.multi_atlas
    count = 0 if held is None else held.count
    result = CascadeInferer([first], members=count).run(case.film, second)
    yield OF_ALL, result.volume_hu
    members = [one.float() for one in result.members_hu]
    yield from ((DETAILED, one) for one in members)
    detail, second.detail = second.detail, None
    yield from ((PLAIN, one.float()) for one in CascadeInferer([first], members=count).run(case.film, second).members_hu)
    second.detail = detail
    yield MEAN, torch.stack(members).mean(0)


def _slope(volume_hu: Tensor, truth: TrueVolume) -> float:
    """Root mean square slope from voxel to voxel in the body, HU."""
    body = torch.from_numpy(truth.body)
    squares = [volume_hu[0, 0].diff(dim=axis).square()[body.narrow(axis, 1, body.shape[axis] - 1)].mean() for axis in range(3)]
    return float(torch.stack(squares).mean().sqrt())


if __name__ == "__main__":
    main()

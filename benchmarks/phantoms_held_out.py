"""How good the cascade is on phantoms that it never saw, beside the mean phantom and the nearest one.

    python -m benchmarks.phantoms_held_out [--count 10] [--mean_of 60] [--hold 0,64,800] [--network_share 1] [--stages 2]
        [--bundles bundles]

Phantoms of seeds from 2,000,000 on, one PA film each in the cascade's geometry, one-step means. The mean phantom is the mean
HU of the phantoms 0, 1, 2, ..., which trainings draw from too; the nearest is that one of them whose film differs least. With
``--hold`` stage 1 holds so many of them in place of its CTs and bends the most alike to each film, and ``--network_share`` of
what its network adds is believed: what ``xct hold-cts`` makes of many patients of one's own (0: the CTs that it holds). PSNR
over -1024 to 1024 HU; gains phantom by phantom.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from benchmarks.markdown_table import markdown_table
from xct_components.cascade import UnifiedHybridViTCascade
from xct_components.data.cases.cases import load_case, phantom_items
from xct_components.evaluation.baselines import films_of
from xct_components.geometry import VolumeGrid, chest_beam_covering
from xct_components.inferers.stage import StageInferer
from xct_components.metrics.image import psnr_db, rmse_hu
from xct_components.networks.cascade_stage import CascadeStage
from xct_components.networks.explained_volume import HIGHEST_HU, LOWEST_HU
from xct_components.physics.attenuation import hu_to_mu_per_mm, mu_per_mm_to_hu
from xct_components.physics.consistency import HardConsistency
from xct_components.physics.projector import project

FIRST_SEED = 2_000_000


def main() -> None:
    """Print one table, and the smallest gain."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10)
    parser.add_argument("--mean_of", type=int, default=60)
    parser.add_argument("--hold", default="0")
    parser.add_argument("--network_share", type=float, default=1.0, help="of stage 1, where it holds phantoms")
    parser.add_argument("--stages", type=int, default=2)
    parser.add_argument("--bundles", default=None)
    options = parser.parse_args()
    cascade = UnifiedHybridViTCascade.from_pretrained(options.bundles, stages=options.stages)
    chests = _chests([stage.field.shape[0] for stage in cascade.stages], options)
    rows, residual_hu = [], cascade.stages[0].residual_scale_hu.clone()
    for held in map(int, options.hold.split(",")):
        if held:
            _hold(cascade.stages[0], held)
            cascade.stages[0].residual_scale_hu.copy_(options.network_share * residual_hu)
        rows += _judged(cascade, held, chests)
    heads = ["size", "phantoms held", "volume", "RMSE [HU]", "PSNR [dB]", "gain over the mean phantom [dB]", "smallest"]
    print(markdown_table(heads, rows))
    print(f"\nn = {options.count} phantoms, mean of {options.mean_of} others")


def _hold(stage: CascadeStage, count: int) -> None:
    """The phantoms 0, 1, 2, ... in place of CTs."""
    size, held = stage.field.shape[0], stage.multi_atlas
    if held is None:
        raise SystemExit("--hold needs a stage 1 with atlas_cts")
    held.make_room(count)
    held.measure((str(item["case"]), _hu(item)) for item in tqdm(phantom_items(count, size), desc="phantoms", disable=None))


class Chests(NamedTuple):
    """Phantoms of one size.

    ``mean``: of those that trainings draw from. ``held_out``: those that nothing has seen, each on its grid. ``nearest``: of
    each of them the one of the former whose film differs least.
    """

    mean: Tensor
    held_out: list[tuple[Tensor, VolumeGrid]]
    nearest: list[Tensor]


def _chests(sizes: Sequence[int], options: argparse.Namespace) -> list[Chests]:
    """Of every size, the coarsest first. Drawn once: at 128 voxels a side each phantom takes a second."""
    chests: list[Chests] = []
    nearest: list[int] = []
    for size in sizes:
        others = [_hu(item) for item in phantom_items(options.mean_of, size)]
        items = phantom_items(options.count, size, first_seed=FIRST_SEED)
        held_out = [(_hu(item), VolumeGrid.from_json(item["grid"])) for item in items]
        nearest = nearest or _nearest(held_out, others)
        chests.append(Chests(torch.stack(others).mean(0), held_out, [others[number] for number in nearest]))
    return chests


def _nearest(held_out: Sequence[tuple[Tensor, VolumeGrid]], others: Sequence[Tensor]) -> list[int]:
    """Of each the number of the other whose film differs least; all lie on the same grid."""
    films = torch.cat([films_of(hu, held_out[0][1]) for hu in others])
    return [int((films - films_of(hu, grid)).flatten(1).norm(dim=1).argmin()) for hu, grid in held_out]


def _judged(cascade: UnifiedHybridViTCascade, held: int, chests: Sequence[Chests]) -> list[list[str]]:
    """Rows of all sizes."""
    coarse: dict[int, Tensor] = {}
    rows = []
    for number, (stage, drawn) in enumerate(zip(cascade.stages, chests, strict=True), start=1):
        scores: dict[str, list[tuple[float, float]]] = {}
        for index, (truth, grid) in enumerate(drawn.held_out):
            volumes, coarse[index] = _volumes(cascade, stage, truth, grid, coarse.get(index))
            plain = {"mean phantom": drawn.mean, "nearest film's phantom": drawn.nearest[index]}
            for name, volume in {**plain, **volumes, f"stage {number}, mean": coarse[index]}.items():
                scores.setdefault(name, []).append(_score(volume, truth))
        rows += _rows(stage.field.shape[0], held, scores)
    return rows


def _hu(item: dict[str, object]) -> Tensor:
    return load_case(item)["ct_hu"].float().clamp(LOWEST_HU, HIGHEST_HU)


def _volumes(
    cascade: UnifiedHybridViTCascade, stage: CascadeStage, truth: Tensor, grid: VolumeGrid, coarse: Tensor | None
) -> tuple[dict[str, Tensor], Tensor]:
    beams = [chest_beam_covering(grid, "PA", *stage.film_shape)]
    film = project(hu_to_mu_per_mm(truth), grid, beams)
    atlas = cascade.stages[0].atlas.mu_per_mm(stage.field.shape)
    explained = mu_per_mm_to_hu(HardConsistency()(atlas, film, grid, beams))
    result = StageInferer()(film, stage, coarse_hu=coarse, fields=[grid], beams=[beams])
    start = "previous stage + consistency" if coarse is not None else "bent to the film + consistency"
    return {"atlas + consistency": explained, start: result.prior_hu}, result.volume_hu


def _score(volume: Tensor, truth: Tensor) -> tuple[float, float]:
    predicted, expected = (x[0, 0].numpy() for x in (volume, truth))
    return rmse_hu(predicted, expected), psnr_db(predicted, expected)


def _rows(size: int, held: int, scores: dict[str, list[tuple[float, float]]]) -> list[list[str]]:
    base = np.array(scores["mean phantom"])[:, 1]
    rows = []
    for name, pairs in scores.items():
        errors, psnr = np.array(pairs).T
        gains = psnr - base
        rows.append(
            [
                str(size),
                str(held) if held else "-",
                name,
                f"{errors.mean():.1f}",
                f"{psnr.mean():.2f}",
                f"{gains.mean():.2f}",
                f"{gains.min():.2f}",
            ]
        )
    return rows


if __name__ == "__main__":
    main()

"""Where a cascade's predictions are in doubt: how far the truth lies from them, by the attenuation that was predicted.

    python -m benchmarks.doubt --prepared PREPARED [--side val] [--stages 2] [--bundles bundles]

Each CT of one side of a prepared folder is exposed to the cascade's own PA beam, and each stage predicts before its film is
made to fit. Standard deviation of truth less prediction, in parts of water's attenuation, for voxels of similar prediction:
all of it, and the fine part, less its mean over 5 x 5 voxels across the rays. ``physics.ray_sharing.fine_share_per_mm`` follows
the square of the fine part.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.markdown_table import markdown_table
from xct_components.cascade import UnifiedHybridViTCascade
from xct_components.data.cases.cases import prepared_items
from xct_components.evaluation.held_out_case import loaded
from xct_components.geometry import chest_beam_covering
from xct_components.networks.explained_volume import HIGHEST_HU, LOWEST_HU
from xct_components.physics.attenuation import FILM_ENERGY_KEV, hu_to_mu_per_mm, mu_per_mm_to_hu, water_mu_per_mm
from xct_components.physics.consistency import HardConsistency
from xct_components.physics.projector import project
from xct_components.physics.ray_sharing import fine_share_per_mm

#: Bins of a tenth of water, up to so many.
BINS = 14
FINE_VOXELS = (1, 5, 5)


def main() -> None:
    """Print one table a stage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prepared", required=True)
    parser.add_argument("--side", default="val")
    parser.add_argument("--stages", type=int, default=2)
    parser.add_argument("--bundles", default=None)
    options = parser.parse_args()
    with torch.no_grad():
        sums = _sums(UnifiedHybridViTCascade.from_pretrained(options.bundles, stages=options.stages), options)
    middles = (torch.arange(BINS) + 0.5) / 10.0
    water = water_mu_per_mm(FILM_ENERGY_KEV)
    share = fine_share_per_mm(middles * water) / fine_share_per_mm(torch.tensor(water))
    for size, (count, whole, fine) in sums.items():
        at_water = fine[9:11].sum() / count[9:11].sum()
        columns = (count / count.sum(), (whole / count).sqrt(), (fine / count).sqrt(), fine / count / at_water, share)
        rows = [[f"{middle:.2f}", *(f"{float(column[i]):.3g}" for column in columns)] for i, middle in enumerate(middles)]
        print(f"\n{size} voxels a side, parts of water\n")
        header = ["predicted", "voxels", "error's std", "fine error's std", "its variance over water's", "share over water's"]
        print(markdown_table(header, rows))


def _sums(cascade: UnifiedHybridViTCascade, options: argparse.Namespace) -> dict[int, Tensor]:
    """Size -> (3, BINS): voxels, squared errors and squared fine errors of each bin, over all cases."""
    sums: dict[int, Tensor] = {}
    mean_hu: dict[str, Tensor] = {}
    for stage in cascade.stages:
        size = stage.field.shape[0]
        for item in prepared_items(options.prepared, options.side, size):
            case = str(item["case"])
            truth, grid = loaded(Path(options.prepared), options.side, case, size)
            beams = [chest_beam_covering(grid, "PA", *stage.film_shape)]
            film, believed = project(hu_to_mu_per_mm(truth), grid, beams), HardConsistency()
            prior = stage.prior_hu(film, [grid], [beams], [believed], mean_hu.get(case))
            predicted = hu_to_mu_per_mm(stage.predicted_hu(stage.condition(film, [grid], [beams], prior)))
            mean_hu[case] = mu_per_mm_to_hu(believed(predicted, film, grid, beams)).clamp(LOWEST_HU, HIGHEST_HU)
            sums[size] = sums.get(size, torch.zeros(3, BINS)) + _by_prediction(predicted, hu_to_mu_per_mm(truth))
    return sums


def _by_prediction(predicted: Tensor, truth: Tensor) -> Tensor:
    water = water_mu_per_mm(FILM_ENERGY_KEV)
    error = (truth - predicted) / water
    fine = error - F.avg_pool3d(error, FINE_VOXELS, 1, (0, 2, 2), count_include_pad=False)
    place = (predicted / water * 10.0).clamp(0, BINS - 1).long().flatten()
    weights = (torch.ones_like(error), error.square(), fine.square())
    return torch.stack([torch.bincount(place, weight.flatten(), BINS) for weight in weights])


if __name__ == "__main__":
    main()

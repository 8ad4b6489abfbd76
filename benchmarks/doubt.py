"""Where what a film shows and a volume lacks belongs along its rays: by attenuation, within the chest and in the skin.

    python -m benchmarks.doubt (--prepared PREPARED [--bundles bundles] | --work WORK) [--side val] [--stages 2]

Each CT of one side of a prepared folder, or of every fold of a cross-validation (``benchmarks.cross_validation --work``), is
exposed to the cascade's own PA beam. What a stage starts from before consistency, CTs bent to the film or the upsampled volume
of the stage before, is projected: what its film lacks of the true film, and what its voxels lack of the truth, in parts of
water. Both are parted into their means over 40 mm across the rays (coarse) and the rest (fine). Of voxels of similar
attenuation: the standard deviation of what they lack, and its covariance with what their rays lack, beside the share that
consistency gives them (``physics.ray_sharing``), both over their largest.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.markdown_table import markdown_table
from xct_components.cascade import UnifiedHybridViTCascade
from xct_components.data.cases.cases import present_items
from xct_components.evaluation.held_out_case import loaded
from xct_components.geometry import ConeBeam, VolumeGrid, chest_beam_covering
from xct_components.networks.cascade_stage import SeenFilms
from xct_components.networks.explained_volume import HIGHEST_HU, LOWEST_HU
from xct_components.physics.attenuation import FILM_ENERGY_KEV, hu_to_mu_per_mm, mu_per_mm_to_hu, water_mu_per_mm
from xct_components.physics.consistency import HardConsistency, NoConsistency
from xct_components.physics.enclosure import enclosure
from xct_components.physics.projection_operator import readout_operator
from xct_components.physics.projector import project
from xct_components.physics.ray_sharing import coarse_share_per_mm, fine_share_per_mm

#: Bins of a tenth of water, up to so many.
BINS = 14
#: What is wider than this is coarse; a box about as wide as the Gaussian by which consistency parts them.
COARSE_MM = 40.0
#: Rays through less than this line integral are not of the chest.
BODY_RAY = 2.0


def main() -> None:
    """Print one table a stage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--prepared", type=Path)
    where.add_argument("--work", type=Path)
    parser.add_argument("--side", default="val")
    parser.add_argument("--stages", type=int, default=2)
    parser.add_argument("--bundles", type=Path, default=None)
    options = parser.parse_args()
    places = [(options.bundles, options.prepared)]
    if options.work is not None:
        places = [(fold / "bundles", fold / "prepared") for fold in sorted(options.work.glob("fold*"))]
    sums: dict[int, Tensor] = {}
    with torch.no_grad():
        for bundles, prepared in places:
            _add(sums, UnifiedHybridViTCascade.from_pretrained(bundles, stages=options.stages), prepared, options.side)
    for size, both in sums.items():
        print(f"\n{size} voxels a side\n")
        header = ["predicted", "in the", "voxels"]
        header += [f"{which}: {what}" for which in ("fine", "coarse") for what in ("std lacking", "covariance", "share")]
        print(markdown_table(header, _rows(both)))


def _add(sums: dict[int, Tensor], cascade: UnifiedHybridViTCascade, prepared: Path, side: str) -> None:
    """Size -> (2, 7, BINS): see ``_by_attenuation``, of all cases."""
    for item in present_items(prepared, side, cascade.stages[0].field.shape[0]):
        mean_hu, name = None, [str(item["case"])]
        for stage in cascade.stages:
            size = stage.field.shape[0]
            truth, grid = loaded(prepared, side, name[0], size)
            beams = [chest_beam_covering(grid, "PA", *stage.film_shape)]
            film, believed = project(hu_to_mu_per_mm(truth), grid, beams), HardConsistency()
            bent = stage.bent_cts(SeenFilms(film, [beams]), [grid], [believed], name) if mean_hu is None else None
            prior = [stage.prior_hu(film, [grid], [beams], [how], mean_hu, bent=bent) for how in (NoConsistency(), believed)]
            start = hu_to_mu_per_mm(prior[0])
            sums[size] = sums.get(size, torch.zeros(2, 7, BINS)) + _by_attenuation(start, truth, film, grid, beams[0])
            predicted = hu_to_mu_per_mm(stage.predicted_hu(stage.condition(film, [grid], [beams], prior[1])))
            mean_hu = mu_per_mm_to_hu(believed(predicted, film, grid, beams)).clamp(LOWEST_HU, HIGHEST_HU)


def _by_attenuation(start: Tensor, truth_hu: Tensor, film: Tensor, grid: VolumeGrid, beam: ConeBeam) -> Tensor:
    """(2, 7, BINS), in the chest and in the skin: voxels; squares of what they lack, covariances, shares; likewise coarse."""
    water = water_mu_per_mm(FILM_ENERGY_KEV)
    window = round(COARSE_MM / grid.spacing_mm[1]) // 2 * 2 + 1
    lacking = (hu_to_mu_per_mm(truth_hu) - start) / water
    of_film = (film - project(start, grid, [beam]))[:, 0, :, None]
    read, enclosed = readout_operator(grid, beam), enclosure(start, 0)
    body = read(film[:, 0, 0])[None] > BODY_RAY
    shares = (fine_share_per_mm(start, enclosed), coarse_share_per_mm(start))
    weights = [torch.ones_like(start)]
    for lacks, rays, share in zip(_parted(lacking, window), _parted(of_film, window), shares, strict=True):
        weights += [lacks.square(), lacks * read(rays[:, 0, 0])[None], share / water]
    place = (start / water * 10.0).clamp(0, BINS - 1).long()
    halves = (body & (enclosed >= 0.5), body & (enclosed < 0.5))
    return torch.stack([torch.stack([torch.bincount(place[half], x[half], BINS) for x in weights]) for half in halves])


def _parted(volume: Tensor, window: int) -> tuple[Tensor, Tensor]:
    """(B, C, D, H, W) less its mean over ``window`` x ``window`` voxels across the rays, and that mean."""
    size, pad = (1, window, window), (0, window // 2, window // 2)
    coarse = F.avg_pool3d(volume, size, 1, pad, count_include_pad=False)
    return volume - coarse, coarse


def _rows(sums: Tensor) -> list[list[str]]:
    count = sums[:, 0]
    means = [sums[:, k] / count for k in range(1, 7)]
    often = count > 1e-3 * count.sum()
    columns = [means[k].sqrt() if k % 3 == 0 else means[k] / means[k][often].max() for k in range(6)]
    return [
        [f"{(k + 0.5) / 10:.2f}", name, f"{float(count[half, k] / count.sum()):.3f}"]
        + [f"{float(value[half, k]):.2f}" for value in columns]
        for half, name in enumerate(("chest", "skin"))
        for k in range(BINS)
        if often[half, k]
    ]


if __name__ == "__main__":
    main()

"""Whether the patches of a stage show as blocks: released weights with and without blended patches.

    python -m benchmarks.blocks --prepared PREPARED [--side val] [--stages 2,3] [--bundles bundles]

The cascade's mean for the CTs of one side of a prepared folder. "blocks" is the mean absolute step between neighbouring voxels
of two patches over that between voxels of one patch, averaged over the three axes: 1 means that no block can be seen. The
prior of a stage, which knows no patches, stands beside it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.markdown_table import markdown_table
from xct_components.cascade import UnifiedHybridViTCascade
from xct_components.data.cases.cases import prepared_items
from xct_components.evaluation.held_out_case import loaded
from xct_components.geometry import VolumeGrid, chest_beam_covering
from xct_components.inferers.stage import StageInferer, StageResult
from xct_components.networks.cascade_stage import CascadeStage
from xct_components.physics.attenuation import hu_to_mu_per_mm
from xct_components.physics.projector import project


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prepared", required=True)
    parser.add_argument("--side", default="val")
    parser.add_argument("--stages", default="2,3")
    parser.add_argument("--bundles", default=None)
    options = parser.parse_args()
    asked = [int(number) for number in options.stages.split(",")]
    cascade = UnifiedHybridViTCascade.from_pretrained(options.bundles, stages=max(asked))
    rows = []
    for case in dict.fromkeys(item["case"] for item in prepared_items(options.prepared, options.side, 64)):
        coarse: Tensor | None = None
        for number, stage in enumerate(cascade.stages[: max(asked)], start=1):
            truth, grid = _truth(options, case, stage)
            plain = _mean(stage, truth, grid, coarse, blend=False) if number in asked else None
            result = _mean(stage, truth, grid, coarse, blend=stage.network.blend_patches)
            coarse = result.volume_hu
            if plain is not None:
                kinds = (("prior", result.prior_hu), ("patches", plain.volume_hu), ("as released", result.volume_hu))
                rows += [_row(case, number, name, volume, truth, stage) for name, volume in kinds]
    print(markdown_table(["case", "stage", "volume", "RMSE [HU]", "blocks"], rows))


def _truth(options: argparse.Namespace, case: str, stage: CascadeStage) -> tuple[Tensor, VolumeGrid]:
    return loaded(Path(options.prepared), options.side, case, stage.field.shape[0])


def _mean(stage: CascadeStage, truth: Tensor, grid: VolumeGrid, coarse: Tensor | None, *, blend: bool) -> StageResult:
    beams = [chest_beam_covering(grid, "PA", *stage.film_shape)]
    film = project(hu_to_mu_per_mm(truth), grid, beams)
    usual = stage.network.blend_patches
    stage.network.blend_patches = blend
    try:
        return StageInferer()(film, stage, coarse_hu=coarse, fields=[grid], beams=[beams])
    finally:
        stage.network.blend_patches = usual


def _row(case: str, number: int, name: str, volume: Tensor, truth: Tensor, stage: CascadeStage) -> list[str]:
    error = float((volume - truth).square().mean().sqrt())
    return [case, str(number), name, f"{error:.1f}", f"{_blocks(volume, stage.network.patch):.2f}"]


def _blocks(volume: Tensor, patch: int) -> float:
    ratios = []
    for axis in (-3, -2, -1):
        steps = volume.diff(dim=axis).abs()
        between = (torch.arange(steps.shape[axis]) + 1) % patch == 0
        both = [steps.index_select(axis, chosen.nonzero()[:, 0]).mean() for chosen in (between, ~between)]
        ratios.append(float(both[0] / both[1]))
    return sum(ratios) / len(ratios)


if __name__ == "__main__":
    main()

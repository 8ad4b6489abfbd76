"""The forward pass of a training step: one module, so that DistributedDataParallel sees every parameter at work."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from xct_components.diffusion.schedule import noised
from xct_components.geometry import Beam, VolumeGrid
from xct_components.losses.stage_terms import StageTerms
from xct_components.networks.cascade_stage import CascadeStage
from xct_components.networks.stage_conditions import Column, StageConditions, cut, cut_grids, joined
from xct_components.physics.attenuation import hu_to_mu_per_mm
from xct_components.physics.projector import project
from xct_components.physics.ray_space import to_ray_space
from xct_components.physics.tissue_groups import tissue_mu_per_mm
from xct_components.training.stage_batch import StageBatch

#: Film pixels around a column, at least, in which its shadow is compared, too. Magnification throws the shadow of its borders
#: up to 7 pixels out on a film of 256; what falls beyond these two, about 1 %, is left out for truth and prediction alike.
SHADOW_MARGIN = 2


class StageStep(nn.Module):
    """From a batch to the terms of the loss.

    Args:
        stage: what is trained.
        depth_target: whether to measure the true depth distribution; False where the loss has no depth prior.
    """

    def __init__(self, stage: CascadeStage, *, depth_target: bool = True) -> None:
        super().__init__()
        self.stage, self.depth_target = stage, depth_target

    def forward(self, batch: StageBatch) -> StageTerms:
        """Noise the residual, denoise it, and lay prediction beside truth."""
        stage = self.stage
        conditions = stage.condition(
            batch.film, batch.fields, batch.beams, batch.prior_hu, batch.coarse_noise, batch.film_present
        )
        columns: list[Column | None] = [*batch.columns] or [None]
        prior_hu, truth_hu = (torch.cat([cut(volume, one) for one in columns]) for volume in (batch.prior_hu, batch.truth_hu))
        clean, voxels = stage.residual(truth_hu, prior_hu), joined([stage.at_voxels(conditions, one) for one in columns])
        prediction = stage.denoise(noised(clean, batch.noise, batch.time), batch.time, voxels)
        volume_hu = prior_hu + stage.residual_scale_hu * prediction
        grids, beams, line_integrals = _seen(batch, truth_hu)
        lifted = conditions.lifted
        return StageTerms(
            prediction,
            clean,
            batch.time,
            volume_hu,
            truth_hu,
            hu_to_mu_per_mm(volume_hu),
            line_integrals,
            grids,
            beams,
            None if lifted is None else lifted.log_mass,
            true_depth_mass(batch, conditions) if self.depth_target else None,
            None if lifted is None else lifted.region_mass,
        )


def true_depth_mass(batch: StageBatch, conditions: StageConditions) -> Tensor | None:
    """(B, V, G, K, h, w): the attenuation of the CT in each tissue and depth bin of each ray; None without depth lifting."""
    if conditions.lifted is None:
        return None
    bins, rows, cols = conditions.lifted.log_mass.shape[-3:]
    tissue = tissue_mu_per_mm(batch.truth_hu)
    return to_ray_space(tissue, batch.fields, batch.beams, bins=bins, rows=rows, cols=cols)


def _seen(batch: StageBatch, truth_hu: Tensor) -> tuple[list[VolumeGrid], list[list[Beam]], Tensor]:
    """Grids, beams and true line integrals of what is trained on.

    A column explains only its share of the film, so its prediction is compared with the projection of its truth.
    """
    if not batch.columns:
        return batch.fields, batch.beams, batch.line_integrals
    grids: list[VolumeGrid] = []
    beams: list[list[Beam]] = []
    for column in batch.columns:
        windows = [_window(column[axis], batch.film.shape[3 + axis]) for axis in (0, 1)]
        grids += cut_grids(batch.fields, column)
        beams += [[beam.crop(*windows) for beam in views] for views in batch.beams]
    return grids, beams, project(hu_to_mu_per_mm(truth_hu), grids, beams)


def _window(span: slice, pixels: int) -> slice:
    """As wide for every column: at an edge of the film more of it on the other side."""
    width = min(pixels, span.stop - span.start + 2 * SHADOW_MARGIN)
    start = max(0, min(span.start - SHADOW_MARGIN, pixels - width))
    return slice(start, start + width)

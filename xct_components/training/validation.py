"""Validating a stage inside its training: the one-step mean of held-out cases, beside their CT."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from xct_components.geometry import ChestView
from xct_components.metrics.image import mae_hu, psnr_db, rmse_hu, ssim
from xct_components.networks.cascade_stage import CascadeStage
from xct_components.networks.explained_volume import explained_hu
from xct_components.physics.attenuation import hu_to_mu_per_mm
from xct_components.physics.consistency import HardConsistency
from xct_components.physics.projector import project
from xct_components.training.depth_profile import CaseDepth, depths_of
from xct_components.training.prepare_batch import PrepareStageBatch
from xct_components.training.stage_batch import StageBatch

if TYPE_CHECKING:
    from ignite.metrics import Metric

#: Figures of a volume beside its CT; PSNR and SSIM over their usual window, -1024 to 1024 HU.
JUDGES: dict[str, Callable[..., float]] = {"rmse_hu": rmse_hu, "mae_hu": mae_hu, "psnr_db": psnr_db, "ssim": ssim}


class ValidatedVolume(NamedTuple):
    """What a stage makes of B held-out cases, and how good it is.

    ``volume_hu``: (B, 1, D, H, W) the one-step mean, consistent with the films. ``figures``: (B,) each: ``rmse_hu``,
    ``mae_hu``, ``psnr_db``, ``ssim`` of the volume; ``prior_rmse_hu`` of what the stage started from; ``film_error`` of the
    prediction before consistency mended it; ``depth_error_mm`` of depth lifting and ``atlas_depth_error_mm`` of what that
    starts from, NaN without it. ``depths``: B, empty without depth lifting.
    """

    volume_hu: Tensor
    figures: dict[str, Tensor]
    depths: list[CaseDepth]


class PrepareValidation:
    """Batches of whole volumes as the stage will meet them: every film seen, real outputs of the stages before.

    Args:
        stage: what is validated, the weight average.
        parents: the stages before.
        views: the films of every case.
    """

    def __init__(self, stage: nn.Module, parents: Sequence[CascadeStage] = (), *, views: Sequence[ChestView] = ("PA",)) -> None:
        settings: dict[str, Any] = {"film_dropout": 0.0, "real_coarse_share": 1.0, "coarse_noise": 0.0, "views": views}
        self.prepare = PrepareStageBatch(stage, parents, **settings)  # type: ignore[arg-type]

    def __call__(
        self,
        cases: Sequence[Mapping[str, Any]],
        device: str | torch.device = "cpu",
        non_blocking: bool = False,  # noqa: ARG002 - MONAI's engines pass it
        **_: Any,
    ) -> tuple[StageBatch, Tensor]:
        """The batch, and the CTs (B, 1, D, H, W) in HU."""
        batch = self.prepare.batch(cases, device)
        return batch, batch.truth_hu


class MeanOfBatch:
    """The one-step mean of a batch, consistent with its films: an inferer for MONAI's evaluator."""

    @torch.no_grad()
    def __call__(self, batch: StageBatch, stage: CascadeStage) -> ValidatedVolume:
        """The volumes with their figures."""
        conditions = stage.condition(batch.film, batch.fields, batch.beams, batch.prior_hu)
        predicted_hu = stage.predicted_hu(conditions)
        believed = [HardConsistency()] * len(batch.beams)
        volume_hu = explained_hu(predicted_hu, batch.film, batch.fields, batch.beams, believed)
        depths = depths_of(stage.atlas, conditions, batch)
        figures = {
            **{name: _each(judge, volume_hu, batch.truth_hu) for name, judge in JUDGES.items()},
            "prior_rmse_hu": _each(rmse_hu, batch.prior_hu, batch.truth_hu),
            "film_error": _film_error(predicted_hu, batch),
            "depth_error_mm": _depth_error_mm(depths, "predicted", batch),
            "atlas_depth_error_mm": _depth_error_mm(depths, "atlas", batch),
        }
        return ValidatedVolume(volume_hu, figures, depths)


def mean_of(figure: str) -> Metric:
    """The mean of one of the figures over all cases, for MONAI's evaluator."""
    from ignite.metrics import Average

    each = Average(output_transform=lambda output: output["pred"].figures[figure][:, None])
    return each[0]  # (B, 1) are B values of one figure; (B,) would be one value of B figures


def _each(judge: Callable[..., float], predicted_hu: Tensor, truth_hu: Tensor) -> Tensor:
    """A figure of every case, (B,)."""
    pairs = zip(predicted_hu[:, 0].cpu().numpy(), truth_hu[:, 0].cpu().numpy(), strict=True)
    return torch.tensor([judge(predicted, truth) for predicted, truth in pairs])


def _film_error(volume_hu: Tensor, batch: StageBatch) -> Tensor:
    film = project(hu_to_mu_per_mm(volume_hu), batch.fields, batch.beams)
    return (film - batch.film).flatten(1).norm(dim=1) / batch.film.flatten(1).norm(dim=1)


def _depth_error_mm(depths: list[CaseDepth], name: str, batch: StageBatch) -> Tensor:
    return torch.tensor([depth.errors_mm[name] for depth in depths] or [torch.nan] * len(batch.beams))

"""Validating a stage inside its training: the one-step mean of held-out cases, beside their CT."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from xct_components.networks.cascade_stage import CascadeStage
from xct_components.physics.consistency import HardConsistency
from xct_components.training.prepare_batch import PrepareStageBatch
from xct_components.training.stage_batch import StageBatch


class PrepareValidation:
    """Batches of whole volumes as the stage will meet them: every film seen, real outputs of the stages before.

    Args:
        stage: what is validated, the weight average.
        parents: the stages before.
    """

    def __init__(self, stage: nn.Module, parents: Sequence[CascadeStage] = ()) -> None:
        settings: dict[str, Any] = {"film_dropout": 0.0, "real_coarse_share": 1.0, "coarse_noise": 0.0}
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
    def __call__(self, batch: StageBatch, stage: CascadeStage) -> Tensor:
        """(B, 1, D, H, W) in HU."""
        conditions = stage.condition(batch.film, batch.fields, batch.beams, batch.prior_hu)
        return stage.mean_hu(conditions, [HardConsistency()] * len(batch.beams))

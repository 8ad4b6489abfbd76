"""Training all stages at once: gradients of every stage's loss run back through the volumes of the stages before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from xct_components.data.cases.cases import TrainingBatch, render_batch
from xct_components.data.cases.random_draws import happens
from xct_components.diffusion.schedule import PURE_NOISE_SHARE
from xct_components.geometry import Beam, ChestView
from xct_components.losses.hybrid import HybridLoss
from xct_components.losses.stage_terms import StageTerms
from xct_components.networks.cascade_stage import CascadeStage
from xct_components.networks.stage_conditions import Column
from xct_components.physics.consistency import Consistency
from xct_components.training.prepare_batch import (
    chances_of,
    consistency_of,
    draw_columns,
    drawn_noise,
    drawn_times,
    drawn_views,
    in_range,
    names_of,
    require_column,
    seen_by,
)
from xct_components.training.stage_batch import StageBatch
from xct_components.training.stage_step import StageStep


def joint_stages(stages: Sequence[CascadeStage], *, gradient_checkpointing: bool | None = None) -> nn.ModuleDict:
    """The stages of a cascade as one network, all of them free to learn; "stage1" and so on in its weights.

    Args:
        stages: coarsest first.
        gradient_checkpointing: recompute the networks' blocks in the backward pass; None leaves each as it was built.

    Raises:
        ValueError: for fewer than two stages.
    """
    if len(stages) < 2:
        raise ValueError(f"stages must be at least two, got {len(stages)}; train.json trains one")
    for stage in stages:
        if gradient_checkpointing is not None:
            stage.network.gradient_checkpointing = gradient_checkpointing
    named = {f"stage{number}": stage for number, stage in enumerate(stages, start=1)}
    return nn.ModuleDict(named).requires_grad_(True).train()


def stages_of(joint: nn.ModuleDict) -> list[CascadeStage]:
    """The stages of ``joint_stages``, coarsest first."""
    return [cast("CascadeStage", stage) for stage in joint.values()]


@dataclass(frozen=True)
class JointBatch:
    """B cases as each of S stages sees them, with every random choice already made.

    Args:
        seen: patients and films in the voxels and pixels of every stage.
        consistency: B, how far each case's films are to be believed.
        noise: per stage (B, 1, D, H, W); for the last of its columns, if there are any, as in ``StageBatch``.
        time: per stage (B,) diffusion time, likewise.
        film_present: (B,) 0 where the networks must do without the film.
        columns: the full-depth columns that the last stage is trained on; none for the whole volume.
        names: B, of the patients: the first stage must not start from their own CTs; None for nobody's.
    """

    seen: list[TrainingBatch]
    consistency: list[Consistency]
    noise: list[Tensor]
    time: list[Tensor]
    film_present: Tensor
    columns: list[Column] = field(default_factory=list)
    names: list[str] | None = None

    def to(self, device: str | torch.device) -> JointBatch:
        """The same batch with its tensors on a device."""
        seen = [
            TrainingBatch(one.ct_hu.to(device), one.film.to(device), one.line_integrals.to(device), one.grids, one.beams)
            for one in self.seen
        ]
        noise, time = ([tensor.to(device) for tensor in tensors] for tensors in (self.noise, self.time))
        return replace(self, seen=seen, noise=noise, time=time, film_present=self.film_present.to(device))


class PrepareJointBatch:
    """Makes the batches of all stages from cases of the last one's size; MONAI's trainer calls it as its ``prepare_batch``.

    Args:
        stages: from ``joint_stages``.
        views: the films of every case.
        second_view: another film that some batches get beside those; all stages see it.
        second_view_share: share of the batches that get it.
        pure_noise_share: as for ``PrepareStageBatch``.
        film_dropout: likewise.
        column_pixels: likewise, for the last stage alone.
        columns: likewise.

    Raises:
        ValueError: if columns do not fit the last stage's network or film.
    """

    def __init__(
        self,
        stages: nn.ModuleDict,
        *,
        views: Sequence[ChestView] = ("PA",),
        second_view: ChestView = "LL",
        second_view_share: float = 0.0,
        pure_noise_share: float = PURE_NOISE_SHARE,
        film_dropout: float = 0.0,
        column_pixels: int = 0,
        columns: int = 1,
    ) -> None:
        self.stages, self.views = stages_of(stages), tuple(views)
        self.column_pixels, self.columns = column_pixels, columns
        self.second_view, self.second_view_share = second_view, second_view_share
        self.pure_noise_share, self.film_dropout = pure_noise_share, film_dropout
        require_column(self.stages[-1], column_pixels, columns)

    def __call__(
        self,
        cases: Sequence[Mapping[str, Any]],
        device: str | torch.device = "cpu",
        non_blocking: bool = False,  # noqa: ARG002 - MONAI's engines pass it
        **_: Any,
    ) -> tuple[JointBatch, JointBatch]:
        """The batch, as input and as target."""
        batch = self.batch(cases, device)
        return batch, batch

    @torch.no_grad()
    def batch(self, cases: Sequence[Mapping[str, Any]], device: str | torch.device = "cpu") -> JointBatch:
        """The batch of cases from ``TrainingCases``."""
        last = self.stages[-1]
        rows, cols = last.film_shape
        chances = chances_of(cases)
        views = drawn_views(self.views, self.second_view, self.second_view_share, chances[0])
        rendered = render_batch(cases, rows=rows, cols=cols, views=views, device=device)
        columns = draw_columns(last, self.column_pixels, self.columns, chances[0])
        present = torch.tensor([float(not happens(chance, self.film_dropout)) for chance in chances])
        counts = [1] * (len(self.stages) - 1) + [max(len(columns), 1)]
        times = [drawn_times(chances, self.pure_noise_share, count).to(device) for count in counts]
        noise = [
            drawn_noise(chances, (1, *self._size(stage, columns)), count).to(device)
            for stage, count in zip(self.stages, counts, strict=True)
        ]
        seen = [*(seen_by(stage, rendered) for stage in self.stages[:-1]), rendered]
        return JointBatch(seen, consistency_of(rendered), noise, times, present.to(device), columns, names_of(cases))

    def _size(self, stage: CascadeStage, columns: list[Column]) -> tuple[int, int, int]:
        depth, rows, cols = stage.field.shape
        if not columns or stage is not self.stages[-1]:
            return depth, rows, cols
        return depth, self.column_pixels, self.column_pixels


class JointStep(nn.Module):
    """One training step of all stages: each starts from the one-step mean of the stage before, gradients included.

    Args:
        stages: from ``joint_stages``.
        depth_target: as for ``StageStep``, for all but the last stage, whose loss has no depth prior.
    """

    def __init__(self, stages: nn.ModuleDict, *, depth_target: bool = True) -> None:
        super().__init__()
        last = len(stages) - 1
        self.steps = nn.ModuleList(
            StageStep(stage, depth_target=depth_target and number < last) for number, stage in enumerate(stages_of(stages))
        )

    def forward(self, batch: JointBatch) -> list[StageTerms]:
        """The terms of every stage's loss."""
        coarse_hu: Tensor | None = None
        terms = []
        for number, step in enumerate(self.steps):
            stage = cast("StageStep", step).stage
            one = stage_batch(batch, number, stage, coarse_hu)
            terms.append(step(one))
            if number < len(self.steps) - 1:
                conditions = stage.condition(one.film, one.fields, one.beams, one.prior_hu)
                coarse_hu = stage.mean_hu(conditions, batch.consistency)
        return terms


class JointLoss(nn.Module):
    """The sum of the stages' losses.

    Args:
        losses: one for each stage.
    """

    def __init__(self, losses: Sequence[HybridLoss]) -> None:
        super().__init__()
        self.losses = nn.ModuleList(losses)

    def forward(self, terms: Sequence[StageTerms]) -> dict[str, Tensor]:
        """The total, "loss", and every term of every stage, as "stage1_velocity"; all scalars."""
        reports = [loss(one) for loss, one in zip(self.losses, terms, strict=True)]
        named = {f"stage{number}_{name}": term for number, one in enumerate(reports, start=1) for name, term in one.items()}
        return {"loss": torch.stack([one["loss"] for one in reports]).sum(), **named}


def stage_batch(batch: JointBatch, number: int, stage: CascadeStage, coarse_hu: Tensor | None) -> StageBatch:
    """The batch of one stage, whose prior is made from ``coarse_hu``, the volume of the stage before, gradients included."""
    seen, last = batch.seen[number], number == len(batch.seen) - 1
    beams: list[list[Beam]] = [list(views) for views in seen.beams]
    return StageBatch(
        film=seen.film,
        line_integrals=seen.line_integrals,
        fields=seen.grids,
        beams=beams,
        truth_hu=in_range(seen),
        prior_hu=stage.prior_hu(seen.film, seen.grids, beams, batch.consistency, coarse_hu, without=batch.names),
        coarse_noise=torch.zeros_like(batch.film_present),
        film_present=batch.film_present,
        noise=batch.noise[number],
        time=batch.time[number],
        columns=batch.columns if last else [],
    )

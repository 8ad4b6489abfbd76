"""From training cases to a stage's batch: augment, take the films, run the stages before, draw noise and time."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from xct_components.data.cases.cases import TrainingBatch, render_batch
from xct_components.data.cases.random_draws import below, between, case_generator, happens
from xct_components.diffusion.schedule import PURE_NOISE_SHARE, draw_times
from xct_components.geometry import Beam, ChestView
from xct_components.networks.cascade_stage import CascadeStage
from xct_components.networks.explained_volume import HIGHEST_HU, LOWEST_HU
from xct_components.networks.stage_conditions import Column
from xct_components.physics.consistency import Consistency, HardConsistency, SoftConsistency
from xct_components.training.kept_volumes import KeptVolumes, TensorsFingerprint
from xct_components.training.stage_batch import StageBatch

#: Largest standard deviation of the noise that a previous stage's volume is given, in HU.
COARSE_NOISE_HU = 100.0


class PrepareStageBatch:
    """Makes the batches of one stage; MONAI's trainer calls it as its ``prepare_batch``.

    All chance comes from the cases' own seeds, so a batch can be made again, and a case is drawn alike whatever batch or
    process it comes in. Only the columns and the second film are one choice for a batch; the first case makes it. What frozen
    stages make of a case can be kept: where cases come again as they were drawn before, that is most of the preparation.
    Preparing a case takes several times as long as training on one of its columns: hence several of each.

    Args:
        stage: the stage that is trained; its atlas makes the prior of the first.
        parents: the stages before, with their weights; they stay frozen.
        views: the films of every case.
        second_view: another film that some batches get beside those.
        second_view_share: share of the batches that get it.
        pure_noise_share: cases at diffusion time 1, where the one-step mean is trained.
        film_dropout: share of the cases whose film the network does not see; what for: docs/architecture.md, "Training".
        real_coarse_share: cases that start from the previous stages' own output; the others from the truth, made coarse.
        coarse_noise: largest level of noise on the coarse volume, 0 to 1 (1: 100 HU).
        column_pixels: rows and columns of the full-depth column that a batch is trained on, a multiple of the network's
            coarsest voxels; 0 trains on whole volumes.
        columns: how many of every case a batch holds, each with noise and time of its own; whole volumes once.
        kept: where starts, or the previous stages' outputs, are kept; None makes them anew in every epoch.

    Raises:
        ValueError: if columns do not fit the network or the film.
    """

    def __init__(  # noqa: PLR0913 - the choices of a batch, each named in its bundle's JSON
        self,
        stage: CascadeStage,
        parents: Sequence[CascadeStage] = (),
        *,
        views: Sequence[ChestView] = ("PA",),
        second_view: ChestView = "LL",
        second_view_share: float = 0.0,
        pure_noise_share: float = PURE_NOISE_SHARE,
        film_dropout: float = 0.0,
        real_coarse_share: float = 0.7,
        coarse_noise: float = 0.5,
        column_pixels: int = 0,
        columns: int = 1,
        kept: KeptVolumes | None = None,
    ) -> None:
        self.stage, self.parents, self.views = stage, list(parents), tuple(views)
        self.second_view, self.second_view_share = second_view, second_view_share
        self.pure_noise_share, self.film_dropout = pure_noise_share, film_dropout
        self.real_coarse_share, self.coarse_noise, self.column_pixels = real_coarse_share, coarse_noise, column_pixels
        self.columns, self.kept = columns, kept
        own = [one for one in (stage.atlas, stage.multi_atlas) if one is not None]
        self._makers = TensorsFingerprint(self.parents or own)
        require_column(stage, column_pixels, columns)
        for parent in self.parents:
            parent.eval().requires_grad_(False)

    def __call__(
        self,
        cases: Sequence[Mapping[str, Any]],
        device: str | torch.device = "cpu",
        non_blocking: bool = False,  # noqa: ARG002 - MONAI's engines pass it
        **_: Any,
    ) -> tuple[StageBatch, StageBatch]:
        """The batch, as input and as target."""
        batch = self.batch(cases, device)
        return batch, batch

    @torch.no_grad()
    def batch(self, cases: Sequence[Mapping[str, Any]], device: str | torch.device = "cpu") -> StageBatch:
        """The batch of cases from ``TrainingCases``."""
        chances = chances_of(cases)
        rendered = self._rendered(cases, device, drawn_views(self.views, self.second_view, self.second_view_share, chances[0]))
        beams: list[list[Beam]] = [list(views) for views in rendered.beams]
        explain = consistency_of(rendered)
        columns = draw_columns(self.stage, self.column_pixels, self.columns, chances[0])
        coarse, level = self._coarse(cases, rendered, explain, chances)
        if coarse is None:
            prior_hu = self._from_frozen(cases, rendered, explain)
        else:
            prior_hu = self.stage.prior_hu(rendered.film, rendered.grids, beams, explain, coarse)
        size = (prior_hu.shape[2], self.column_pixels, self.column_pixels) if columns else prior_hu.shape[2:]
        trained_on = max(len(columns), 1)
        present = [float(not happens(chance, self.film_dropout)) for chance in chances]
        times = drawn_times(chances, self.pure_noise_share, trained_on)
        return StageBatch(
            film=rendered.film,
            line_integrals=rendered.line_integrals,
            fields=rendered.grids,
            beams=beams,
            truth_hu=in_range(rendered),
            prior_hu=prior_hu,
            coarse_noise=level.to(device),
            film_present=torch.tensor(present).to(device),
            noise=drawn_noise(chances, (1, *size), trained_on).to(device),
            time=times.to(device),
            columns=columns,
        )

    def truth_hu(self, cases: Sequence[Mapping[str, Any]], device: str | torch.device = "cpu") -> Tensor:
        """The CTs of ``batch`` alone, (B, 1, D, H, W): no stage is run."""
        return in_range(self._rendered(cases, device, self.views))

    def _rendered(
        self, cases: Sequence[Mapping[str, Any]], device: str | torch.device, views: tuple[ChestView, ...]
    ) -> TrainingBatch:
        rows, cols = self.stage.film_shape
        return render_batch(cases, rows=rows, cols=cols, views=views, device=device)

    def _coarse(
        self,
        cases: Sequence[Mapping[str, Any]],
        rendered: TrainingBatch,
        explain: list[Consistency],
        chances: Sequence[torch.Generator],
    ) -> tuple[Tensor | None, Tensor]:
        """The previous stage's volume and the level of noise on it, (B,)."""
        if not self.parents:
            return None, torch.zeros(len(chances))
        coarse = F.interpolate(rendered.ct_hu, size=self.parents[-1].field.shape, mode="area")
        real = [i for i, chance in enumerate(chances) if happens(chance, self.real_coarse_share)]
        if real:
            coarse[real] = self._from_frozen([cases[i] for i in real], _picked(rendered, real), [explain[i] for i in real])
        level = torch.tensor([self.coarse_noise * between(chance, 0.0, 1.0) for chance in chances])
        noise = drawn_noise(chances, tuple(coarse.shape[1:])).to(coarse)
        return coarse + COARSE_NOISE_HU * level.to(coarse)[:, None, None, None, None] * noise, level

    def _from_frozen(
        self, cases: Sequence[Mapping[str, Any]], rendered: TrainingBatch, explain: Sequence[Consistency]
    ) -> Tensor:
        """The previous stages' volumes, or the first stage's starts, in HU; those that are kept are made one by one."""
        if self.kept is None:
            return self._made(rendered, explain, names_of(cases))
        volumes = []
        for i, case in enumerate(cases):
            one = _picked(rendered, [i]), [explain[i]], names_of([case])
            volumes.append(self.kept.of(self._described(case, rendered), partial(self._made, *one)))
        return torch.cat([volume.to(rendered.ct_hu) for volume in volumes])

    def _made(self, rendered: TrainingBatch, explain: Sequence[Consistency], names: Sequence[str]) -> Tensor:
        if self.parents:
            return means_of(self.parents, rendered, explain, names)
        views: list[list[Beam]] = [list(beams) for beams in rendered.beams]
        return self.stage.prior_hu(rendered.film, rendered.grids, views, explain, without=names)

    def _described(self, case: Mapping[str, Any], rendered: TrainingBatch) -> dict[str, Any]:
        """All that the volume of a case depends on; its films are those of augmentation and exposure."""
        chosen = {name: case[name] for name in ("case", "grid", "augmentation", "exposure")}
        ct = hashlib.sha256(case["ct_hu"].contiguous().numpy().tobytes()).hexdigest()
        views = [*self.views, self.second_view][: rendered.film.shape[1]]
        made_by = {"stages": len(self.parents), "tensors": self._makers.digits()}
        return {**chosen, "ct": ct, "views": views, "film_shape": self.stage.film_shape, "made_by": made_by}


def chances_of(cases: Sequence[Mapping[str, Any]]) -> list[torch.Generator]:
    """The chance of each case's noise, time and prior; it belongs to the case, not to its batch."""
    return [case_generator(int(case["chance_seed"]), 0, 0) for case in cases]


def drawn_views(
    views: tuple[ChestView, ...], second_view: ChestView, share: float, chance: torch.Generator
) -> tuple[ChestView, ...]:
    """The films of a batch: with the second one as often as ``share`` says; nothing is drawn for a share of 0."""
    return (*views, second_view) if share > 0.0 and happens(chance, share) else views


def names_of(cases: Sequence[Mapping[str, Any]]) -> list[str]:
    """Of each case the patient's name: it stays through all augmentations."""
    return [str(case["case"]) for case in cases]


def require_column(stage: CascadeStage, pixels: int, count: int = 1) -> None:
    """Refuse columns that do not fit.

    Raises:
        ValueError: unless the side is 0, for whole volumes, which are one each, or a multiple of the network's coarsest voxels
            within the film, and there is at least one.
    """
    if pixels and (pixels % stage.network.coarsest or pixels > min(stage.film_shape)):
        raise ValueError(
            f"column_pixels must be a multiple of {stage.network.coarsest} and fit the film of {stage.film_shape} pixels, "
            f"got {pixels}; 0 trains on whole volumes"
        )
    if count < 1:
        raise ValueError(f"columns must be at least 1, got {count}")


def draw_columns(stage: CascadeStage, pixels: int, count: int, chance: torch.Generator) -> list[Column]:
    """Full-depth columns on the network's lattice; none, and nothing drawn, for 0 pixels."""
    step, columns = stage.network.coarsest, list[Column]()
    for _ in range(count if pixels else 0):
        row, col = (step * below(chance, (n - pixels) // step + 1) for n in stage.film_shape)
        columns.append((slice(row, row + pixels), slice(col, col + pixels)))
    return columns


def consistency_of(rendered: TrainingBatch) -> list[Consistency]:
    """Per case: films that are line integrals are explained exactly, films that went through a detector softly."""
    exact = (rendered.film == rendered.line_integrals).flatten(1).all(1).tolist()
    return [HardConsistency() if one else SoftConsistency() for one in exact]


def seen_by(stage: CascadeStage, rendered: TrainingBatch) -> TrainingBatch:
    """The same patients and films in the voxels and pixels of a coarser stage, as means of the finer ones."""
    size = stage.field.shape

    def small(film: Tensor) -> Tensor:
        return F.interpolate(film.flatten(0, 1), size=stage.film_shape, mode="area").unflatten(0, film.shape[:2])

    return TrainingBatch(
        F.interpolate(rendered.ct_hu, size=size, mode="area"),
        small(rendered.film),
        small(rendered.line_integrals),
        [grid.resampled(size) for grid in rendered.grids],
        [[beam.resampled(*stage.film_shape) for beam in views] for views in rendered.beams],
    )


@torch.no_grad()
def means_of(
    stages: Sequence[CascadeStage], rendered: TrainingBatch, explain: Sequence[Consistency], names: Sequence[str]
) -> Tensor:
    """The one-step means of stages in a chain: (B, 1, D, H, W) of the last one, in HU; made without the patients' own CTs."""
    volume_hu: Tensor | None = None
    for stage in stages:
        seen = seen_by(stage, rendered)
        views = [list(sample) for sample in seen.beams]
        prior_hu = stage.prior_hu(seen.film, seen.grids, views, explain, volume_hu, without=names)
        volume_hu = stage.mean_hu(stage.condition(seen.film, seen.grids, views, prior_hu), explain)
    if volume_hu is None:
        raise ValueError("stages must hold at least one stage, got none")
    return volume_hu


def in_range(rendered: TrainingBatch) -> Tensor:
    """The CTs (B, 1, D, H, W), held in the range of CT numbers that the cascade works in."""
    return rendered.ct_hu.clamp(LOWEST_HU, HIGHEST_HU)


def drawn_times(chances: Sequence[torch.Generator], pure_noise_share: float, count: int) -> Tensor:
    """Diffusion times (count * B,), every case's from its own generator: first the first one of every case."""
    return torch.cat([draw_times(1, chance, pure_noise_share=pure_noise_share) for _ in range(count) for chance in chances])


def drawn_noise(chances: Sequence[torch.Generator], size: tuple[int, ...], count: int = 1) -> Tensor:
    """White noise (count * B, *size), drawn likewise."""
    return torch.stack([torch.randn(size, generator=chance) for _ in range(count) for chance in chances])


def _picked(rendered: TrainingBatch, numbers: Sequence[int]) -> TrainingBatch:
    """Some cases of a batch."""
    ct_hu, film, line_integrals, grids, beams = rendered
    chosen = list(numbers)
    own_grids, own_beams = [grids[i] for i in chosen], [beams[i] for i in chosen]
    return TrainingBatch(ct_hu[chosen], film[chosen], line_integrals[chosen], own_grids, own_beams)

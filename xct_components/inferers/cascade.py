"""All stages one after the other as a MONAI inferer: each starts from the volume of the one before."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import torch
from monai.data import MetaTensor
from monai.inferers import Inferer
from torch import Tensor

from xct_components.failures import UsageFailure
from xct_components.geometry import Beam, VolumeGrid, chest_beam_covering
from xct_components.inferers.cascade_film import CascadeFilm
from xct_components.inferers.film_errors import film_errors
from xct_components.inferers.planned_run import FEWER_STAGES, PlannedRun, require_memory
from xct_components.inferers.resampled_volume import on_field
from xct_components.inferers.stage import USUAL_OVERLAP, Mode, OnStep, StageInferer, StageResult
from xct_components.inferers.stage_films import stage_films
from xct_components.inferers.stated_deviation import stated_deviation
from xct_components.inferers.volume_statistics import VolumeStatistics
from xct_components.networks.cascade_stage import CascadeStage
from xct_components.networks.deviation_factors import steps_drawn
from xct_components.networks.multi_atlas import BentCts
from xct_components.physics.consistency import Consistency

#: Called with (stage from 1, network evaluations done, evaluations in all), over all stages and samples.
OnProgress = Callable[[int, int, int], None]
#: Called after a stage of the first pass with its number from 1, its volume and where it lies: a preview need not wait.
OnStage = Callable[[int, StageResult, VolumeGrid], None]


class CascadeResult(NamedTuple):
    """One patient's volume.

    ``volume_hu``: (1, 1, D, H, W) of the last stage. ``std_hu``: likewise, see ``stated_deviation``; None for a single draw,
    and where neither bent CTs nor samples tell it. ``field``: where its voxels lie. ``film_error``: per view ||DRR(volume) -
    film|| / ||film||. ``seconds``: per stage, all passes together. ``fitted_film_error``: as ``film_error``, for the gain and
    offset of the film that fit best. ``std_factor``: see ``DeviationFactors``, 1 where nothing was measured. ``bent_cts``: how
    many CTs of other patients the films bent. ``members_hu``: those that were asked for, (1, 1, D, H, W) whole HU, int16.
    """

    volume_hu: Tensor
    std_hu: Tensor | None
    field: VolumeGrid
    film_error: list[float]
    seconds: list[float]
    fitted_film_error: list[float]
    std_factor: float
    bent_cts: int
    members_hu: Sequence[Tensor] = ()


class CascadeInferer(Inferer):  # type: ignore[misc]  # MONAI ships no types
    """The stages before the network, then the network.

    Args:
        parents: the stages before the network, coarsest first, with their weights.
        num_stages: stop after so many stages; None runs all.
        steps: as for ``StageInferer``, at every stage.
        samples: likewise; every sample runs through all stages with noise of its own.
        mode: likewise.
        members: how many single members to make beside the volume, from number ``seed`` on; see ``StageInferer``.
        seed: likewise.
        consistency: how far the films are to be believed; None: hard for exact films, soft for estimated ones.
        column: as for ``StageInferer``, for the last stage alone.
        overlap: likewise.
        residual_std: as for ``StageInferer``.

    Raises:
        ValueError: for a setting that ``StageInferer`` refuses, or more stages than there can be.
    """

    #: How a user asks for fewer stages; {} is their number.
    fewer_stages = FEWER_STAGES

    def __init__(  # noqa: PLR0913 - settings of one run
        self,
        parents: Sequence[CascadeStage] = (),
        *,
        num_stages: int | None = None,
        steps: int = 4,
        samples: int = 1,
        mode: Mode = "mean",
        members: int = 0,
        seed: int = 0,
        consistency: Consistency | None = None,
        column: int | None = None,
        overlap: int = USUAL_OVERLAP,
        residual_std: float = 1.0,
    ) -> None:
        if num_stages is not None and not 1 <= num_stages <= len(parents) + 1:
            raise ValueError(f"num_stages must lie between 1 and {len(parents) + 1}, got {num_stages}")
        StageInferer(samples=samples, mode=mode, steps=steps)  # refuses what cannot be meant
        if members < 0:
            raise ValueError(f"members must be 0 or more, got {members}")
        self.parents, self.num_stages, self.consistency = list(parents), num_stages, consistency
        self.samples, self.steps, self.mode, self.column, self.members = samples, steps, mode, column, members
        self._settings: dict[str, Any] = {"steps": steps, "seed": seed, "overlap": overlap, "residual_std": residual_std}

    def __call__(
        self,
        inputs: Tensor,
        network: CascadeStage,
        *,
        fields: Sequence[VolumeGrid] | None = None,
        beams: Sequence[Sequence[Beam]] | None = None,
        coarse_hu: Tensor | None = None,
    ) -> MetaTensor:
        """Run a batch as a bundle's evaluator does; films count as exact unless ``consistency`` says otherwise.

        Args:
            inputs: (B, V, rows, cols) line integrals.
            network: the last stage.
            fields: where the volumes of the network lie, one per sample; by default where the stage was trained. The volumes
                of the parents have the same middle.
            beams: V exposures per sample; by default PA films over the fields.
            coarse_hu: (B, 1, d, h, w) the volume before the network's, edge to edge on the same fields: no parent is run.

        Returns:
            (B, 1, D, H, W) HU with the affine of every volume (RAS mm), never that of the film.
        """
        rows, cols = inputs.shape[-2:]
        whole = list(fields) if fields is not None else [network.field] * len(inputs)
        views = beams if beams is not None else [[chest_beam_covering(one, "PA", rows, cols)] for one in whole]
        plain = inputs.as_subclass(Tensor).float()[:, :, None]
        coarse = [None] * len(plain) if coarse_hu is None else coarse_hu.as_subclass(Tensor).split(1)
        results = [
            self.run(
                CascadeFilm(film, tuple(taken), field.center_mm, exact=True),
                network,
                coarse_hu=one,
                last_field=field if self._count == len(self.parents) + 1 else None,
            )
            for film, taken, field, one in zip(plain.split(1), views, whole, coarse, strict=True)
        ]
        return with_affines(torch.cat([one.volume_hu for one in results]), [one.field for one in results])

    @torch.no_grad()
    def run(
        self,
        film: CascadeFilm,
        network: CascadeStage,
        *,
        coarse_hu: Tensor | None = None,
        last_field: VolumeGrid | None = None,
        on_progress: OnProgress | None = None,
        on_stage: OnStage | None = None,
    ) -> CascadeResult:
        """Run one patient.

        Args:
            film: the films and their geometry.
            network: the last stage.
            coarse_hu: (1, 1, d, h, w) the volume before the network's, edge to edge on its field: no parent is run.
            last_field: where the last stage's voxels shall lie; by default the stage's own field around the patient.
            on_progress: called after every network evaluation.
            on_stage: called after every stage of the first pass.

        Raises:
            OutOfResources: if memory is too small, before the first stage; with what would fit.
            UsageFailure: for more members than there are CTs that the films bend.
        """
        stages = [network] if coarse_hu is not None else [*self.parents, network][: self._count]
        fields = [film.field_of(stage) for stage in stages]
        if last_field is not None:
            fields[-1] = last_field
        self._require_memory(stages, fields[-1])
        work = _Run(self, film, stages, fields, on_progress, on_stage)
        mean_hu, std_hu = (None, None) if self.mode == "sample" else work.once(self.mode, 0, coarse_hu)
        drawn = VolumeStatistics()
        for chain in range(self.samples if self.mode == "sample" or self.samples > 1 else 0):
            std_hu = None  # 640 MB at full size, and the samples tell it better
            drawn.add(work.once("sample", chain, coarse_hu)[0])
        members_hu = [work.once("member", number, None)[0].round().to(torch.int16) for number in range(self.members)]
        volume_hu = drawn.mean if mean_hu is None else mean_hu
        factor = stages[-1].deviation_factors.at(steps_drawn(drawn.count, self.steps), film.seen)
        (bent,) = work.bent or [None]
        if (variance := drawn.variance) is not None:
            std_hu = stated_deviation(volume_hu, fields[-1], bent=bent, variance_hu2=variance, factor=factor)
        pixels, last = film.line_integrals.to(volume_hu), fields[-1:]
        films = stage_films(pixels, [film.beams], last, last, body_share=film.body_share)
        error, fitted = (one[0].tolist() for one in film_errors(volume_hu, films, last))
        count = 0 if bent is None else bent.patients
        return CascadeResult(volume_hu, std_hu, fields[-1], error, work.seconds, fitted, factor, count, members_hu)

    @property
    def evaluations(self) -> int:
        """Network evaluations of one patient at one stage."""
        return StageInferer(samples=self.samples, mode=self.mode, **self._settings).evaluations + self.members

    def stage_inferer(self, film: CascadeFilm, mode: Mode, *, last: bool) -> StageInferer:
        """One chain of one stage."""
        believed = film.believed if self.consistency is None else self.consistency
        shown: dict[str, Any] = {"body_share": film.body_share, "seen": film.seen}
        return StageInferer(mode=mode, consistency=believed, column=self.column if last else None, **shown, **self._settings)

    def _require_memory(self, stages: Sequence[CascadeStage], last: VolumeGrid) -> None:
        own = tuple(stage.field.shape for stage in stages)
        full_shape = None if last.shape == own[-1] else last.shape
        planned = PlannedRun(own, full_shape, self.mode, self.samples, self.members, self.column)
        require_memory(planned, next(stages[-1].parameters()).device, self.fewer_stages)

    @property
    def _count(self) -> int:
        return len(self.parents) + 1 if self.num_stages is None else self.num_stages


class _Run:
    """One patient on the way through the stages, as often as there are chains."""

    def __init__(
        self,
        settings: CascadeInferer,
        film: CascadeFilm,
        stages: Sequence[CascadeStage],
        fields: Sequence[VolumeGrid],
        on_progress: OnProgress | None,
        on_stage: OnStage | None,
    ) -> None:
        self.settings, self.film, self.stages, self.fields = settings, film, stages, fields
        self.on_progress, self.on_stage = on_progress, on_stage
        self.seconds, self.done, self.passes = [0.0] * len(stages), 0, 0
        #: What the films bent in the first pass: the same in all.
        self.bent: Sequence[BentCts | None] | None = None

    def once(self, mode: Mode, chain: int, coarse_hu: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The volume of the last stage of one pass through all, and what that stage states of its error."""
        volume_hu, std_hu, before = coarse_hu, None, self.fields[0]
        for number, (stage, field) in enumerate(zip(self.stages, self.fields, strict=True)):
            start = time.perf_counter()
            coarse = None if volume_hu is None else on_field(volume_hu, before.resampled(volume_hu.shape[2:]), field)
            infer = self.settings.stage_inferer(self.film, mode, last=number == len(self.stages) - 1)
            films, views, step = self.film.line_integrals, [self.film.beams], self._step(number)
            known: dict[str, Any] = {"coarse_hu": coarse, "bent": self.bent, "chain": chain, "on_step": step}
            known["without"] = [self.film.without]
            result = infer(films, stage, fields=[field], beams=views, **known)
            volume_hu, std_hu, before, self.bent = result.volume_hu, result.std_hu, field, result.bent
            _require_members(self.settings.members, self.bent)
            self.seconds[number] += time.perf_counter() - start
            if self.on_stage is not None and self.passes == 0:
                self.on_stage(number + 1, result, field)
            del result
        self.passes += 1
        return cast(Tensor, volume_hu), std_hu

    def _step(self, number: int) -> OnStep:
        def step(done: int, of: int) -> None:  # noqa: ARG001
            self.done += 1
            if self.on_progress is not None:
                self.on_progress(number + 1, self.done, len(self.stages) * self.settings.evaluations)

        return step


def _require_members(count: int, bent: Sequence[BentCts | None]) -> None:
    """Refuse more than there are, as soon as that is known."""
    most = min(0 if one is None else one.patients for one in bent)
    if count > most:
        why = "" if most else ": they begin with the first stage, whose weights must hold some, and a frontal film"
        raise UsageFailure(f"members must be at most {most}, the CTs that the film bends{why}; got {count}")


def with_affines(volume_hu: Tensor, fields: Sequence[VolumeGrid]) -> MetaTensor:
    """The volumes (B, 1, D, H, W) with the affine of each, as MONAI batches them."""
    batch = MetaTensor(volume_hu, meta={"affine": torch.stack([field.affine for field in fields])})
    batch.is_batch = True
    return batch

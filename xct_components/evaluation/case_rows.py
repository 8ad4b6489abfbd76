"""One held-out CT through the cascade, and every volume of it judged beside the baselines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from xct_components.evaluation.baselines import BENT, PREVIOUS, TrainSide, baseline_volumes
from xct_components.evaluation.given_volumes import given_volumes
from xct_components.evaluation.held_out_case import HeldOutCase
from xct_components.metrics.image import Window
from xct_components.metrics.pair import TrueVolume

if TYPE_CHECKING:
    from xct_components.cascade import UnifiedHybridViTCascade
    from xct_components.geometry import VolumeGrid
    from xct_components.inferers.stage import StageResult

#: Called with what is done next.
OnWork = Callable[[str], None]


@dataclass(frozen=True)
class Row:
    """One prediction of one patient, judged.

    Args:
        case: the patient's case.
        size: voxels a side.
        method: what made the prediction.
        scores: by name, see docs/metrics.md.
    """

    case: str
    size: int
    method: str
    scores: dict[str, float]


@dataclass(frozen=True)
class CascadeSettings:
    """How the cascade runs.

    Args:
        stages: how many.
        samples: volumes to draw beside the one-step mean; 0 for none.
        steps: network evaluations of a sample.
        seed: of the noise.
    """

    stages: int
    samples: int
    steps: int
    seed: int


@dataclass(eq=False)
class Predictions:
    """All volumes of one patient: size -> method -> HU, and the deviation of those that have one."""

    volumes: dict[int, dict[str, Tensor]]
    std: dict[tuple[int, str], Tensor] = field(default_factory=dict)


def mean_of(stage: int) -> str:
    """What the one-step mean of a stage is called."""
    return f"stage {stage}, mean"


def predictions(
    case: HeldOutCase,
    cascade: UnifiedHybridViTCascade,
    train: TrainSide,
    settings: CascadeSettings,
    folders: Mapping[str, Path],
    on_work: OnWork,
) -> Predictions:
    """Baselines, given volumes, then the cascade: the mean of every stage, and samples if they are wanted."""
    stages = cascade.stages[: settings.stages]
    on_work("baselines")
    made = Predictions(baseline_volumes(case, stages, train))
    for size, given in given_volumes(case, folders).items():
        made.volumes[size].update(given)

    def keep_mean(number: int, result: StageResult, _: VolumeGrid) -> None:
        size = stages[number - 1].field.shape[0]
        if number > 1 or stages[0].multi_atlas is not None:
            made.volumes[size][PREVIOUS if number > 1 else BENT] = result.prior_hu.cpu()
        made.volumes[size][mean_of(number)] = result.volume_hu.cpu()
        if result.std_hu is not None:
            made.std[size, mean_of(number)] = result.std_hu.cpu()

    def keep_sample(number: int, result: StageResult, _: VolumeGrid) -> None:
        made.volumes[stages[number - 1].field.shape[0]][f"stage {number}, one sample"] = result.volume_hu.cpu()

    on_work("the cascade's mean")
    cascade.generate(case.film, settings.stages, seed=settings.seed, on_stage=keep_mean)
    if settings.samples:
        on_work(f"{settings.samples} samples")
        how: dict[str, Any] = {"steps": settings.steps, "samples": settings.samples, "seed": settings.seed}
        ct = cascade.generate(case.film, settings.stages, mode="sample", on_stage=keep_sample, **how)
        if ct.std is not None:
            last, method = stages[-1].field.shape[0], f"stage {settings.stages}, mean of {settings.samples}"
            made.volumes[last][method] = ct.volume[None].as_subclass(Tensor)
            made.std[last, method] = ct.std[None].as_subclass(Tensor)
    return made


def judged(case: HeldOutCase, made: Predictions, window_hu: Window, on_work: OnWork) -> list[Row]:
    """Every prediction beside the truth."""
    rows = []
    for size, methods in made.volumes.items():
        truth = TrueVolume(case.truth_hu[size], case.fields[size], window_hu)
        for method, volume in methods.items():
            on_work(f"{size}: {method}")
            rows.append(Row(case.name, size, method, truth.scores(volume, made.std.get((size, method)))))
    return rows

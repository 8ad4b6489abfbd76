"""One run of the cascade on a film: what ``xct generate`` does with one film, and with each film of a folder."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from xct_components.data.film.pixel_size import PixelMm, as_pixel_mm
from xct_components.data.readable_bytes import readable_bytes
from xct_components.evaluation.run_limits import MOST_SAMPLES, MOST_STAGES, require_between, require_stages_and_steps
from xct_components.failures import CannotWrite, UsageFailure
from xct_components.generated_files import BYTES_PER_VOXEL, FORMATS, MOST_MEMBERS, free_targets

if TYPE_CHECKING:
    from xct_components.cascade import UnifiedHybridViTCascade
    from xct_components.inferers.generated_ct import GeneratedCt
    from xct_components.inferers.stage import Mode

MODES, VIEWS = ("mean", "sample", "member"), ("PA", "AP")
#: Told of every network evaluation: stage, evaluations done, evaluations in all.
OnEvaluation = Callable[[int, int, int], None]


@dataclass(frozen=True)
class FilmRun:
    """The settings of a run, checked; see ``generate_command.generate`` for their meaning."""

    formats: tuple[str, ...]
    stages: int = 3
    samples: int = 1
    steps: int = 4
    mode: str = "mean"
    members: int = 0
    seed: int = 0
    full_size: bool = False
    device: str = "cpu"
    view: str | None = None
    accept: bool = False
    std: bool = True
    pixel_mm: PixelMm | None = None
    lateral_pixel_mm: PixelMm | None = None

    def __post_init__(self) -> None:
        if not self.formats or set(self.formats) - set(FORMATS):
            raise UsageFailure(f"format must be {', '.join(FORMATS)}, or several with commas, got {','.join(self.formats)!r}")
        require_stages_and_steps(self.stages, self.steps)
        require_between("samples", self.samples, 1, MOST_SAMPLES)
        require_between("members", self.members, 0, MOST_MEMBERS)
        if self.mode not in MODES:
            raise UsageFailure(f"mode must be {', '.join(MODES[:-1])} or {MODES[-1]}, got {self.mode!r}")
        if self.mode == "member" and self.samples > 1:
            raise UsageFailure(f"samples must be 1 in mode member, got {self.samples}; --members {self.samples} makes so many")
        if self.view and self.view.upper() not in VIEWS:
            raise UsageFailure(f"view must be {' or '.join(VIEWS)}, got {self.view!r}; other views of the chest are not taken")
        for name in ("pixel_mm", "lateral_pixel_mm"):
            if (told := getattr(self, name)) is not None:
                as_pixel_mm(told, name)
        if self.full_size and self.stages != MOST_STAGES:
            raise UsageFailure(f"full_size is made by stage {MOST_STAGES}, got --stages {self.stages}")

    @property
    def recorded(self) -> dict[str, Any]:
        """What report.json says under "settings" after this run."""
        names = ("steps", "samples", "mode", "members", "seed", "stages", "full_size")
        return {**{name: getattr(self, name) for name in names}, "column": None, "consistency": "auto"}

    @property
    def drawn(self) -> Mode:
        """``mode`` as the cascade's annotations want it."""
        return cast("Mode", self.mode)

    def targets(self, folder: Path, *, overwrite: bool) -> dict[str, Path]:
        """What this run writes into a folder; see ``free_targets``."""
        return free_targets(folder, self.formats, with_std=self.std, members=self.members, overwrite=overwrite)

    def load(self, bundles: str | None) -> UnifiedHybridViTCascade:
        """The cascade, on the device of this process: "cuda" is the GPU of its own number under ``torchrun``."""
        from xct_components.lean_monai import load_lean_monai

        load_lean_monai()
        from xct_components.cascade import UnifiedHybridViTCascade

        number = os.environ.get("LOCAL_RANK")
        device = f"cuda:{number}" if self.device == "cuda" and number else self.device
        return UnifiedHybridViTCascade.from_pretrained(bundles, device=device, stages=self.stages)

    def generate(
        self, cascade: UnifiedHybridViTCascade, film: str, lateral: str | None = None, on_progress: OnEvaluation | None = None
    ) -> GeneratedCt:
        """The CT of a film; see ``UnifiedHybridViTCascade.generate``."""
        return cascade.generate(
            film,
            lateral=lateral,
            steps=self.steps,
            samples=self.samples,
            mode=self.drawn,
            members=self.members,
            seed=self.seed,
            full_size=self.full_size,
            view=self.view.upper() if self.view else None,
            accept=self.accept,
            pixel_mm=self.pixel_mm,
            lateral_pixel_mm=self.lateral_pixel_mm,
            on_progress=on_progress,
        )

    def shapes(self, cascade: UnifiedHybridViTCascade) -> list[tuple[int, ...]]:
        """Voxels of the volumes on the way, the last one the largest."""
        from xct_components.data.prepare.chest_grid import FULL_SHAPE

        return [*(stage.field.shape for stage in cascade.stages), *([FULL_SHAPE] if self.full_size else [])]


def require_memory(run: FilmRun, cascade: UnifiedHybridViTCascade) -> None:
    """Refuse a whole folder that cannot end well before its first film; the cascade asks for each film by itself.

    Raises:
        OutOfResources: with what would fit.
    """
    from xct_components.data.prepare.chest_grid import FULL_SHAPE
    from xct_components.inferers.planned_run import PlannedRun, require_memory

    stages = tuple(stage.field.shape for stage in cascade.stages)
    planned = PlannedRun(stages, FULL_SHAPE if run.full_size else None, run.drawn, run.samples, run.members)
    require_memory(planned, next(cascade.stages[-1].parameters()).device)


def require_disk(run: FilmRun, cascade: UnifiedHybridViTCascade, targets: dict[str, Path]) -> None:
    """Refuse a run whose result may not fit onto the disk.

    Raises:
        CannotWrite: naming both sizes.
    """
    result = math.prod(run.shapes(cascade)[-1]) * sum(size for name, size in BYTES_PER_VOXEL.items() if name in targets)
    folder = next(iter(targets.values())).absolute().parent
    left = shutil.disk_usage(folder if folder.is_dir() else folder.parent).free
    if left < result:
        sizes = f"the disk has {readable_bytes(left)} left, the result may take {readable_bytes(result)}"
        raise CannotWrite(f"cannot write to {folder.name}: {sizes}")

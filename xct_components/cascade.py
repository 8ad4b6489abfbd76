"""The Python face of the project: from a chest film to a CT, with the three stages of a folder of bundles."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from xct_components.data.bundle_folder import STAGES, bundles_folder
from xct_components.failures import OutOfResources, UsageFailure, WeightsFailure

if TYPE_CHECKING:
    from xct_components.data.film.calibration import CalibratedFilm
    from xct_components.data.film.pixel_size import PixelMm
    from xct_components.inferers.cascade import CascadeResult, OnProgress, OnStage
    from xct_components.inferers.cascade_film import CascadeFilm
    from xct_components.inferers.generated_ct import GeneratedCt
    from xct_components.inferers.stage import Mode
    from xct_components.networks.cascade_stage import CascadeStage
    from xct_components.networks.deviation_factors import DeviationFactors, FilmsSeen
    from xct_components.physics.consistency import Consistency

NOTICE = "Synthetic CT estimated from a chest film. Research only, not for diagnosis."

ConsistencyName = Literal["auto", "hard", "soft", "off"]


class UnifiedHybridViTCascade:
    """The stages with their weights.

    Args:
        stages: one to three, coarsest first.
        weights: what is known of the weights of each: bundle, file, sha256.

    Example:
        >>> cascade = UnifiedHybridViTCascade.from_pretrained("bundles")  # doctest: +SKIP
        >>> ct = cascade.generate("tests/data/films/00000001_000.png")  # doctest: +SKIP
        >>> ct.volume.shape, ct.volume.pixdim  # doctest: +SKIP
        ((1, 256, 256, 256), tensor([1.2500, 1.2500, 1.2500]))
    """

    def __init__(self, stages: Sequence[CascadeStage], weights: Sequence[dict[str, str]] = ()) -> None:
        if not 1 <= len(stages) <= len(STAGES):
            raise ValueError(f"stages must be one to three, got {len(stages)}; from_pretrained loads them")
        self.stages, self.weights = [stage.eval() for stage in stages], list(weights)

    @classmethod
    def from_pretrained(
        cls,
        path_to_bundles: str | os.PathLike[str] | None = None,
        *,
        device: str = "cpu",
        stages: int = 3,
        weights: str | os.PathLike[str] | None = None,
    ) -> UnifiedHybridViTCascade:
        """Load the stages of a folder that holds stage1, stage2 and stage3.

        Args:
            path_to_bundles: the folder; None looks as ``bundles_folder`` says.
            device: "cpu", "cuda", "cuda:1".
            stages: how many to load.
            weights: one file with the weights of all stages, as ``joint_finetune.json`` writes it; None: each bundle's own.

        Raises:
            WeightsFailure: if a folder or its weights are missing, damaged or not the expected ones.
            UsageFailure: for another number of stages.
            OutOfResources: if the device is not available.
        """
        from xct_components.bundle_io.parent_stages import WEIGHTS, stage_of
        from xct_components.bundle_io.stage_weights import StageWeights

        _require_stages(stages, len(STAGES))
        target, folder = _device(device), bundles_folder(path_to_bundles)
        loader, loaded = StageWeights(), []
        for number in STAGES[:stages]:
            bundle = folder / f"stage{number}"
            if not (bundle / "configs" / "inference.json").is_file():
                raise WeightsFailure(
                    f"no stage {number}: {bundle} is no bundle; copy its folder there, or ask for fewer stages"
                )
            one = {"file": bundle / WEIGHTS} if weights is None else {"file": Path(weights), "part": f"stage{number}"}
            loaded.append(loader.load(stage_of(bundle), device=target, **one))
        return cls([stage.requires_grad_(False) for stage in loaded], loader.records)

    def generate(  # noqa: PLR0913 - settings of one run
        self,
        xray: str | os.PathLike[str] | Tensor | CalibratedFilm | CascadeFilm,
        num_stages: int | None = None,
        *,
        lateral: str | os.PathLike[str] | None = None,
        steps: int = 4,
        samples: int = 1,
        mode: Mode = "mean",
        members: int = 0,
        seed: int = 0,
        consistency: ConsistencyName | Consistency = "auto",
        coarse: Tensor | None = None,
        full_size: bool = False,
        column: int | None = None,
        view: str | None = None,
        accept: bool = False,
        pixel_mm: PixelMm | None = None,
        lateral_pixel_mm: PixelMm | None = None,
        on_progress: OnProgress | None = None,
        on_stage: OnStage | None = None,
    ) -> GeneratedCt:
        """A CT from a chest film.

        Args:
            xray: a film file, a calibrated film, or line integrals (rows, cols) of a PA film over the cascade's own field.
            num_stages: stop after so many (a quick preview); None runs all that are loaded.
            lateral: file of a lateral film of the same patient; both real (calibrated), or both simulated from one CT.
            steps: network evaluations of a sample.
            samples: volumes to draw; from two on they too tell of the standard deviation, which bent CTs tell without any.
            mode: "mean" (one network evaluation a stage, closest on average), "sample" (the network's diffusion) or "member"
                (one of the CTs that the film bent, made to explain it: as sharp as a CT, its depth another patient's).
            members: so many single members to make beside the volume, each in a pass of its own.
            seed: of the noise, and number of the first member, 0 being the one that bends with the least energy; the same seed
                gives the same voxels on the same machine.
            consistency: "auto" (hard for exact films, soft for estimated ones), "hard", "soft", "off", or an object of
                ``physics.consistency``.
            coarse: (1, d, h, w) HU of the stage before the last one, on its field: the earlier stages are not run.
            full_size: 512 x 604 x 512 voxels of 0.625 mm from the last stage.
            column: see ``StageInferer``.
            view: as for ``read_film``.
            accept: as for ``read_film``.
            pixel_mm: as for ``read_film``, of a film file.
            lateral_pixel_mm: the same for the lateral film.
            on_progress: called after every network evaluation.
            on_stage: called with every finished stage.

        Raises:
            UsageFailure: for a setting that cannot be meant.
            OutOfResources: if the run needs more memory than there is; with what would fit.
            UnreadableInput: see ``read_cascade_film``.
            RefusedInput: likewise.
        """
        from xct_components.data.prepare.chest_grid import FULL_SHAPE, FULL_SPACING_MM
        from xct_components.geometry import VolumeGrid
        from xct_components.inferers.cascade import CascadeInferer
        from xct_components.inferers.film_reading import as_cascade_film
        from xct_components.inferers.generated_ct import generated_ct
        from xct_components.inferers.stage_notes import StageNotes

        count = len(self.stages) if num_stages is None else num_stages
        _require_stages(count, len(self.stages))
        settings: dict[str, Any] = {"steps": steps, "samples": samples, "mode": mode, "members": members, "seed": seed}
        settings["column"] = column
        parents = [] if coarse is not None else self.stages[: count - 1]
        try:
            infer = CascadeInferer(parents, consistency=consistency_named(consistency), **settings)
        except ValueError as error:
            raise UsageFailure(str(error)) from error
        sizes = {"pixel_mm": pixel_mm, "lateral_pixel_mm": lateral_pixel_mm}
        film = as_cascade_film(xray, lateral=lateral, view=view, accept=accept, **sizes)
        notes = StageNotes(on_stage, before=count - 1 - len(parents))
        result = infer.run(
            film,
            self.stages[count - 1],
            coarse_hu=None if coarse is None else coarse.as_subclass(Tensor)[None],
            last_field=VolumeGrid.chest(FULL_SHAPE, FULL_SPACING_MM, film.center_mm) if full_size else None,
            on_progress=on_progress,
            on_stage=notes,
        )
        settings |= {"stages": count, "consistency": str(consistency), "full_size": full_size}
        record = {
            "notice": NOTICE,
            **software(),
            "settings": settings,
            "weights": self.weights[:count],
            "stages": notes.described(result.seconds),
            **_explained(result, film),
            "deviation": _deviation(result, self.stages[count - 1].deviation_factors, samples, steps, film.seen),
            "film": film.record,
        }
        return generated_ct(result, film, record)

    def generate_stage1(self, xray: Any, **settings: Any) -> GeneratedCt:
        """The 64³ preview; ``settings`` as for ``generate``."""
        return self.generate(xray, 1, **settings)

    def generate_stage2(self, xray: Any, coarse: Tensor | None = None, **settings: Any) -> GeneratedCt:
        """The 128³ volume, from the 64³ one if that is given; ``settings`` as for ``generate``."""
        return self.generate(xray, 2, coarse=coarse, **settings)

    def generate_stage3(self, xray: Any, coarse: Tensor | None = None, **settings: Any) -> GeneratedCt:
        """The 256³ volume, from the 128³ one if that is given; ``settings`` as for ``generate``."""
        return self.generate(xray, 3, coarse=coarse, **settings)


def software() -> dict[str, Any]:
    """What computed a result: versions and machine, JSON-ready."""
    from importlib.metadata import version

    from xct_components import __version__

    return {
        "software": f"xct-components {__version__}",
        "versions": {"python": platform.python_version(), **{name: version(name) for name in ("torch", "monai", "numpy")}},
        "machine": {"processor": platform.machine(), "threads": torch.get_num_threads()},
    }


def consistency_named(name: ConsistencyName | Consistency) -> Consistency | None:
    """The consistency that a user names; None for "auto".

    Raises:
        UsageFailure: for another name.
    """
    from xct_components.physics.consistency import HardConsistency, NoConsistency, SoftConsistency

    known = {"auto": None, "hard": HardConsistency(), "soft": SoftConsistency(), "off": NoConsistency()}
    if not isinstance(name, str):
        return name
    if name not in known:
        raise UsageFailure(f"consistency must be one of {', '.join(known)}, got {name!r}")
    return known[name]


def _deviation(
    result: CascadeResult, factors: DeviationFactors, samples: int, steps: int, seen: FilmsSeen
) -> dict[str, Any] | None:
    """What tells the deviation, and on how many patients, seen alike, errors were held against it; None without one."""
    from xct_components.networks.deviation_factors import steps_drawn

    if result.std_hu is None:
        return None
    told_by = {"bent_cts": result.bent_cts, "samples": samples if samples > 1 else 0}
    patients = factors.patients(steps_drawn(samples, steps), seen)
    return {**told_by, "factor": round(result.std_factor, 4), "patients": patients}


def _explained(result: CascadeResult, film: CascadeFilm) -> dict[str, Any]:
    """How well the CT explains the film, as it is and with the gain and offset that fit best; where it lies."""
    return {
        "film_error": [round(one, 6) for one in result.film_error],
        "film_error_after_gain_and_offset": [round(one, 6) for one in result.fitted_film_error],
        "film_is_exact": film.exact,
        "field": result.field.to_json(),
    }


def _require_stages(count: int, available: int) -> None:
    if not 1 <= count <= available:
        raise UsageFailure(f"stages must lie between 1 and {available}, got {count}; 1 is a quick preview, 3 the whole cascade")


def _device(name: str) -> torch.device:
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        raise OutOfResources(f"device {name!r} is not available here; leave it out for the processor") from error
    return torch.device(name)

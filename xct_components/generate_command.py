"""``xct generate``: a CT from a chest film, with its uncertainty, a picture and a record of every decision."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xct_components.failures import CannotWrite, Failure, OutOfResources, UsageFailure
from xct_components.generated_files import (
    BYTES_PER_VOXEL,
    DICOM_STD_FILE,
    FORMATS,
    PREVIEW_FILE,
    free_targets,
    write_generated,
)

if TYPE_CHECKING:
    from xct_components.cascade import UnifiedHybridViTCascade

MOST_STAGES, MOST_SAMPLES, MOST_STEPS = 3, 1000, 1000
#: What a file needs beyond the core, and the extra that brings it.
_NEEDS = {PREVIEW_FILE: ("matplotlib", "report"), DICOM_STD_FILE: ("highdicom", "dicom")}


def generate(  # noqa: PLR0913 - each argument is an option of the command line
    film: str,
    *,
    output: str,
    stages: int = 3,
    samples: int = 1,
    steps: int = 4,
    mode: str = "mean",
    seed: int = 0,
    lateral: str | None = None,
    format: str = "nifti,png",  # noqa: A002 - the name of the option
    full_size: bool = False,
    bundles: str | None = None,
    device: str = "cpu",
    view: str | None = None,
    accept: bool = False,
    overwrite: bool = False,
) -> list[Path]:
    """Make a CT of a chest film. Synthetic: research only, not for diagnosis.

    A film of xct simulate brings the geometry of its JSON along: the CT then lies over the CT that the film was made from. Any
    other film is calibrated, and refused with the reason if it is no upright frontal chest film.

    Args:
        film: a .png, .jpg, .tif, .dcm, .nii or .nii.gz file.
        output: folder for ct.nii.gz (HU), std.nii.gz, preview.png and report.json; dicom/IM0001.dcm and so on, and
            dicom_std.dcm. It is made if missing.
        stages: 1 (64 voxels along each edge, a quick preview), 2 (128) or 3 (256).
        samples: volumes to draw; from two on their standard deviation is written too.
        steps: network evaluations of a sample.
        mode: mean (closest on average, one evaluation a stage) or sample.
        seed: of the noise; the same seed gives the same voxels on the same machine.
        lateral: a lateral film of the same patient; both real (calibrated), or both simulated from one CT.
        format: nifti, dicom, png or several (nifti,dicom,png); report.json is always written. A DICOM series goes into the
            study of a DICOM film, else to an anonymous patient; its UIDs are new in every run.
        full_size: 512 x 604 x 512 voxels of 0.625 mm.
        bundles: folder with stage1, stage2 and stage3 (default - XCT_BUNDLES, ./bundles, or the one beside the package).
        device: cpu, cuda, cuda:1.
        view: PA or AP, if you have seen that it is an upright frontal film and the program is not sure.
        accept: take the film whatever speaks against it.
        overwrite: replace files that exist.

    Returns:
        What was written.
    """
    formats = _formats(format)
    _require_settings({"stages": (stages, MOST_STAGES), "samples": (samples, MOST_SAMPLES), "steps": (steps, MOST_STEPS)}, mode)
    if full_size and stages != MOST_STAGES:
        raise UsageFailure(f"full_size is made by stage {MOST_STAGES}, got --stages {stages}")
    targets = free_targets(Path(output), formats, with_std=samples > 1, overwrite=overwrite)
    _require_libraries(targets)
    from xct_components.cascade import UnifiedHybridViTCascade

    with _progress() as bar:
        bar.stage("loading")
        cascade = UnifiedHybridViTCascade.from_pretrained(bundles, device=device, stages=stages)
        _require_room(cascade, targets, mode, samples, device, full_size=full_size)
        bar.stage("reading the film")
        ct = cascade.generate(
            film,
            lateral=lateral,
            steps=steps,
            samples=samples,
            mode="mean" if mode == "mean" else "sample",
            seed=seed,
            full_size=full_size,
            view=view.upper() if view else None,
            accept=accept,
            on_progress=bar,
        )
        bar.stage("writing")
        return write_generated(targets, ct, Path(film), Path(lateral) if lateral else None)


class _Bar:
    """A bar on a terminal that says which stage computes; in log files it never appears. An ``on_progress`` of the cascade."""

    def __init__(self, bar: Any) -> None:
        self._bar = bar

    def stage(self, name: str) -> None:
        """What is done from here on."""
        self._bar.set_description_str(name)

    def __call__(self, stage: int, done: int, total: int) -> None:
        """After a network evaluation."""
        self._bar.total = total
        self._bar.n = done
        self.stage(f"stage {stage}")


@contextmanager
def _progress() -> Iterator[_Bar]:
    from tqdm import tqdm

    with tqdm(total=1, bar_format="{desc:>17} {bar:30} {elapsed}", leave=False, disable=None) as bar:
        yield _Bar(bar)


def _formats(text: str) -> list[str]:
    names = [name.strip().lower() for name in text.split(",") if name.strip()]
    if not names or set(names) - set(FORMATS):
        raise UsageFailure(f"format must be {', '.join(FORMATS)}, or several with commas between, got {text!r}")
    return names


def _require_libraries(targets: dict[str, Path]) -> None:
    for name, (library, extra) in _NEEDS.items():
        if name in targets and find_spec(library) is None:
            raise Failure(f"{name} needs {library}: pip install 'xct-components[{extra}]', or choose another --format")


def _require_settings(counts: dict[str, tuple[int, int]], mode: str) -> None:
    for name, (count, most) in counts.items():
        if not 1 <= count <= most:
            raise UsageFailure(f"{name} must lie between 1 and {most}, got {count}")
    if mode not in ("mean", "sample"):
        raise UsageFailure(f"mode must be mean or sample, got {mode!r}")


def _require_room(
    cascade: "UnifiedHybridViTCascade", targets: dict[str, Path], mode: str, samples: int, device: str, *, full_size: bool
) -> None:
    """Refuse what cannot end well before it begins: too little memory, too little disk."""
    import math
    import shutil

    import torch

    from xct_components.data.prepare.chest_grid import FULL_SHAPE
    from xct_components.inferers.memory_needed import available_bytes, needed_bytes

    shapes = [stage.field.shape for stage in cascade.stages] + ([FULL_SHAPE] if full_size else [])
    needs = [needed_bytes(shape, "mean" if mode == "mean" else "sample", samples) for shape in shapes]
    free = available_bytes(torch.device(device))
    if free is not None and needs[-1] > free:
        fitting = [number for number, need in enumerate(needs[:-1], start=1) if need <= free]
        way_out = f"--stages {fitting[-1]} fits ({_gib(needs[fitting[-1] - 1])})" if fitting else "use a larger machine"
        size = " x ".join(map(str, shapes[-1]))
        raise OutOfResources(f"{size} voxels need about {_gib(needs[-1])} of memory, {_gib(free)} are available; {way_out}")
    result = math.prod(shapes[-1]) * sum(size for name, size in BYTES_PER_VOXEL.items() if name in targets)
    folder = next(iter(targets.values())).absolute().parent
    left = shutil.disk_usage(folder if folder.is_dir() else folder.parent).free
    if left < result:
        raise CannotWrite(f"cannot write to {folder.name}: the disk has {_gib(left)} left, the result may take {_gib(result)}")


def _gib(count: int) -> str:
    return f"{count / 2**30:.1f} GiB"

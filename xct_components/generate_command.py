"""``xct generate``: a CT from a chest film, with its uncertainty, a picture and a record of every decision."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xct_components.failures import CannotWrite, Failure, OutOfResources, UsageFailure

if TYPE_CHECKING:
    from monai.data import MetaTensor

    from xct_components.cascade import UnifiedHybridViTCascade
    from xct_components.inferers.generated_ct import GeneratedCt

FORMATS = ("nifti", "png")
CT_FILE, STD_FILE, PREVIEW_FILE, REPORT_FILE = "ct.nii.gz", "std.nii.gz", "preview.png", "report.json"
MOST_STAGES, MOST_SAMPLES, MOST_STEPS = 3, 1000, 1000
#: int16 voxels of a chest shrink to about half; a full disk should be noticed before the work.
BYTES_PER_VOXEL_ON_DISK = 2
#: Level 1 writes 256³ voxels in a second; higher levels take longer and gain 2 %.
GZIP_LEVEL = 1


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
        output: folder for ct.nii.gz (HU), std.nii.gz, preview.png and report.json. It is made if missing.
        stages: 1 (64 voxels along each edge, a quick preview), 2 (128) or 3 (256).
        samples: volumes to draw; from two on their standard deviation is written too.
        steps: network evaluations of a sample.
        mode: mean (closest on average, one evaluation a stage) or sample.
        seed: of the noise; the same seed gives the same voxels on the same machine.
        lateral: a lateral film; both films must be simulated from one CT.
        format: nifti, png or both (nifti,png); report.json is always written.
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
    targets = _targets(Path(output), formats, with_std=samples > 1, overwrite=overwrite)
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
        return _write(targets, ct)


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
    if "dicom" in names:
        raise UsageFailure(
            "format dicom is not there yet: DICOM series come with the hospital integration, which settles whose they are; "
            "take nifti"
        )
    if not names or set(names) - set(FORMATS):
        raise UsageFailure(f"format must be {' or '.join(FORMATS)}, or both with a comma, got {text!r}")
    if "png" in names and find_spec("matplotlib") is None:
        raise Failure("preview.png needs matplotlib: pip install 'xct-components[report]', or --format nifti")
    return names


def _require_settings(counts: dict[str, tuple[int, int]], mode: str) -> None:
    for name, (count, most) in counts.items():
        if not 1 <= count <= most:
            raise UsageFailure(f"{name} must lie between 1 and {most}, got {count}")
    if mode not in ("mean", "sample"):
        raise UsageFailure(f"mode must be mean or sample, got {mode!r}")


def _targets(folder: Path, formats: list[str], *, with_std: bool, overwrite: bool) -> dict[str, Path]:
    """The files to write, once it is clear that they can be written and that nothing is lost by it."""
    names = [CT_FILE, *([STD_FILE] if with_std else [])] if "nifti" in formats else []
    names += [PREVIEW_FILE] if "png" in formats else []
    targets = {name: folder / name for name in (*names, REPORT_FILE)}
    parent = folder if folder.is_dir() else folder.absolute().parent
    if folder.exists() and not folder.is_dir():
        raise CannotWrite(f"cannot write to {folder}: it is a file; name a folder")
    if not parent.is_dir():
        raise CannotWrite(f"cannot make the folder {folder}: {parent} does not exist")
    if not os.access(parent, os.W_OK):
        raise CannotWrite(f"cannot write to {folder}: no permission for {parent}")
    taken = [path.name for path in targets.values() if path.exists()]
    if taken and not overwrite:
        raise CannotWrite(f"{folder} already holds {', '.join(taken)}; choose another folder, or add --overwrite")
    return targets


def _require_room(
    cascade: "UnifiedHybridViTCascade", targets: dict[str, Path], mode: str, samples: int, device: str, *, full_size: bool
) -> None:
    """Refuse what cannot end well before it begins: too little memory, too little disk."""
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
    d, h, w = shapes[-1]
    volumes = sum(name in targets for name in (CT_FILE, STD_FILE))
    folder = next(iter(targets.values())).absolute().parent
    left = shutil.disk_usage(folder if folder.is_dir() else folder.parent).free
    if left < volumes * d * h * w * BYTES_PER_VOXEL_ON_DISK:
        raise CannotWrite(
            f"cannot write to {folder.name}: the disk has {_gib(left)} left, the result may take {volumes} volumes"
        )


def _gib(count: int) -> str:
    return f"{count / 2**30:.1f} GiB"


def _write(targets: dict[str, Path], ct: "GeneratedCt") -> list[Path]:
    """All files or none; the folder too."""
    from xct_components.data.atomic_files import written_together
    from xct_components.report import write_json, write_preview

    write: dict[str, Callable[[Path], None]] = {
        CT_FILE: lambda path: _write_nifti(path, ct.volume, "SYNTHETIC CT from a film, not for diagnosis"),
        STD_FILE: lambda path: _write_nifti(path, ct.std, "SYNTHETIC CT: standard deviation, HU"),
        PREVIEW_FILE: lambda path: write_preview(path, ct),
        REPORT_FILE: lambda path: write_json(path, ct),
    }
    with _folder(next(iter(targets.values())).parent), written_together(*targets.values()) as drafts:
        for name, draft in zip(targets, drafts, strict=True):
            write[name](draft)
    return list(targets.values())


@contextmanager
def _folder(folder: Path) -> Iterator[None]:
    """The folder, which goes again if it was made here and what is inside fails."""
    made = not folder.exists()
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise CannotWrite(f"cannot make the folder {folder}: {error.strerror}") from error
    try:
        yield
    except BaseException:
        if made:
            folder.rmdir()
        raise


def _write_nifti(path: Path, volume: "MetaTensor | None", description: str) -> None:
    """Whole HU in (D, H, W) with their RAS affine; the same bytes for the same volume."""
    import gzip

    import nibabel
    import numpy as np

    if volume is None:
        raise ValueError("volume must be given for a file that is written, got None; a std needs at least two samples")
    image = nibabel.Nifti1Image(volume[0].round().numpy().astype(np.int16), np.asarray(volume.affine))
    image.set_sform(image.affine, code="scanner")
    image.set_qform(image.affine, code="scanner")
    image.header.set_xyzt_units("mm")
    image.header.set_slope_inter(1, 0)
    image.header["descrip"] = description.encode()
    with path.open("wb") as stream, gzip.GzipFile("", "wb", GZIP_LEVEL, stream, mtime=0) as packed:
        image.to_stream(packed)

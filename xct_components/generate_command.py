"""``xct generate``: a CT from a chest film, with its uncertainty, a picture and a record of every decision."""

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from xct_components.batch.film_folder_run import FilmFolderRun, run_film_folder
from xct_components.batch.film_run import FilmRun, require_disk
from xct_components.batch.readable_name import readable_name
from xct_components.batch.summary_table import summary_table
from xct_components.failures import Failure, UsageFailure
from xct_components.generated_files import DICOM_STD_FILE, PREVIEW_FILE, write_generated

#: What the progress bar of a folder says, in characters.
MOST_DOING = 48
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
    members: int = 0,
    std: bool = True,
    seed: int = 0,
    lateral: str | None = None,
    format: str = "nifti,png,html",  # noqa: A002 - the name of the option
    full_size: bool = False,
    bundles: str | None = None,
    device: str = "cpu",
    view: str | None = None,
    accept: bool = False,
    pixel_mm: float | tuple[float, float] | None = None,
    lateral_pixel_mm: float | tuple[float, float] | None = None,
    overwrite: bool = False,
) -> list[Path]:
    """Make a CT of a chest film. Synthetic: research only, not for diagnosis.

    A film of xct simulate brings the geometry of its JSON along: the CT then lies over the CT that the film was made from. Any
    other film is calibrated, and refused with the reason if it is no upright frontal chest film.

    A folder gives a CT of every frontal film in it, each in a folder of its own under output, with summary.csv,
    summary.json and index.html; the same command goes on where it was stopped. Under torchrun the processes share the films. A
    film that fails stops no other; the exit code is then 8, or that of the failures if all failed alike.

    Args:
        film: a .png, .jpg, .tif, .dcm, .nii or .nii.gz file, or a folder with films.
        output: folder for ct.nii.gz (HU), std.nii.gz, preview.png, report.html and report.json; dicom/IM0001.dcm and
            so on, and dicom_std.dcm. It is made if missing.
        stages: 1 (64 voxels along each edge, a quick preview), 2 (128) or 3 (256).
        samples: volumes to draw; from two on the standard deviation counts how they differ too, which takes so many times as
            long.
        steps: network evaluations of a sample.
        mode: mean (closest on average, one evaluation a stage); sample (by the network's diffusion); or member, one of the CTs
            of other patients that the film bends, made to explain it - as sharp as a CT, further from the truth than the mean.
        members: write so many members beside the CT, member_1.nii.gz and so on, and show them. Each takes a pass of its own.
        std: write how sure it is of each voxel, as a standard deviation in HU. A single sample has none; nor has a mean
            without samples if the weights hold no CTs.
        seed: of the noise, and number of the first member; the same seed gives the same voxels on the same machine.
        lateral: a lateral film of the same patient; both real (calibrated), or both simulated from one CT.
        format: nifti, dicom, png, html or several (nifti,dicom); report.json is always written. A DICOM series goes into the
            study of a DICOM film, else to an anonymous patient; its UIDs are new in every run.
        full_size: 512 x 604 x 512 voxels of 0.625 mm.
        bundles: folder with stage1, stage2 and stage3 (default - XCT_BUNDLES, ./bundles, or the one beside the package).
        device: cpu, cuda, cuda:1.
        view: PA or AP, if you have seen that it is an upright frontal film and the program is not sure.
        accept: take the film whatever speaks against it.
        pixel_mm: how large a pixel of the film file is on the detector, in mm, if you know it and the file does not: one
            number, or HEIGHT,WIDTH. Without it sizes are those of a mean patient. For a folder it holds for every film.
        lateral_pixel_mm: the same for the lateral film.
        overwrite: replace files that exist.

    Returns:
        What was written.
    """
    run = FilmRun(
        _formats(format),
        stages,
        samples,
        steps,
        mode,
        members,
        seed,
        full_size,
        device,
        view,
        accept,
        std,
        pixel_mm,
        lateral_pixel_mm,
    )
    _require_libraries(targets := run.targets(Path(output), overwrite=overwrite or Path(film).is_dir()))
    if Path(film).is_dir():
        if lateral is not None:
            raise UsageFailure(f"lateral belongs to one film, and {film} is a folder; give the frontal film alone")
        return _generate_folder(Path(film), Path(output), run, bundles, overwrite=overwrite)
    with _progress() as bar:
        bar.stage("loading")
        cascade = run.load(bundles)
        require_disk(run, cascade, targets)
        bar.stage("reading the film")
        ct = run.generate(cascade, film, lateral, bar)
        bar.stage("writing")
        return write_generated(targets, ct, Path(film), Path(lateral) if lateral else None)


def _generate_folder(films: Path, output: Path, run: FilmRun, bundles: str | None, *, overwrite: bool) -> list[Path]:
    """Every film of a folder; the table goes to stdout also where some failed."""
    from tqdm import tqdm

    from xct_components.data.torchrun_share import place_in_job

    rank, processes = place_in_job()
    batch = FilmFolderRun(films, output, run, bundles, overwrite, rank, processes)
    layout = "{desc} {bar:20} {n:.1f}/{total} films, {elapsed}, {remaining} left"
    with tqdm(total=1, bar_format=layout, leave=False, disable=True if rank else None, mininterval=0.5) as bar:

        def on_film(done: float, total: int, doing: str) -> None:
            bar.total, bar.n = total, done
            bar.set_description_str(readable_name(doing, MOST_DOING), refresh=True)

        result = run_film_folder(batch, on_film)
    if result.written:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        print("\n".join(summary_table(result.rows, result.films, result.others, width)))
    result.require_all_done()
    return result.written


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


def _formats(text: str) -> tuple[str, ...]:
    return tuple(name.strip().lower() for name in text.split(",") if name.strip())


def _require_libraries(targets: dict[str, Path]) -> None:
    for name, (library, extra) in _NEEDS.items():
        if name in targets and find_spec(library) is None:
            raise Failure(f"{name} needs {library}: pip install 'xct-components[{extra}]', or choose another --format")

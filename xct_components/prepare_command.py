"""``xct prepare``: a folder of CTs made ready for the cascade."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from xct_components.failures import ExitCode, Failure

if TYPE_CHECKING:
    from xct_components.data.prepare.folder import Preparation, PreparedFolder

#: Memory that a worker needs at most for a CT of 512 x 512 x 700 at full size, GiB.
WORKER_GIB = 3.0
#: Failures named on the terminal; sources.json holds all.
NAMED_FAILURES = 5


class PartlyPrepared(Failure):
    """Some CTs of the folder could not be prepared; the others are."""

    exit_code = ExitCode.PARTIAL


class NothingPrepared(Failure):
    """No CT of the folder could be prepared."""

    def __init__(self, message: str, exit_code: ExitCode) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def prepare(  # noqa: PLR0913 - each argument is an option of the command line
    input: str,  # noqa: A002 - what the option is called
    *,
    output: str,
    full: bool = False,
    suffix: str = ".nii.gz",
    workers: int = 0,
    exclude: str | None = None,
    patient_pattern: str | None = None,
    split_list: str | None = None,
    seed: int = 0,
    val_share: float = 0.1,
    test_share: float = 0.1,
) -> list[str]:
    """Find the CTs in a folder, and write each as volumes of 64, 128 and 256 voxels along a cube of 320 mm.

    The table is removed, the cube is centred on the thorax, axes run anterior-posterior, superior-inferior, right-left.
    manifest.json lists the cases with their split into train, val and test by patient. Stopped at any moment, the same
    command goes on where it was. Under torchrun every rank takes its share (RANK, WORLD_SIZE).

    Args:
        input: folder with CTs: DICOM series, .nii, .nii.gz, .nrrd, .nhdr, .mhd, .mha; other files are left out.
        output: folder for the prepared cases.
        full: write 512 x 604 x 512 voxels of 0.625 mm too.
        suffix: .nii.gz, or .nii (larger, faster to read).
        workers: processes; 0 for as many as cores and memory allow.
        exclude: shell patterns of paths to leave out, separated by commas, e.g. *label*,*seg*.
        patient_pattern: regular expression that finds the patient in the path, e.g. LIDC-IDRI-[0-9]+ (default - the
            PatientID of DICOM, the name of other files).
        split_list: a JSON with your split, {"train" - [patients or cases], "val" - [...], "test" - [...]}.
        seed: of the split, if there is no list.
        val_share: share of the patients that validate.
        test_share: share of the patients that test.

    Returns:
        What was prepared, in words.
    """
    from tqdm import tqdm

    from xct_components.data.prepare.folder import Preparation, prepare_folder
    from xct_components.data.torchrun_share import place_in_job

    rank, processes = place_in_job()
    preparation = Preparation(
        input=Path(input),
        output=Path(output),
        full=full,
        suffix=suffix,
        workers=workers or affordable_workers(),
        exclude=tuple(pattern.strip() for pattern in (exclude or "").split(",") if pattern.strip()),
        patient_pattern=patient_pattern,
        seed=seed,
        val_share=val_share,
        test_share=test_share,
        split_list=Path(split_list) if split_list else None,
        rank=rank,
        world_size=processes,
    )
    with tqdm(unit="CT", disable=None) as bar:

        def progress(case: str, total: int) -> None:
            bar.total = total
            bar.set_postfix_str(case, refresh=False)
            bar.update()

        prepared = prepare_folder(preparation, progress)
    return _summary(preparation, prepared)


def affordable_workers() -> int:
    """As many processes as there are cores, and memory for a large CT in each."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return cores
    kib = next((int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")), None)
    return cores if kib is None else max(1, min(cores, int(kib / 2**20 / WORKER_GIB)))


def _summary(preparation: "Preparation", prepared: "PreparedFolder") -> list[str]:
    sides = ", ".join(f"{len(cases)} {side}" for side, cases in prepared.manifest["sides"].items())
    lines = [
        f"{prepared.done} CTs prepared ({prepared.resumed} were there before), {len(prepared.failures)} failed, "
        f"{prepared.ignored} other files left out",
        f"{preparation.output / 'manifest.json'}: {sides}",
    ]
    if not prepared.failures:
        return lines
    for case, reason, _ in prepared.failures[:NAMED_FAILURES]:
        lines.append(f"failed: {case}: {reason}")
    text = f"{'; '.join(lines[2:])}; all reasons are in {preparation.output / 'sources.json'}"
    if prepared.done == 0:
        unreadable = any(code == ExitCode.UNREADABLE for _, _, code in prepared.failures)
        raise NothingPrepared(f"no CT could be prepared; {text}", ExitCode.UNREADABLE if unreadable else ExitCode.REFUSED)
    raise PartlyPrepared(f"{lines[0]}; {text}")

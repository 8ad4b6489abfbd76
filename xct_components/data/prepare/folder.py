"""A folder of CTs made ready for the cascade: found, prepared in parallel, indexed; stopped at any moment, it goes on later."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xct_components.data.ct.discovery import CtSource, FoundCts, find_cts
from xct_components.data.ct.header_claims import require_bounded
from xct_components.data.ct.reading import read_ct, read_ct_images
from xct_components.data.prepare.case_workers import WorkerDied, run_in_workers
from xct_components.data.prepare.manifest import side_of_cases, write_manifest
from xct_components.data.prepare.patient_split import read_split_list
from xct_components.data.prepare.prepared_case import patient_only, prepared_volumes
from xct_components.data.prepare.prepared_files import SUFFIXES, read_record, remove_parts, write_case, write_failure
from xct_components.failures import (
    CannotWrite,
    ExitCode,
    Failure,
    InputWarning,
    RefusedInput,
    UnreadableInput,
    UsageFailure,
    first_line,
)

#: Raise when the same CT gives other voxels than before: then old cases are prepared again.
METHOD = 1


@dataclass(frozen=True)
class Preparation:
    """What to do with a folder of CTs.

    Args:
        input: folder that holds CTs, among other things.
        output: folder of the prepared cases; created.
        full: whether to write the full-size volume (0.625 mm) too.
        suffix: ".nii.gz", or ".nii" (2.3 times the size, read 15 times faster).
        workers: processes, each with one CT and one thread; 0 works in this process, without protection from crashes.
        exclude: shell patterns of paths below the input to leave out.
        patient_pattern: regular expression that finds the patient in a path.
        seed: of the split.
        val_share: share of the patients that validate.
        test_share: share of the patients that test.
        split_list: JSON with the user's own split.
        rank: which share of the cases is this process's, of ``world_size`` shares.
        world_size: number of processes that share the cases, on one or several machines.
    """

    input: Path
    output: Path
    full: bool = False
    suffix: str = ".nii.gz"
    workers: int = 1
    exclude: tuple[str, ...] = ()
    patient_pattern: str | None = None
    seed: int = 0
    val_share: float = 0.1
    test_share: float = 0.1
    split_list: Path | None = None
    rank: int = 0
    world_size: int = 1

    def __post_init__(self) -> None:
        if self.suffix not in SUFFIXES:
            raise UsageFailure(f"suffix must be one of {', '.join(SUFFIXES)}, got {self.suffix!r}")
        if self.workers < 0:
            raise UsageFailure(f"workers must not be negative, got {self.workers}")
        if not 0 <= self.rank < self.world_size:
            raise UsageFailure(
                f"rank must lie from 0 to world_size - 1, got {self.rank} of {self.world_size}; see RANK, WORLD_SIZE"
            )
        inside, outside = self.input.resolve(), self.output.resolve()
        if inside == outside or outside in inside.parents or inside in outside.parents:
            raise UsageFailure(f"input and output must lie apart, got {self.input} and {self.output}")

    @property
    def request(self) -> dict[str, Any]:
        """What decides the bytes of a case."""
        return {"method": METHOD, "full": self.full, "suffix": self.suffix}

    @property
    def split(self) -> dict[str, Any]:
        """What decides the split, unless there is a list."""
        return {"seed": self.seed, "val_share": self.val_share, "test_share": self.test_share}


@dataclass(frozen=True)
class PreparedFolder:
    """What came of it.

    Args:
        manifest: as in manifest.json.
        failures: (case, reason, exit code) of this process's cases that failed.
        resumed: how many of its cases were there before.
        done: how many of its cases are there after.
        ignored: files of the input that are no CT.
    """

    manifest: dict[str, Any]
    failures: tuple[tuple[str, str, int], ...]
    resumed: int
    done: int
    ignored: int


def _silence(case: str, total: int) -> None:
    """Nobody watches."""


def prepare_folder(preparation: Preparation, progress: Callable[[str, int], None] = _silence) -> PreparedFolder:
    """Prepare every CT of a folder that is not prepared yet, and write the manifest.

    Args:
        preparation: what to do.
        progress: told of every case of this process's share when it is done, and how many cases the share has.

    Raises:
        UnreadableInput: if the input is missing or holds no CT.
        UsageFailure: if the split list is wrong.
        CannotWrite: if the output cannot be written.
    """
    found = _found_cts(preparation)
    if not found.sources:
        raise UnreadableInput(f"{preparation.input} holds no CT; {len(found.ignored)} files of other kinds are left out")
    listed = read_split_list(preparation.split_list) if preparation.split_list else None
    side_of_cases({source.case: source.patient for source in found.sources}, {}, preparation.split, listed)
    _make_folder(preparation.output)
    share = found.sources[preparation.rank :: preparation.world_size]
    waiting = []
    for source in share:
        remove_parts(preparation.output, source.case)
        if _is_done(source, preparation):
            progress(source.case, len(share))
        else:
            waiting.append(source)
    failures = _prepare_all(waiting, preparation, lambda case: progress(case, len(share)))
    manifest = write_manifest(preparation.output, found, preparation.request, preparation.split, listed)
    resumed = len(share) - len(waiting)
    return PreparedFolder(manifest, tuple(failures), resumed, len(share) - len(failures), len(found.ignored))


def prepare_case(source: CtSource, preparation: Preparation) -> None:
    """Read one CT, prepare it and write its folder.

    Raises:
        Failure: if it cannot be read, is no chest CT, or cannot be written; then nothing of it is left.
    """
    if source.problem is not None:
        raise UnreadableInput(source.problem)
    with warnings.catch_warnings(record=True) as noticed:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", InputWarning)
        patient = patient_only(*_read(source))
    volumes = prepared_volumes(patient, full=preparation.full)
    record = {
        "case": source.case,
        "patient": source.patient,
        "request": preparation.request,
        "source_bytes": _bytes(source),
        **patient.facts,
        "warnings": [str(entry.message) for entry in noticed] + patient.facts["warnings"],
    }
    write_case(preparation.output, record, volumes, preparation.suffix)


def _found_cts(preparation: Preparation) -> FoundCts:
    """What the input holds; a word where there may be more of it."""
    found = find_cts(
        preparation.input,
        exclude=preparation.exclude,
        patient_pattern=preparation.patient_pattern,
        apart=preparation.output,
    )
    if found.unread and preparation.rank == 0:
        (first, reason), count = found.unread[0], len(found.unread)
        more = f" and {count - 1} more" if count > 1 else ""
        warnings.warn(f"not read: {first} ({reason}){more}; sources.json names all", InputWarning, stacklevel=3)
    return found


def _prepare_all(
    waiting: Sequence[CtSource], preparation: Preparation, progress: Callable[[str], None]
) -> list[tuple[str, str, int]]:
    failures = []
    jobs = [(source, preparation) for source in waiting]
    here = ((index, _outcome(job)) for index, job in enumerate(jobs))
    for index, outcome in run_in_workers(_outcome_in_worker, jobs, preparation.workers) if preparation.workers else here:
        case = waiting[index].case
        if outcome is not None:
            reason, code = _why(outcome)
            remove_parts(preparation.output, case)
            if code == ExitCode.CANNOT_WRITE:
                raise CannotWrite(reason)
            write_failure(preparation.output, case, reason, code)
            failures.append((case, reason, code))
        progress(case)
    return sorted(failures)


def _why(outcome: tuple[str, int] | WorkerDied) -> tuple[str, int]:
    return (outcome.reason, int(ExitCode.OUT_OF_RESOURCES)) if isinstance(outcome, WorkerDied) else outcome


def _outcome(job: tuple[CtSource, Preparation]) -> tuple[str, int] | None:
    """None, or why the case failed."""
    try:
        prepare_case(*job)
    except Failure as failure:
        return " ".join(str(failure).split()), int(failure.exit_code)
    except MemoryError:
        return "out of memory", int(ExitCode.OUT_OF_RESOURCES)
    except Exception as error:  # one odd CT must not stop a thousand
        return f"unexpected {type(error).__name__}: {first_line(error)}", int(ExitCode.UNEXPECTED)
    return None


def _outcome_in_worker(job: tuple[CtSource, Preparation]) -> tuple[str, int] | None:
    """The same in a process of its own."""
    import torch

    torch.set_num_threads(1)
    return _outcome(job)


def _read(source: CtSource) -> Any:
    try:
        if source.is_dicom:
            return read_ct_images(source.files, source.case)
        require_bounded(source.files[0])
        return read_ct(source.files[0])
    except MemoryError as error:
        raise RefusedInput(f"{source.case} does not fit into memory; is its header damaged?") from error


def _is_done(source: CtSource, preparation: Preparation) -> bool:
    record = read_record(preparation.output, source.case)
    return (
        record is not None
        and record.get("request") == preparation.request
        and record.get("patient") == source.patient
        and record.get("source_bytes") == _bytes(source)
    )


def _bytes(source: CtSource) -> int:
    return sum(file.stat().st_size for file in source.files)


def _make_folder(output: Path) -> None:
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CannotWrite(f"cannot make the folder {output}: {error.strerror}") from error
    if not os.access(output, os.W_OK):
        raise CannotWrite(f"cannot write into {output}: no permission")

"""One film of a batch: its results in a folder that appears whole or not at all, or the reason why there are none."""

from __future__ import annotations

import shutil
import time
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xct_components.batch.film_row import FilmRow
from xct_components.batch.film_run import FilmRun, OnEvaluation, require_disk
from xct_components.batch.finished_film import finished_report, require_replaceable
from xct_components.batch.readable_name import readable_name
from xct_components.data.atomic_folder import written_folder
from xct_components.failures import CannotWrite, ExitCode, Failure, InputWarning, is_out_of_memory
from xct_components.generated_files import write_generated

if TYPE_CHECKING:
    from xct_components.cascade import UnifiedHybridViTCascade

#: Failures of a film in the summary: a line or two.
MOST_REASON = 400
DONE_BEFORE = "done before"


class BatchStopped(Failure):
    """Nothing more can be written: to go on would only cost time.

    Args:
        row: the film that could not be written.
    """

    exit_code = ExitCode.CANNOT_WRITE

    def __init__(self, row: FilmRow) -> None:
        super().__init__(f"stopped at {row.name}: {row.reason}; make room and run the same command again: it goes on there")
        self.row = row


@dataclass(frozen=True)
class OneFilm:
    """A film of a batch.

    Args:
        path: of the file.
        name: below the folder of the films, readable.
        folder: where its results go.
    """

    path: Path
    name: str
    folder: Path


def row_of_finished(film: OneFilm, run: FilmRun, weights: list[dict[str, str]]) -> FilmRow | None:
    """The row of a film whose results are there, made as ``run`` would make them; None if they are to be made."""
    report = finished_report(film.folder, film.path, run, weights)
    if report is None:
        return None
    noticed = (*report["film"].get("warnings", ()), *report["film"].get("accepted_despite", ()))
    error = report["film_error" if report["film_is_exact"] else "film_error_after_gain_and_offset"][0]
    return FilmRow(film.name, "done", film.folder.name, error, reason=DONE_BEFORE, warnings=noticed)


def row_of_generated(
    film: OneFilm,
    run: FilmRun,
    cascade: UnifiedHybridViTCascade,
    *,
    overwrite: bool,
    on_progress: OnEvaluation | None = None,
) -> FilmRow:
    """Make the results of a film. Whatever goes wrong with one film is its own affair.

    Args:
        film: which.
        run: settings.
        cascade: as ``run`` loads it.
        overwrite: whether results of another run may be replaced.
        on_progress: told of every network evaluation.

    Raises:
        BatchStopped: if the disk is full or no longer writable.
    """
    begun, row = time.monotonic(), FilmRow(film.name, "failed")
    with warnings.catch_warnings(record=True) as noticed:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", InputWarning)
        try:
            remove_drafts(film.folder)
            require_replaceable(film.folder, overwrite=overwrite)
            error = _generate(film, run, cascade, on_progress)
            row = replace(row, status="done", folder=film.folder.name, film_error=round(error, 6))
        except _DiskFailure as failure:
            raise BatchStopped(replace(row, **_why(failure.reason, film))) from failure
        except Exception as error:  # one odd film must not stop a thousand
            row = replace(row, **_why(error, film))
    messages = tuple(dict.fromkeys(_said(str(one.message), film) for one in noticed))
    return replace(row, seconds=round(time.monotonic() - begun, 2), warnings=messages)


def remove_drafts(folder: Path) -> None:
    """Remove what a killed process had begun of a film; names hold nothing that a pattern could mistake."""
    for draft in folder.parent.glob(f".part-*-{folder.name}*"):
        pid, _, name = draft.name.removeprefix(".part-").partition("-")
        if pid.isdigit() and name in (folder.name, f"{folder.name}-old"):
            shutil.rmtree(draft, ignore_errors=True)


class _DiskFailure(Exception):
    """Writing failed, not the film."""

    def __init__(self, reason: CannotWrite) -> None:
        super().__init__(str(reason))
        self.reason = reason


def _generate(film: OneFilm, run: FilmRun, cascade: UnifiedHybridViTCascade, on_progress: OnEvaluation | None) -> float:
    """Film error of the CT that is now in the film's folder."""
    try:
        require_disk(run, cascade, run.targets(film.folder, overwrite=True))
    except CannotWrite as failure:
        raise _DiskFailure(failure) from failure
    ct = run.generate(cascade, str(film.path), on_progress=on_progress)
    try:
        with written_folder(film.folder) as draft:
            write_generated(run.targets(draft, overwrite=False), ct, film.path)
    except CannotWrite as failure:
        raise _DiskFailure(failure) from failure
    return ct.shown_film_error[0]


def _said(message: str, film: OneFilm) -> str:
    """A message in one line, without the name of the film: the row has it."""
    text = " ".join(message.split())
    return readable_name(text.removeprefix(film.path.name).removeprefix(":").strip(), MOST_REASON)


def _why(error: Exception, film: OneFilm) -> dict[str, Any]:
    """Exit code and reason. What an unexpected error says may hold whatever was in the file: it is not passed on."""
    if isinstance(error, Failure):
        return {"exit_code": int(error.exit_code), "reason": _said(str(error), film)}
    if is_out_of_memory(error):
        return {"exit_code": int(ExitCode.OUT_OF_RESOURCES), "reason": "out of memory"}
    reason = f"unexpected {type(error).__name__}: run this film alone with XCT_TRACEBACK=1 to see where"
    return {"exit_code": int(ExitCode.UNEXPECTED), "reason": reason}

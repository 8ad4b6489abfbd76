"""All films of a folder through the cascade: found, shared between processes, resumed, each on its own, summed up."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xct_components.batch.film_row import FilmRow, batch_exit_code
from xct_components.batch.film_run import FilmRun, require_memory
from xct_components.batch.film_search import FilmFolder, films_below
from xct_components.batch.one_film import BatchStopped, OneFilm, row_of_finished, row_of_generated
from xct_components.batch.output_lock import locked_output
from xct_components.batch.rank_meeting import RankMeeting
from xct_components.batch.readable_name import folder_names, readable_name
from xct_components.batch.summary_files import INDEX_FILE, SUMMARY_FILE, TABLE_FILE, SummaryFiles
from xct_components.failures import (
    CannotWrite,
    ExitCode,
    Failure,
    InputWarning,
    RefusedInput,
    UnreadableInput,
    UsageFailure,
)
from xct_components.generated_files import FILES, REPORT_FILE

if TYPE_CHECKING:
    from xct_components.cascade import UnifiedHybridViTCascade

#: Names that the output folder gives to no film.
TAKEN = (SUMMARY_FILE, TABLE_FILE, INDEX_FILE, REPORT_FILE, *FILES)
#: Told what is done: films of this process finished (a part of one counts), how many there are, and what happens.
OnFilm = Callable[[float, int, str], None]


class FilmsFailed(Failure):
    """Some films of the folder, or all, have no CT."""

    def __init__(self, message: str, exit_code: ExitCode) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass(frozen=True)
class FilmFolderRun:
    """What to do with a folder of films.

    Args:
        input: folder with films.
        output: folder of the results, apart from ``input``; made if missing.
        run: settings, the same for every film.
        bundles: as for ``FilmRun.load``.
        overwrite: make everything again.
        rank: which share of the films is this process's.
        processes: number of processes that share the films.
    """

    input: Path
    output: Path
    run: FilmRun
    bundles: str | None = None
    overwrite: bool = False
    rank: int = 0
    processes: int = 1

    def __post_init__(self) -> None:
        inside, outside = self.input.resolve(), self.output.resolve()
        if inside == outside or outside in inside.parents or inside in outside.parents:
            raise UsageFailure(f"film folder and output must lie apart, got {self.input} and {self.output}")


@dataclass
class FilmFolderResult:
    """What came of it.

    Args:
        rows: of all processes, films first.
        films: how many films there are.
        others: files that are no film.
        written: the files about all films; empty in processes that do not write them.
        speaks: whether this process tells how the batch ended. ``torchrun`` kills the others once one ends with a failure, so
            of processes that met the first one alone may end with one.
    """

    rows: list[FilmRow] = field(default_factory=list)
    films: int = 0
    others: int = 0
    written: list[Path] = field(default_factory=list)
    speaks: bool = True

    def require_all_done(self) -> None:
        """Raise if a film has no CT, in the process that speaks for all.

        Raises:
            FilmsFailed: with the exit code of ``batch_exit_code``.
        """
        code = batch_exit_code(self.rows, self.films)
        if code == ExitCode.OK or not self.speaks:
            return
        done = sum(row.status == "done" for row in self.rows)
        failed = sum(row.status == "failed" for row in self.rows)
        gone = self.films - done - failed
        lost = f" and {gone} not done as a process ended early: run the same command again" if gone else ""
        raise FilmsFailed(f"{failed} of {self.films} films failed{lost}; {SUMMARY_FILE} says why", code)


def run_film_folder(batch: FilmFolderRun, on_film: OnFilm) -> FilmFolderResult:
    """Make the CT of every film that has none yet.

    Args:
        batch: what to do.
        on_film: told how it goes.

    Raises:
        UnreadableInput: if the folder holds no film.
        RefusedInput: if all it holds is something else.
        BatchStopped: if nothing more can be written.
        Failure: what ``FilmRun.load`` and ``require_memory`` raise.
    """
    found = films_below(batch.input, apart=batch.output)
    _require_films(found, batch.input)
    films = _films(batch, found)
    on_film(0.0, len(films), "loading")
    cascade = batch.run.load(batch.bundles)
    require_memory(batch.run, cascade)
    _make(batch.output)
    facts = _facts(batch, cascade, found)
    summary = SummaryFiles(batch.output, tuple(film.name for film in films), facts, batch.rank, batch.processes)
    skipped = [FilmRow(one.name, "skipped", reason=one.reason) for one in found.skipped]
    with locked_output(batch.output, shared=batch.processes > 1):
        summary.sweep(of_all=batch.processes == 1)
        meeting = RankMeeting(batch.processes)
        rows = _rows(batch, films[batch.rank :: batch.processes], cascade, summary, skipped, on_film)
        return _result(rows, summary, meeting, found)


def _result(rows: list[FilmRow], summary: SummaryFiles, meeting: RankMeeting, found: FilmFolder) -> FilmFolderResult:
    """What all processes did; the first one writes it, or each where they cannot meet."""
    meeting.wait()
    result = FilmFolderResult(summary.merged(rows), len(found.films), found.others)
    result.speaks = summary.rank == 0 or not meeting.is_open
    if result.speaks:
        result.written = [summary.write_index(rows), *reversed(summary.write_merged(rows))]
        _tell_of_warnings(result.rows)
    if meeting.wait() and meeting.is_open and summary.rank == 0:
        summary.sweep(of_all=True)
    meeting.close()
    return result


def _rows(
    batch: FilmFolderRun,
    share: list[OneFilm],
    cascade: UnifiedHybridViTCascade,
    summary: SummaryFiles,
    skipped: list[FilmRow],
    on_film: OnFilm,
) -> list[FilmRow]:
    """The rows of this process; the summary is true whenever it is stopped."""
    rows, waiting = list(skipped), []
    for film in share:
        on_film(0.0, len(share), f"looking for what is done: {film.name}")
        before = None if batch.overwrite else row_of_finished(film, batch.run, cascade.weights)
        if before is None:
            waiting.append(film)
        else:
            rows.append(before)
    summary.write(rows)
    try:
        for count, film in enumerate(waiting):
            rows.append(_row(film, batch, cascade, _stages(on_film, count, len(waiting), film.name)))
            summary.write(rows)
    except KeyboardInterrupt:
        rows += _just_finished(waiting, rows, batch, cascade)
        raise
    except BatchStopped as stopped:
        rows.append(stopped.row)
        raise
    finally:
        with suppress(CannotWrite):  # where the disk is full, that is what the user is told
            summary.write(rows)
            if batch.rank == 0:
                summary.write_index(rows)
    on_film(float(len(waiting)), len(waiting), "")
    return rows


def _just_finished(
    waiting: list[OneFilm], rows: list[FilmRow], batch: FilmFolderRun, cascade: UnifiedHybridViTCascade
) -> list[FilmRow]:
    """The film whose folder appeared in the moment of an interruption, before it had a row."""
    named = {row.name for row in rows}
    current = next((film for film in waiting if film.name not in named), None)
    row = current and row_of_finished(current, batch.run, cascade.weights)
    return [replace(row, reason="")] if row else []


def _row(film: OneFilm, batch: FilmFolderRun, cascade: UnifiedHybridViTCascade, on_stage: Callable[..., None]) -> FilmRow:
    on_stage(0, 0, 1)
    return row_of_generated(film, batch.run, cascade, overwrite=batch.overwrite, on_progress=on_stage)


def _stages(on_film: OnFilm, count: int, total: int, name: str) -> Callable[[int, int, int], None]:
    def evaluated(stage: int, done: int, evaluations: int) -> None:
        on_film(count + done / max(evaluations, 1), total, f"{name}: {f'stage {stage}' if stage else 'reading'}")

    return evaluated


def _films(batch: FilmFolderRun, found: FilmFolder) -> list[OneFilm]:
    folders = folder_names(found.films, TAKEN)
    return [
        OneFilm(batch.input / path, readable_name(path.as_posix()), batch.output / folder)
        for path, folder in zip(found.films, folders, strict=True)
    ]


def _require_films(found: FilmFolder, folder: Path) -> None:
    if found.films:
        return
    if found.skipped:
        first = found.skipped[0]
        raise RefusedInput(f"{folder} holds no frontal film: {first.name} is {first.reason}; {len(found.skipped)} files in all")
    raise UnreadableInput(f"{folder} holds no film; films are .png, .jpg, .tif, .nii, .nii.gz, .dcm, or DICOM by any name")


def _facts(batch: FilmFolderRun, cascade: UnifiedHybridViTCascade, found: FilmFolder) -> dict[str, Any]:
    from xct_components.cascade import NOTICE, software

    settings = {**batch.run.recorded, "formats": list(batch.run.formats), "view": batch.run.view, "accept": batch.run.accept}
    weights = cascade.weights
    return {"notice": NOTICE, **software(), "settings": settings, "weights": weights, "other_files": found.others}


def _make(folder: Path) -> None:
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise CannotWrite(f"cannot make the folder {folder}: {error.strerror}") from error


def _tell_of_warnings(rows: list[FilmRow]) -> None:
    """Once for all films: a hundred films with one warning each would bury what matters."""
    count = sum(bool(row.warnings) for row in rows)
    if count:
        films = "1 film has" if count == 1 else f"{count} films have"
        warnings.warn(f"{films} warnings: see {SUMMARY_FILE} or {INDEX_FILE}", InputWarning, stacklevel=3)

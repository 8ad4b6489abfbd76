"""The summary of a batch on a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from xct_components.batch.film_row import FilmRow, told_together
from xct_components.batch.one_film import DONE_BEFORE
from xct_components.batch.readable_name import readable_name

_WIDEST_NAME = 44
HEADER = ("film", "status", "film error", "seconds", "")


def summary_table(rows: Sequence[FilmRow], films: int, others: int, width: int | None = None) -> list[str]:
    """The lines: one per film, skipped files of a kind together, then the totals.

    Args:
        rows: of films and skipped files.
        films: how many films there are.
        others: how many files of other kinds there are.
        width: characters in a line at most; None for no limit.
    """
    cells = [HEADER, *_cells(rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(4)]
    lines = []
    for name, status, error, seconds, reason in cells:
        line = f"{name:<{widths[0]}}  {status:<{widths[1]}}  {error:>{widths[2]}}  {seconds:>{widths[3]}}  {reason}".rstrip()
        lines.append(line if width is None or len(line) <= width else f"{line[: width - 3]}...")
    return [*lines, "", _totals(rows, films, others)]


def _cells(rows: Sequence[FilmRow]) -> Iterator[tuple[str, str, str, str, str]]:
    for row in told_together(rows):
        error = "" if row.film_error is None else f"{row.film_error:.1%}"
        seconds = "" if row.seconds is None else f"{row.seconds:.1f}"
        count = len(row.warnings)
        noticed = "" if row.status != "done" or not count else "1 warning" if count == 1 else f"{count} warnings"
        yield readable_name(row.name, _WIDEST_NAME), row.status, error, seconds, ", ".join(filter(None, (row.reason, noticed)))


def _totals(rows: Sequence[FilmRow], films: int, others: int) -> str:
    done, failed, skipped = ([row for row in rows if row.status == status] for status in ("done", "failed", "skipped"))
    before = sum(row.reason == DONE_BEFORE for row in done)
    made = [row.seconds for row in done if row.seconds is not None]
    waiting = films - len(done) - len(failed)
    parts = [
        f"{len(done)} done" + (f" ({before} of them before)" if before else ""),
        f"{len(failed)} failed",
        f"{waiting} not done" if waiting else "",
        f"{len(skipped)} skipped" if skipped else "",
        f"{others} other file{'s' if others > 1 else ''} left out" if others else "",
    ]
    pace = f"; {sum(made) / len(made):.1f} s a film" if made else ""
    return f"{films} film{'s' if films > 1 else ''}: {', '.join(filter(None, parts))}{pace}"

"""summary.json, summary.csv and index.html of a batch: true at every moment, merged over all processes."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xct_components.batch.film_row import FilmRow, batch_exit_code, told_together
from xct_components.data.atomic_files import written_together
from xct_components.generated_files import PAGE_FILE, PREVIEW_FILE, REPORT_FILE

SCHEMA, SCHEMA_VERSION = "xct-batch", 1
SUMMARY_FILE, TABLE_FILE, INDEX_FILE = "summary.json", "summary.csv", "index.html"
COLUMNS = ("name", "status", "film_error", "seconds", "exit_code", "reason", "warnings", "folder")
#: What a click in the index opens: the first of these that a film has.
LINKS = (PAGE_FILE, PREVIEW_FILE, REPORT_FILE)
#: A spreadsheet takes a cell that begins with one of these for a formula.
_FORMULA = ("=", "+", "-", "@")


@dataclass(frozen=True)
class SummaryFiles:
    """The files that say what became of a batch.

    Args:
        output: folder of the batch.
        films: names of all films, in order.
        facts: what is the same for all: software, settings, weights; JSON-ready.
        rank: of this process.
        processes: how many there are.
    """

    output: Path
    films: tuple[str, ...]
    facts: dict[str, Any]
    rank: int = 0
    processes: int = 1

    def write(self, rows: Sequence[FilmRow]) -> None:
        """Note this process's rows; the first process writes the summary of all, as far as they have come."""
        if self.processes > 1:
            text = json.dumps([row.to_json() for row in rows])
            with written_together(self._rows_file(self.rank)) as (draft,):
                draft.write_text(text, encoding="utf-8")
        if self.rank == 0:
            self.write_merged(rows)

    def merged(self, rows: Sequence[FilmRow]) -> list[FilmRow]:
        """The rows of all processes: films in order, then what was skipped."""
        known = {row.name: row for row in rows}
        for rank in range(self.processes):
            if rank != self.rank:
                known |= {row.name: row for row in _rows_in(self._rows_file(rank))}
        order = {name: number for number, name in enumerate(self.films)}
        return sorted(known.values(), key=lambda row: (order.get(row.name, len(order)), row.name))

    def write_merged(self, rows: Sequence[FilmRow]) -> list[Path]:
        """Write the summary of all processes; what was written."""
        everything = self.merged(rows)
        paths = [self.output / name for name in (SUMMARY_FILE, TABLE_FILE)]
        with written_together(*paths) as (summary, table):
            summary.write_text(json.dumps(self.document(everything), indent=2) + "\n", encoding="utf-8")
            table.write_text(_csv(everything), encoding="utf-8", newline="")
        return paths

    def write_index(self, rows: Sequence[FilmRow]) -> Path:
        """Write the page of all films."""
        from xct_components.report_page.index_page import IndexRow, write_index

        index = [
            IndexRow(
                name=row.name,
                status=row.status,
                link=self._first_of(row, LINKS),
                picture=self._first_of(row, (PREVIEW_FILE,)),
                film_error=row.film_error,
                message="; ".join(filter(None, (row.reason, *row.warnings))),
            )
            for row in told_together(self.merged(rows))
        ]
        path = self.output / INDEX_FILE
        with written_together(path) as (draft,):
            write_index(draft, index, f"Synthetic CTs of {len(self.films)} films")
        return path

    def document(self, rows: list[FilmRow]) -> dict[str, Any]:
        """summary.json."""
        counts = {status: sum(row.status == status for row in rows) for status in ("done", "failed", "skipped")}
        waiting = len(self.films) - counts["done"] - counts["failed"]
        code = int(batch_exit_code(rows, len(self.films)))
        numbers = {"films": len(self.films), **counts, "waiting": waiting, "exit_code": code}
        return {
            "schema": SCHEMA,
            "schema_version": SCHEMA_VERSION,
            **self.facts,
            **numbers,
            "rows": [row.to_json() for row in rows],
        }

    def sweep(self, *, of_all: bool) -> None:
        """Remove the notes and drafts that this process's forerunner left, or those of all that there ever were."""
        patterns = [self._rows_file(self.rank).name, f".part-*-{self._rows_file(self.rank).name}"]
        if self.rank == 0:
            patterns += [f".part-*-{name}" for name in (SUMMARY_FILE, TABLE_FILE, INDEX_FILE)]
        if of_all:
            patterns += [".rows-*.json", ".part-*-.rows-*.json"]
        for path in {path for pattern in patterns for path in self.output.glob(pattern)}:
            path.unlink(missing_ok=True)

    def _rows_file(self, rank: int) -> Path:
        return self.output / f".rows-{rank}.json"

    def _first_of(self, row: FilmRow, names: Sequence[str]) -> str | None:
        found = (f"{row.folder}/{name}" for name in names if row.folder and (self.output / row.folder / name).is_file())
        return next(found, None)


def _rows_in(path: Path) -> list[FilmRow]:
    try:
        return [FilmRow.from_json(row) for row in json.loads(path.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError, KeyError):
        return []


def _csv(rows: Sequence[FilmRow]) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for row in rows:
        plain = {**row.to_json(), "warnings": "; ".join(row.warnings)}
        writer.writerow([_cell(plain[name]) for name in COLUMNS])
    return text.getvalue()


def _cell(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value

"""What became of one file of a folder: a line of the summary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from xct_components.failures import ExitCode

Status = Literal["done", "failed", "skipped"]
#: More skipped files than this in one folder with one reason are told as one.
SEVERAL = 3


@dataclass(frozen=True)
class FilmRow:
    """One file of a batch.

    Args:
        name: of the file below the folder of the films, readable.
        status: what became of it.
        folder: of its results, below the output folder; None where there are none.
        film_error: ||DRR(volume) - film|| / ||film||, of a displayed film after the best gain and offset; or None.
        seconds: that it took in this run; None where nothing was computed.
        exit_code: that ``xct generate`` returns for this film alone.
        reason: why it failed or was skipped; where it is done, that it was done before, or nothing.
        warnings: what was noticed of the film.
    """

    name: str
    status: Status
    folder: str | None = None
    film_error: float | None = None
    seconds: float | None = None
    exit_code: int = int(ExitCode.OK)
    reason: str = ""
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return {**asdict(self), "warnings": list(self.warnings)}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> FilmRow:
        """What ``to_json`` wrote.

        Raises:
            TypeError: for anything else.
            KeyError: likewise.
        """
        return cls(**{**document, "warnings": tuple(document["warnings"])})


def batch_exit_code(rows: list[FilmRow], films: int) -> ExitCode:
    """What the command returns: 0 if every film is done, the code of the failures if all failed alike, else 8.

    Args:
        rows: of the films and of what was skipped.
        films: how many there are; some may have no row, because a process died.
    """
    done = sum(row.status == "done" for row in rows)
    codes = [row.exit_code for row in rows if row.status == "failed"]
    if done == films:
        return ExitCode.OK
    alike = len(codes) == films and len(set(codes)) == 1
    return ExitCode(codes[0]) if alike else ExitCode.PARTIAL


def told_together(rows: Sequence[FilmRow]) -> list[FilmRow]:
    """The rows for people: the many slices of a CT are one row, "ct (300 files)", where the first of them was."""
    kinds = Counter(_kind(row) for row in rows)
    told, lines = set(), []
    for row in rows:
        kind = _kind(row)
        if kind is None or kinds[kind] <= SEVERAL:
            lines.append(row)
        elif kind not in told:
            told.add(kind)
            lines.append(FilmRow(f"{kind[0] or '.'} ({kinds[kind]} files)", "skipped", reason=row.reason))
    return lines


def _kind(row: FilmRow) -> tuple[str, str] | None:
    """Folder and reason of a skipped file; None for a film."""
    return (row.name.rpartition("/")[0], row.reason) if row.status == "skipped" else None

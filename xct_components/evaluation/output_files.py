"""The files of an evaluation: all of them or none."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xct_components.data.atomic_files import written_together
from xct_components.data.atomic_folder import made_folder, require_free_folder
from xct_components.evaluation.case_rows import Row
from xct_components.evaluation.html_sheet import write_html
from xct_components.evaluation.sheet import PicturedCase, write_sheet

JSON_FILE, CSV_FILE, HTML_FILE, PNG_FILE = "evaluation.json", "evaluation.csv", "evaluation.html", "evaluation.png"


def require_targets(folder: Path, *, overwrite: bool) -> list[Path]:
    """The files to write, once it is clear that they can be and that nothing is lost by it.

    Raises:
        CannotWrite: if not.
    """
    targets = [folder / name for name in (JSON_FILE, CSV_FILE, HTML_FILE, PNG_FILE)]
    require_free_folder(folder, [target.name for target in targets], overwrite=overwrite)
    return targets


def write_evaluation(
    targets: Sequence[Path],
    record: dict[str, Any],
    rows: Sequence[Row],
    protocol_rows: Sequence[Row],
    pictured: Sequence[PicturedCase],
) -> None:
    """JSON, CSV, HTML and PNG together.

    Args:
        targets: from ``require_targets``.
        record: all but the rows, JSON-ready.
        rows: honest figures.
        protocol_rows: those of a published protocol.
        pictured: the patients in the picture.

    Raises:
        CannotWrite: if a file cannot be written; then none is left, nor a folder that was made for them.
    """
    with made_folder(targets[0].parent), written_together(*targets) as (as_json, as_csv, as_html, as_png):
        write_sheet(as_png, pictured)
        tables = {"rows": [_plain(row) for row in rows], "protocol_rows": [_plain(row) for row in protocol_rows]}
        as_json.write_text(json.dumps(_finite({**record, **tables}), indent=1, allow_nan=False) + "\n", encoding="utf-8")
        _write_csv(as_csv, [*rows, *protocol_rows])
        write_html(as_html, record, rows, as_png, protocol_rows=protocol_rows)


def _write_csv(path: Path, rows: Sequence[Row]) -> None:
    """One line a row, one column a metric; a metric that a row has not is empty."""
    import csv

    names = list(dict.fromkeys(name for row in rows for name in row.scores))
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, ["case", "size", "method", *names], restval="")
        writer.writeheader()
        writer.writerows({"case": row.case, "size": row.size, "method": row.method, **row.scores} for row in rows)


def _plain(row: Row) -> dict[str, Any]:
    return {"case": row.case, "size": row.size, "method": row.method, "scores": row.scores}


def _finite(value: Any) -> Any:
    """JSON knows no infinity: the PSNR of an equal volume becomes the word."""
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_finite(one) for one in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value

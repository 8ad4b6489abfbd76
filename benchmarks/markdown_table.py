"""Markdown tables of figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table whose cells are texts, numbers (three significant digits) or None ("-")."""
    lines = [list(header), ["---"] * len(header), *([cell_text(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def cell_text(cell: Any) -> str:
    """The text of one cell: 0.0123 -> "0.0123", 5.4e-04 -> "5.40e-04", 604.2 -> "604", None -> "-"."""
    if cell is None:
        return "-"
    if not isinstance(cell, float):
        return str(cell)
    if cell == 0.0:
        return "0"
    magnitude = abs(cell)
    if magnitude < 1e-3:
        return f"{cell:.2e}"
    return f"{cell:.0f}" if magnitude >= 100.0 else f"{cell:.3g}"

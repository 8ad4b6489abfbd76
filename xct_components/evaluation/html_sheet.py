"""The tables of an evaluation as one HTML page that stands alone, its picture inside."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xct_components.evaluation.case_rows import Row
from xct_components.evaluation.summary import MAIN, Table, ideal, larger_is_better, means
from xct_components.metrics.intervals import PatientMean

_STYLE = """body{font:14px/1.45 system-ui,sans-serif;color:#1b2430;max-width:1280px;margin:2em auto;padding:0 1em}
table{border-collapse:collapse;margin:.6em 0 1.6em;font-variant-numeric:tabular-nums;display:block;overflow-x:auto}
th,td{padding:.25em .7em;text-align:right;border-bottom:1px solid #dde3ea;white-space:nowrap}th:first-child,td:first-child
{text-align:left}th{background:#f2f5f8}small{color:#667;display:block}.best{font-weight:700;background:#e6f4ea}
.warn{background:#fff3d6;padding:.6em 1em}img{max-width:100%}code{background:#f2f5f8;padding:0 .25em}"""
_NOTE = "Research only. Films are simulated from the very CTs: real films score worse, and nothing here says by how much."


def write_html(path: Path, record: dict[str, Any], rows: Sequence[Row], picture: Path, *, protocol_rows: Sequence[Row]) -> None:
    """Write the page.

    Args:
        path: where.
        record: settings and gains, as the JSON holds them.
        rows: honest figures.
        picture: the PNG.
        protocol_rows: figures of a published protocol; may be empty.
    """
    n, held = len({row.case for row in rows}), record["held_by_the_weights"]
    parts = [
        _title(n, len(held["cases"])),
        f'<p class="warn">{_NOTE} With n={n} the intervals say little.</p>' if n < 10 else f'<p class="warn">{_NOTE}</p>',
        f'<p class="warn">{html.escape(", ".join(held["cases"]) + ": " + held["note"])}.</p>' if held["cases"] else "",
        _facts(record),
    ]
    for size, methods in means(rows).items():
        parts.append(f"<h2>{size} voxels a side</h2>{_mean_table(methods)}")
    if protocol_rows:
        name = record["protocol"]["name"]
        parts.append(f"<h2>Protocol {html.escape(name)}</h2><p>{html.escape(record['protocol']['note'])}</p>")
        parts += [_mean_table(methods, None) for methods in means(protocol_rows).values()]
    parts += [_gains(record["gains"]), "<h2>Each patient</h2>", _patients(rows, held["cases"])]
    encoded = base64.b64encode(picture.read_bytes()).decode("ascii")
    parts.append(f'<h2>Pictures</h2><img alt="truth, cascade, baseline, error" src="data:image/png;base64,{encoded}">')
    title = "xct evaluate"
    path.write_text(
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>\n'
        + "\n".join(parts)
        + "</html>\n",
        encoding="utf-8",
    )


def _title(n: int, held: int) -> str:
    patients = f"{n} patient{'s' if n > 1 else ''}"
    return f"<h1>CTs: {patients}, {held} of them not held out</h1>" if held else f"<h1>Held-out CTs: {patients}</h1>"


def _facts(record: dict[str, Any]) -> str:
    low, high = record["window_hu"]
    facts = (
        f"PSNR of the volume and 3-D Gaussian SSIM (1.5 voxels) over {low:g} to {high:g} HU; values are clipped to "
        "-1024 to 1500 HU; "
        f"film errors are ||DRR(volume) - film|| / ||film||. {record['film']} Mean volume: {record['mean_volume']}. "
        f"{record['software']}, seed {record['settings']['seed']}. Definitions: docs/metrics.md."
    )
    return f"<p>{html.escape(facts)}</p>"


def _mean_table(methods: dict[str, dict[str, PatientMean]], chosen: dict[str, str] | None = MAIN) -> str:
    """Means with intervals; the best of each column stands out."""
    names = list(dict.fromkeys(name for metrics in methods.values() for name in metrics))
    columns = names if chosen is None else [name for name in chosen if name in names]
    best = {}
    for name in columns:
        values = [metrics[name].mean for metrics in methods.values() if name in metrics]
        best[name] = max(values) if larger_is_better(name) else min(values, key=lambda one: abs(one - ideal(name)))
    heads = "".join(f"<th>{html.escape((chosen or {}).get(name, name))}</th>" for name in columns)
    lines = []
    for method, metrics in methods.items():
        cells = "".join(_cell(metrics.get(name), best[name]) for name in columns)
        n = next(iter(metrics.values())).n
        lines.append(f"<tr><td>{html.escape(method)}</td><td>{n}</td>{cells}</tr>")
    return f"<table><tr><th>method</th><th>n</th>{heads}</tr>{''.join(lines)}</table>"


def _cell(value: PatientMean | None, best: float) -> str:
    if value is None:
        return "<td>-</td>"
    interval = "" if math.isnan(value.low) else f"<small>{value.low:.4g} to {value.high:.4g}</small>"
    mark = ' class="best"' if value.mean == best else ""
    return f"<td{mark}>{value.mean:.4g}{interval}</td>"


def _gains(gains: Sequence[dict[str, Any]]) -> str:
    lines = [
        f"<tr><td>{one['size']}: {html.escape(one['over'])}</td><td>{html.escape(one['metric'])}</td>"
        f"<td>{one['mean']:+.4g}</td><td>{_ends(one)}</td><td>{one['better_in']} of {one['n']}</td></tr>"
        for one in gains
    ]
    names = ("the stage's mean minus", "metric", "mean of patients", "95 % interval", "better in")
    heads = f"<tr>{''.join(f'<th>{name}</th>' for name in names)}</tr>"
    return f"<h2>What the cascade gains, patient by patient</h2><table>{heads}{''.join(lines)}</table>"


def _ends(one: dict[str, Any]) -> str:
    return "-" if one["low"] is None else f"{one['low']:+.4g} to {one['high']:+.4g}"


def _patients(rows: Sequence[Row], held: Sequence[str]) -> str:
    """Every row with every main metric.

    Args:
        rows: of all patients.
        held: those who are not held out.
    """
    table: dict[str, Table] = {
        case: means([row for row in rows if row.case == case]) for case in dict.fromkeys(r.case for r in rows)
    }
    return "".join(
        f"<h3>{html.escape(case)}, {size}{', held by the weights' if case in held else ''}</h3>{_mean_table(methods)}"
        for case, sizes in table.items()
        for size, methods in sizes.items()
    )

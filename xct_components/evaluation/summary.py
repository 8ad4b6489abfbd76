"""Rows of patients as tables: means with their intervals, and what the cascade gains over each baseline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xct_components.evaluation.case_rows import Row
from xct_components.metrics.intervals import PatientMean, patient_mean

#: The columns of the main table, and how they are headed.
MAIN = {
    "rmse_hu": "RMSE HU",
    "mae_hu": "MAE HU",
    "psnr_db": "PSNR dB",
    "ssim": "SSIM",
    "body_rmse_hu": "body RMSE",
    "body_psnr_db": "body PSNR",
    "body_ssim": "body SSIM",
    "frontal_film_error": "frontal film",
    "lateral_film_error": "lateral film",
    "anatomy_score": "anatomy /10",
    "coverage_90": "coverage 90",
    "error_correlation": "Spearman",
    "crps_hu": "CRPS HU",
}
#: What the cascade is compared in, patient by patient.
COMPARED = ("psnr_db", "ssim", "body_psnr_db", "lateral_film_error", "anatomy_score")
#: Beginnings of the names of metrics that are better when they are larger; all others when they are smaller.
_LARGER_IS_BETTER = ("psnr", "ssim", "body_psnr", "body_ssim", "dice", "surface_dice", "anatomy", "error_correlation")

#: Width of a column.
_WIDTH = 15

Table = dict[int, dict[str, dict[str, PatientMean]]]


def larger_is_better(metric: str) -> bool:
    """Whether more of a metric is better."""
    return metric.startswith(_LARGER_IS_BETTER)


def ideal(metric: str) -> float:
    """The best value of a metric that is better when it is smaller, or that has a right value: 90 % of 90 %."""
    return 0.9 if metric == "coverage_90" else 0.0


def means(rows: Sequence[Row]) -> Table:
    """Size -> method -> metric -> mean over the patients; in the order of the rows."""
    table: Table = {}
    for size, method in dict.fromkeys((row.size, row.method) for row in rows):
        chosen = [row.scores for row in rows if (row.size, row.method) == (size, method)]
        names = [name for name in chosen[0] if all(name in scores for scores in chosen)]
        table.setdefault(size, {})[method] = {name: patient_mean([scores[name] for scores in chosen]) for name in names}
    return table


def gains(rows: Sequence[Row], ours: dict[int, str]) -> list[dict[str, Any]]:
    """Per size, other method and compared metric: ours minus the other of each patient, averaged, and how often ours is better.

    Args:
        rows: of all patients.
        ours: size -> the method that is compared with all others.
    """
    found = []
    by_key = {(row.case, row.size, row.method): row.scores for row in rows}
    cases = list(dict.fromkeys(row.case for row in rows))
    for size, method in dict.fromkeys((row.size, row.method) for row in rows):
        if method == ours[size]:
            continue
        for metric in COMPARED:
            differences = [by_key[case, size, ours[size]][metric] - by_key[case, size, method][metric] for case in cases]
            better = sum((one > 0.0) if larger_is_better(metric) else (one < 0.0) for one in differences)
            found.append(
                {"size": size, "over": method, "metric": metric, "gain": patient_mean(differences), "better_in": better}
            )
    return found


def text_tables(table: Table, n: int, *, title: str = "", heads: dict[str, str] | None = None) -> list[str]:
    """Means as lines of text, one table a size; n stands over each.

    Args:
        table: of ``means``.
        n: how many patients.
        title: what stands before the size.
        heads: the columns and how they are headed; None for those of MAIN.
    """
    lines = []
    headed = MAIN if heads is None else heads
    for size, methods in table.items():
        columns = [name for name in headed if any(name in metrics for metrics in methods.values())]
        width = max(len(method) for method in methods)
        lines += ["", f"{title}{size} voxels a side, mean of n={n}"]
        lines.append(" " * width + "".join(f"{headed[name]:>{_WIDTH}s}" for name in columns))
        for method, metrics in methods.items():
            cells = (f"{metrics[name].mean:{_WIDTH}.4g}" if name in metrics else f"{'-':>{_WIDTH}s}" for name in columns)
            lines.append(f"{method:<{width}s}" + "".join(cells))
    return lines


def protocol_tables(table: Table, n: int, name: str) -> list[str]:
    """The figures of a published protocol, every one of them."""
    names = dict.fromkeys(metric for methods in table.values() for metrics in methods.values() for metric in metrics)
    return text_tables(table, n, title=f"protocol {name}, ", heads={metric: metric for metric in names})

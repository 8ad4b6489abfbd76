"""The check sheet of a stage: its checks, its training, its depth distribution and its cases on one page, and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from xct_components.data.readable_json import readable_json
from xct_components.physics.depth_regions import REGIONS
from xct_components.training.case_picture import ACCENT, BACKGROUND, FAINT, TEXT, draw_case, framed_panel, picture_size_inch
from xct_components.training.depth_picture import CURVES_IN_WORDS, draw_depth_curves
from xct_components.training.depth_profile import region_shares
from xct_components.training.stage_checks import Check, CheckedCase

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SCHEMA, SCHEMA_VERSION = "xct-stage-check", 1
VERDICT_COLORS = {"PASS": "#6ee7a0", "FAIL": "#ff6b6b", "not checked": FAINT}
#: Of the terms; the whole loss is white.
LOSS_COLORS = (ACCENT, "#ffb454", "#6ee7a0", "#c792ea", "#ff8fa3")
#: Inches.
MARGIN, TITLE, LINE, CURVES, CURVES_GAP = 0.3, 0.9, 0.3, 2.6, 0.85


@dataclass(frozen=True)
class CheckSheet:
    """What is known about a stage.

    Args:
        title: which stage, weights and cases, in a line.
        checks: from ``checks_of``.
        cases: all cases.
        shown: those with pictures on the page.
        log: of the training, empty if there is none.
        about: what else the JSON says: software, weights, side.
    """

    title: str
    checks: Sequence[Check]
    cases: Sequence[CheckedCase]
    shown: Sequence[CheckedCase]
    log: Sequence[Mapping[str, Any]]
    about: Mapping[str, Any]


def write_sheet_json(path: Path, sheet: CheckSheet) -> None:
    """Checks, every case's figures, depth profiles and what the three regions hold."""
    depth = mean_depth(sheet.cases)
    shares = {name: region_shares(torch.tensor(profile)).tolist() for name, profile in depth.items()}
    document = {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        **sheet.about,
        "passed": all(check.passed is not False for check in sheet.checks),
        "checks": [check.to_json() for check in sheet.checks],
        "cases": [{"case": case.name, **case.figures} for case in sheet.cases],
        "depth": {"regions": list(REGIONS), "region_shares": shares, "depth_mm": _depth_mm(sheet.cases), "profiles": depth},
        "epochs": len(sheet.log),
    }
    path.write_text(readable_json(_without_nan(document)), encoding="utf-8")


def write_sheet_png(path: Path, sheet: CheckSheet) -> None:
    """One page: the checks, three diagrams, the cases."""
    from matplotlib.figure import Figure

    width = 2 * MARGIN + picture_size_inch()[0]
    top_of_cases = MARGIN + TITLE + LINE * len(sheet.checks) + CURVES + CURVES_GAP
    height = top_of_cases + len(sheet.shown) * (picture_size_inch()[1] + 0.25) + MARGIN
    figure = Figure(figsize=(width, height), dpi=100, facecolor=BACKGROUND)
    _write_checks(figure, sheet)
    panels = _diagrams(figure, MARGIN + TITLE + LINE * len(sheet.checks) + 0.15)
    _draw_losses(panels[0], sheet.log)
    _draw_depth(panels[1], sheet.cases)
    _draw_errors(panels[2], sheet.cases)
    for number, case in enumerate(sheet.shown):
        if case.picture is not None:
            draw_case(figure, case.picture, MARGIN, top_of_cases + number * (picture_size_inch()[1] + 0.25))
    figure.savefig(path, format="png", facecolor=BACKGROUND)


def mean_depth(cases: Sequence[CheckedCase]) -> dict[str, list[float]]:
    """The mean of the cases' depth profiles by name; empty without depth lifting."""
    if not cases or not cases[0].depth:
        return {}
    return {name: torch.tensor([case.depth[name] for case in cases]).mean(0).tolist() for name in cases[0].depth}


def _depth_mm(cases: Sequence[CheckedCase]) -> float:
    return cases[0].depth_mm if cases else 0.0


def _write_checks(figure: Figure, sheet: CheckSheet) -> None:
    width, height = figure.get_size_inches()
    left = MARGIN / width
    figure.text(left, 1 - (MARGIN + 0.1) / height, sheet.title, color=TEXT, fontsize=14, weight="bold", va="center")
    made_by = f"{sheet.about.get('software', '')}   check.json beside this page has every figure"
    figure.text(left, 1 - (MARGIN + 0.38) / height, made_by.strip(), color=FAINT, fontsize=9, va="center")
    for number, check in enumerate(sheet.checks):
        bottom = 1 - (MARGIN + TITLE - 0.2 + number * LINE) / height
        figure.text(left, bottom, check.verdict, color=VERDICT_COLORS[check.verdict], fontsize=9.5, weight="bold", va="center")
        words = check.in_words().removeprefix(check.verdict).strip()
        figure.text((MARGIN + 1.2) / width, bottom, words, color=TEXT, fontsize=9.5, va="center")


def _diagrams(figure: Figure, top_inch: float) -> list[Axes]:
    """Three of the same size side by side."""
    room = 0.6
    side = (figure.get_size_inches()[0] - 2 * MARGIN - 3 * room) / 3
    return [framed_panel(figure, MARGIN + room + number * (side + room), top_inch, side, CURVES) for number in range(3)]


def _draw_losses(axes: Axes, log: Sequence[Mapping[str, Any]]) -> None:
    """Every term of the loss relative to its first epoch: terms of any size fit one diagram."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _name(axes, "loss by term, first epoch = 1", "epoch")
    not_losses = {"train_samples_per_s", "train_waiting_share"}
    axes.set_prop_cycle(color=LOSS_COLORS)
    names = [name for name in (log[0] if log else {}) if name.startswith("train_") and name not in not_losses]
    for name in names:
        points = [(one["epoch"], one[name]) for one in log if one.get(name) is not None]
        if points and points[0][1]:
            whole = {"color": TEXT, "linewidth": 2.0, "zorder": 3} if name == "train_loss" else {"linewidth": 1.2}
            epochs, values = zip(*points, strict=True)
            label = name.removeprefix("train_").replace("_", " ")
            axes.plot(epochs, [value / points[0][1] for value in values], marker=".", label=label, **whole)
    if names:
        _add_legend(axes)
    else:
        _write_in(axes, "no log of the training")


def _draw_depth(axes: Axes, cases: Sequence[CheckedCase]) -> None:
    depth = mean_depth(cases)
    if depth:
        draw_depth_curves(axes, depth, _depth_mm(cases))
        _name(axes, CURVES_IN_WORDS, axes.get_xlabel())
    else:
        _name(axes, CURVES_IN_WORDS, "")
        _write_in(axes, "no depth lifting")


def _draw_errors(axes: Axes, cases: Sequence[CheckedCase]) -> None:
    """Each case a point, in the color of a verdict."""
    _name(axes, "RMSE of each case in HU", "of what the stage starts from")
    axes.set_ylabel("of the stage", color=FAINT, fontsize=8.5)
    errors = [(case.figures["prior_rmse_hu"], case.figures["rmse_hu"]) for case in cases]
    better = [(prior, stage) for prior, stage in errors if stage < prior]
    others = [(prior, stage) for prior, stage in errors if not stage < prior]
    for points, verdict, words in ((better, "PASS", "better"), (others, "FAIL", "not better")):
        before, after = zip(*points, strict=True) if points else ((), ())
        axes.plot(before, after, "o", color=VERDICT_COLORS[verdict], markersize=4, label=f"{len(points)} {words}")
    ends = [0.95 * min(map(min, errors)), 1.05 * max(map(max, errors))]
    axes.plot(ends, ends, color=FAINT, linewidth=0.8, linestyle=":")
    _add_legend(axes)


def _name(axes: Axes, title: str, below: str) -> None:
    axes.set_title(title, color=TEXT, fontsize=9.5, loc="left", pad=5)
    axes.set_xlabel(below, color=FAINT, fontsize=8.5, labelpad=2)


def _add_legend(axes: Axes) -> None:
    axes.legend(fontsize=7.5, labelcolor=TEXT, facecolor=BACKGROUND, edgecolor=FAINT)


def _write_in(axes: Axes, words: str) -> None:
    """Instead of a diagram."""
    axes.set(xticks=[], yticks=[], xlabel="")
    axes.text(0.5, 0.5, words, color=FAINT, fontsize=10, ha="center", va="center", transform=axes.transAxes)


def _without_nan(value: Any) -> Any:
    """NaN is no JSON: None in its place."""
    if isinstance(value, Mapping):
        return {name: _without_nan(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_without_nan(one) for one in value]
    return None if isinstance(value, float) and value != value else value  # noqa: PLR0124 - NaN alone is not itself

"""The check sheet of a stage: its checks, its training, its depth distribution and its cases on one page, and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from xct_components.data.readable_json import readable_json
from xct_components.physics.depth_regions import ANTERIOR_END, POSTERIOR_START, REGIONS
from xct_components.training.case_picture import BACKGROUND, FAINT, TEXT, draw_case, picture_size_inch
from xct_components.training.depth_profile import region_shares
from xct_components.training.stage_checks import Check, CheckedCase

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SCHEMA, SCHEMA_VERSION = "xct-stage-check", 1
VERDICT_COLORS = {"PASS": "#6ee7a0", "FAIL": "#ff6b6b", "not checked": FAINT}
DEPTH_COLORS = {"true": TEXT, "predicted": "#5cc8ff", "atlas": "#ffb454"}
#: Inches.
MARGIN, TITLE, LINE, CURVES, CURVES_GAP = 0.3, 0.75, 0.3, 2.6, 0.75


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
        "depth": {"regions": list(REGIONS), "region_shares": shares, "profiles": depth},
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
    _draw_depth(panels[1], mean_depth(sheet.cases))
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


def _write_checks(figure: Figure, sheet: CheckSheet) -> None:
    width, height = figure.get_size_inches()
    left = MARGIN / width
    figure.text(left, 1 - (MARGIN + 0.1) / height, sheet.title, color=TEXT, fontsize=14, weight="bold", va="center")
    for number, check in enumerate(sheet.checks):
        bottom = 1 - (MARGIN + TITLE - 0.2 + number * LINE) / height
        figure.text(left, bottom, check.verdict, color=VERDICT_COLORS[check.verdict], fontsize=10, weight="bold", va="center")
        words = check.in_words().removeprefix(check.verdict).strip()
        figure.text((MARGIN + 1.2) / width, bottom, words, color=TEXT, fontsize=9.5, va="center")


def _diagrams(figure: Figure, top_inch: float) -> list[Axes]:
    """Three of the same size side by side."""
    width, height = figure.get_size_inches()
    room = 0.55
    side = (width - 2 * MARGIN - 3 * room) / 3
    panels = []
    for number in range(3):
        left = MARGIN + room + number * (side + room)
        axes = figure.add_axes((left / width, 1 - (top_inch + CURVES) / height, side / width, CURVES / height))
        axes.set_facecolor(BACKGROUND)
        axes.tick_params(colors=FAINT, labelsize=8)
        for spine in axes.spines.values():
            spine.set_color(FAINT)
        panels.append(axes)
    return panels


def _draw_losses(axes: Axes, log: Sequence[Mapping[str, Any]]) -> None:
    """Every term of the loss relative to its first epoch: terms of any size fit one diagram."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _name(axes, "loss by term, first epoch = 1", "epoch")
    not_losses = {"train_samples_per_s", "train_waiting_share"}
    names = [name for name in (log[0] if log else {}) if name.startswith("train_") and name not in not_losses]
    for name in names:
        points = [(one["epoch"], one[name]) for one in log if one.get(name) is not None]
        if points and points[0][1]:
            wide = 2.0 if name == "train_loss" else 1.0
            epochs, values = zip(*points, strict=True)
            label = name.removeprefix("train_").replace("_", " ")
            axes.plot(epochs, [value / points[0][1] for value in values], linewidth=wide, marker=".", label=label)
    _legend_or(axes, bool(names), "the training left no log")


def _draw_depth(axes: Axes, depth: Mapping[str, Sequence[float]]) -> None:
    _name(axes, "where along the rays the attenuation lies", "depth from front to back")
    for name, profile in depth.items():
        density = [len(profile) * share for share in profile]
        shares = region_shares(torch.tensor(profile))
        label = f"{name}: {' / '.join(f'{share:.0%}' for share in shares.tolist())}"
        places = [(number + 0.5) / len(profile) for number in range(len(profile))]
        axes.plot(places, density, color=DEPTH_COLORS[name], linewidth=1.5, label=label)
    for border in (ANTERIOR_END, POSTERIOR_START):
        axes.axvline(border, color=FAINT, linewidth=0.8, linestyle=":")
    _legend_or(axes, bool(depth), "no depth lifting")


def _draw_errors(axes: Axes, cases: Sequence[CheckedCase]) -> None:
    _name(axes, "RMSE of each case in HU", "of what the stage starts from")
    axes.plot(*(_of(cases, name) for name in ("prior_rmse_hu", "rmse_hu")), "o", color=DEPTH_COLORS["predicted"], markersize=4)
    values = [*_of(cases, "prior_rmse_hu"), *_of(cases, "rmse_hu")]
    ends = [0.95 * min(values), 1.05 * max(values)]
    axes.plot(ends, ends, color=FAINT, linewidth=0.8, linestyle=":", label="below the line is better")
    _legend_or(axes, True, "")


def _of(cases: Sequence[CheckedCase], figure: str) -> list[float]:
    return [case.figures[figure] for case in cases]


def _name(axes: Axes, title: str, below: str) -> None:
    axes.set_title(title, color=TEXT, fontsize=9.5, loc="left", pad=5)
    axes.set_xlabel(below, color=FAINT, fontsize=8.5, labelpad=2)


def _legend_or(axes: Axes, has_curves: bool, otherwise: str) -> None:
    if has_curves:
        axes.legend(fontsize=7.5, labelcolor=TEXT, facecolor=BACKGROUND, edgecolor=FAINT)
    else:
        axes.text(0.5, 0.5, otherwise, color=FAINT, fontsize=10, ha="center", va="center", transform=axes.transAxes)


def _without_nan(value: Any) -> Any:
    """NaN is no JSON: None in its place."""
    if isinstance(value, Mapping):
        return {name: _without_nan(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_without_nan(one) for one in value]
    return None if isinstance(value, float) and value != value else value  # noqa: PLR0124 - NaN alone is not itself

"""The depth distributions of a held-out case as a person judges them: curves, and the chest seen from its side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from xct_components.physics.depth_regions import ANTERIOR_END, POSTERIOR_START, REGIONS
from xct_components.training.case_picture import ACCENT, BACKGROUND, FAINT, TEXT, framed_panel, write_sides
from xct_components.training.depth_profile import CaseDepth, region_shares

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: In the order of the legend.
DEPTH_NAMES = {"true": "CT", "atlas": "atlas", "predicted": "depth lifting"}
DEPTH_COLORS = {"true": TEXT, "atlas": "#ffb454", "predicted": ACCENT}
CURVES_IN_WORDS = "where along the rays the attenuation lies"
SIDES_IN_WORDS = "the same from the patient's side, summed over all rays of a row of the film"
#: Inches: the curves, a side view, gaps, the room for names above and below, the whole.
CURVES_INCH, SIDE_INCH, GAP_INCH, LEFT_INCH, TOP_INCH, BOTTOM_INCH = 4.2, 2.5, 0.12, 0.6, 0.85, 0.5
BETWEEN_INCH, RIGHT_INCH = 0.7, 0.2


def draw_depth_curves(axes: Axes, profiles: Mapping[str, Sequence[float]], depth_mm: float) -> None:
    """Attenuation per depth, front to back, with the share of each region in the legend.

    Args:
        axes: empty.
        profiles: by distribution the share in each depth bin; adds up to 1.
        depth_mm: of all bins together.
    """
    for name in (name for name in DEPTH_NAMES if name in profiles):
        profile = profiles[name]
        bin_mm = depth_mm / len(profile)
        places_mm = [(number + 0.5) * bin_mm for number in range(len(profile))]
        percent_per_cm = [1000.0 * share / bin_mm for share in profile]
        shares = " / ".join(f"{100.0 * share:.0f}" for share in region_shares(torch.tensor(profile)).tolist())
        axes.plot(places_mm, percent_per_cm, color=DEPTH_COLORS[name], linewidth=1.6, label=f"{DEPTH_NAMES[name]}  {shares} %")
    axes.set_xlim(0.0, depth_mm)
    axes.set_ylim(0.0, 1.15 * axes.get_ylim()[1])  # room for the names of the regions
    axes.set_ylabel("% of the attenuation per cm", color=FAINT, fontsize=8.5)
    axes.set_xlabel("depth in mm, anterior to posterior", color=FAINT, fontsize=8.5, labelpad=2)
    _mark_regions(axes, depth_mm)
    axes.legend(fontsize=7.5, labelcolor=TEXT, facecolor=BACKGROUND, edgecolor=FAINT, loc="lower center")


def draw_depth(name: str, caption: str, depth: CaseDepth) -> Figure:
    """The distributions of one case as a figure of its own.

    Args:
        name: of the case.
        caption: what stands beside it.
        depth: of the case.
    """
    from matplotlib.figure import Figure

    width = LEFT_INCH + CURVES_INCH + BETWEEN_INCH + len(DEPTH_NAMES) * (SIDE_INCH + GAP_INCH) + RIGHT_INCH
    height = TOP_INCH + SIDE_INCH + BOTTOM_INCH
    figure = Figure(figsize=(width, height), dpi=100, facecolor=BACKGROUND)
    figure.text(0.1 / width, 1 - 0.2 / height, name, color=TEXT, fontsize=11, va="center")
    figure.text(1 - RIGHT_INCH / width, 1 - 0.2 / height, caption, color=FAINT, fontsize=9, ha="right", va="center")
    curves = _panel(figure, LEFT_INCH, CURVES_INCH)
    draw_depth_curves(curves, depth.profiles, depth.depth_mm)
    curves.set_title(CURVES_IN_WORDS, color=TEXT, fontsize=9, pad=4)
    middle = LEFT_INCH + CURVES_INCH + BETWEEN_INCH + len(DEPTH_NAMES) * (SIDE_INCH + GAP_INCH) / 2
    figure.text(middle / width, 1 - 0.5 / height, SIDES_IN_WORDS, color=TEXT, fontsize=9, ha="center", va="center")
    brightest = max(float(side.max()) for side in depth.sides.values())
    for number, which in enumerate(DEPTH_NAMES):
        left = LEFT_INCH + CURVES_INCH + BETWEEN_INCH + number * (SIDE_INCH + GAP_INCH)
        axes = _panel(figure, left, SIDE_INCH)
        _draw_side(axes, depth, which, brightest)
        if number:
            axes.set_yticklabels([])
        else:
            axes.set_ylabel("height in mm", color=FAINT, fontsize=8.5)
    return figure


def _draw_side(axes: Axes, depth: CaseDepth, which: str, brightest: float) -> None:
    """The chest from its side: rows of the film against depth."""
    extent = (0.0, depth.depth_mm, 0.0, depth.height_mm)
    pixels = depth.sides[which].numpy()
    axes.imshow(pixels, cmap="gray", vmin=0.0, vmax=brightest, interpolation="bilinear", extent=extent, aspect="auto")
    error = f", {depth.errors_mm[which]:.1f} mm off" if which in depth.errors_mm else ""
    axes.set_title(f"{DEPTH_NAMES[which]}{error}", color=DEPTH_COLORS[which], fontsize=9, pad=4)
    axes.set_xlabel("depth in mm", color=FAINT, fontsize=8.5, labelpad=2)
    write_sides(axes, "AP")


def _mark_regions(axes: Axes, depth_mm: float) -> None:
    """Borders and names of the three regions."""
    borders = (0.0, ANTERIOR_END, POSTERIOR_START, 1.0)
    for border in borders[1:-1]:
        axes.axvline(border * depth_mm, color=FAINT, linewidth=0.8, linestyle=":")
    for name, begin, end in zip(REGIONS, borders[:-1], borders[1:], strict=True):
        axes.text((begin + end) / 2, 0.97, name, color=FAINT, fontsize=8, ha="center", va="top", transform=axes.transAxes)


def _panel(figure: Figure, left_inch: float, width_inch: float) -> Axes:
    return framed_panel(figure, left_inch, TOP_INCH, width_inch, SIDE_INCH)

"""The bar: what the projector has to reach beside its peers, each figure taken from the same run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

#: CPU seconds of nanodrr's default against ours, forward and backward, at least.
AGAINST_NANODRR = {"128": 25.0, "256": 18.0, "512x512x604": 8.0}
#: CPU seconds of RTK's Joseph projector against ours, forward, at least.
AGAINST_RTK = {"128": 1.0, "256": 1.0, "512x512x604": 1.0}
#: Peak memory of forward and backward over the size of the gradient, at most.
MEMORY_OVER_GRADIENT = {"128": 2.2, "256": 1.5, "512x512x604": 1.15}
#: Milliseconds of forward and backward on one H200, at most.
GPU_MS = {"256": 0.1, "512x512x604": 0.7}

#: Accuracy limits at 128 voxels and pixels across: (method, figure) -> at most.
ACCURACY = {
    ("ours_ray", "sphere_interior_l2"): 6.6e-4,
    ("ours_ray", "blob_l2"): 5.4e-4,
    ("ours_area", "blob_l2"): 5e-4,
    ("ours_area", "adjoint_itself"): 1e-6,
    ("ours_ray", "adjoint_itself"): 1e-6,
    ("ours_area", "no_gradient_128"): 0.01,
    ("ours_area", "no_gradient_64"): 0.01,
    ("ours_area", "no_gradient_32"): 0.01,
}

Figures = dict[str, Any]


@dataclass(frozen=True)
class Bar:
    """One figure held against its limit.

    Args:
        size: the problem.
        what: the figure in words.
        value: what was measured.
        limit: what is asked for; None where the project asks for nothing.
        at_least: whether more is better.
    """

    size: str
    what: str
    value: float
    limit: float | None
    at_least: bool

    @property
    def asked(self) -> str:
        """The limit in words, ">= 25"."""
        return "-" if self.limit is None else f"{'>=' if self.at_least else '<='} {self.limit:g}"

    @property
    def verdict(self) -> str:
        """Whether the limit is kept: "pass" or "FAIL"; "-" without a limit."""
        if self.limit is None:
            return "-"
        return "pass" if (self.value >= self.limit if self.at_least else self.value <= self.limit) else "FAIL"


def speed_bars(rows: list[Figures], device: str) -> list[Bar]:
    """The ratios of one run's speed rows, for every size at which both sides were measured."""
    found = {(row["size"], row["method"]): row for row in rows}
    bars = []
    ratios = _cuda_bars if device == "cuda" else _cpu_bars
    for size in dict.fromkeys(row["size"] for row in rows):
        peers = {name: figures for (found_size, name), figures in found.items() if found_size == size}
        for ours in ("ours_area", "ours_ray"):
            figures = peers.get(ours, {})
            bars += ratios(size, ours, figures, peers)
            if figures.get("fb_peak_mib") is not None:
                ratio = figures["fb_peak_mib"] / figures["gradient_mib"]
                bars.append(Bar(size, f"{ours} f+b peak MiB / gradient MiB", ratio, MEMORY_OVER_GRADIENT.get(size), False))
    return bars


def accuracy_bars(rows: list[Figures], size: str) -> list[Bar]:
    """Accuracy against the stated limits, and the ray mode against nanodrr's default in the same run."""
    found = {row["method"]: row for row in rows}
    bars = [
        Bar(size, f"{method} {figure}", found[method][figure], limit, False)
        for (method, figure), limit in ACCURACY.items()
        if figure in found.get(method, {})
    ]
    ours, peer = found.get("ours_ray", {}), found.get("nanodrr_500", {})
    for figure in ("sphere_interior_l2", "blob_l2"):
        if figure in ours and figure in peer:
            what = f"ours_ray {figure} / nanodrr_500's"
            bars.append(Bar(size, what, ours[figure] / peer[figure], None, False))  # the limits above are nanodrr's figures
    return bars


def _cpu_bars(size: str, ours: str, figures: Figures, peers: dict[str, Figures]) -> list[Bar]:
    bars = []
    for name, column, words, limits in (
        ("nanodrr_500", "fb_cpu_s", "f+b CPU s", AGAINST_NANODRR),
        ("nanodrr_N", "fb_cpu_s", "f+b CPU s", {}),
        ("rtk_joseph", "fwd_cpu_s", "forward CPU s", AGAINST_RTK),
    ):
        if column in figures and column in peers.get(name, {}):
            ratio = peers[name][column] / figures[column]
            bars.append(Bar(size, f"{name} / {ours}, {words}", ratio, limits.get(size), True))
    return bars


def _cuda_bars(size: str, ours: str, figures: Figures, peers: dict[str, Figures]) -> list[Bar]:
    if "fb_wall_s" not in figures:
        return []
    bars = [Bar(size, f"{ours} f+b ms (asked of an H200)", figures["fb_wall_s"] * 1000.0, GPU_MS.get(size), False)]
    if "fb_wall_s" in peers.get("nanodrr_fused", {}):
        ratio = peers["nanodrr_fused"]["fb_wall_s"] / figures["fb_wall_s"]
        bars.append(Bar(size, f"nanodrr_fused / {ours}, f+b s", ratio, None, True))
    return bars

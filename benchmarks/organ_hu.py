"""HU histograms of organs and tissues, by rules that need no masks and hold alike for CTs and phantoms.

Lungs are the air that does not reach the skin (`lungs_of`); their vessels count as lung only below -400 HU. The rest is told
apart by HU alone, as is usual in body composition: bone above 200 HU, fat from -140 to -40 HU within the body, and soft
tissue from 0 to 100 HU; the gaps between are mixtures at edges and belong to none. Heart, liver and muscle overlap in HU and
cannot be told apart without masks, so that they are one class.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from benchmarks.markdown_table import markdown_table
from benchmarks.phantom_measures import lungs_of

#: HU from and to (exclusive) of the tissues within the chest's body wall.
TISSUES = {"fat": (-140.0, -40.0), "soft tissue": (0.0, 100.0), "bone": (200.0, 3000.0)}
#: Denser than this, or lung, is body.
BODY_HU = -500.0
#: A histogram is kept as this many quantiles.
LEVELS = (np.arange(256) + 0.5) / 256
SHOWN = (0.05, 0.25, 0.5, 0.75, 0.95)


def organ_quantiles(hu: Tensor, scanned: Tensor) -> dict[str, np.ndarray]:
    """Organ -> its HU at LEVELS, between the top and the bottom of the lungs; an organ without voxels is left out.

    Args:
        hu: (D, H, W) on the measuring grid, H superior to inferior.
        scanned: which voxels the CT holds.
    """
    lungs = lungs_of(hu, scanned)
    rows = np.flatnonzero(lungs.any((0, 2)))
    inside = slice(int(rows[0]), int(rows[-1]) + 1)
    values, lung = hu.numpy()[:, inside], lungs[:, inside]
    body = (values > BODY_HU) & scanned.numpy()[:, inside] & ~lung
    masks = {"lung": lung} | {name: body & (values > low) & (values < high) for name, (low, high) in TISSUES.items()}
    return {name: np.quantile(values[mask], LEVELS) for name, mask in masks.items() if mask.any()}


def distance_hu(first: np.ndarray, second: np.ndarray) -> float:
    """First Wasserstein distance of two histograms given as quantiles at LEVELS, in HU."""
    return float(np.abs(first - second).mean())


def organ_table(made: Sequence[dict[str, np.ndarray]], real: Sequence[dict[str, np.ndarray]]) -> str:
    """Quantiles of the mean phantom and the mean CT, their distance, and that of each CT to the mean of the other CTs."""
    lines = []
    for organ in ("lung", *TISSUES):
        of_made, of_real = ([each[organ] for each in chests if organ in each] for chests in (made, real))
        if not of_made or len(of_real) < 2:
            continue
        ours, theirs = np.mean(of_made, axis=0), np.mean(of_real, axis=0)
        rest = [np.mean(of_real[:k] + of_real[k + 1 :], axis=0) for k in range(len(of_real))]
        apart = [distance_hu(own, others) for own, others in zip(of_real, rest, strict=True)]
        spread = f"{np.mean(apart):.0f} ({min(apart):.0f} to {max(apart):.0f})"
        lines.append([organ, _shown(ours), _shown(theirs), distance_hu(ours, theirs), spread])
    shown = " / ".join(f"{100 * level:.0f}" for level in SHOWN)
    heads = [f"{who}, HU at {shown} %" for who in ("phantoms", "CTs")]
    return markdown_table(["organ", *heads, "distance, HU", "a CT to the other CTs, HU"], lines)


def _shown(quantiles: np.ndarray) -> str:
    return " / ".join(f"{np.interp(level, LEVELS, quantiles):.0f}" for level in SHOWN)

"""Whether a stated standard deviation tells the truth about the error, voxel by voxel."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Bool, Float

#: Half the width of the interval that holds 90 % of a Gaussian, in standard deviations.
NINETY_PERCENT = 1.6448536269514722

_Volume = Float[np.ndarray, "d h w"]
_Mask = Bool[np.ndarray, "d h w"]


def coverage_90(mean_hu: _Volume, std_hu: _Volume, truth_hu: _Volume, mask: _Mask | None = None) -> float:
    """Share of the voxels whose truth lies within mean +- 1.645 std: 0.9 is right, less is overconfident."""
    mean, std, truth = _inside(mask, mean_hu, std_hu, truth_hu)
    return float(np.mean(np.abs(truth - mean) <= NINETY_PERCENT * std))


def width_ratio_90(mean_hu: _Volume, std_hu: _Volume, truth_hu: _Volume, mask: _Mask | None = None) -> float:
    """By how much to multiply ``std_hu`` so that ``coverage_90`` is 0.9: 1 is right, more is overconfident.

    The 90 % quantile of |truth - mean| / std, over 1.645. Where std is 0, only a mean without error fits any factor.
    """
    mean, std, truth = _inside(mask, mean_hu, std_hu, truth_hu)
    error = np.abs(truth - mean)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(error > 0.0, error / std, 0.0)
    return float(np.quantile(ratio, 0.9, method="inverted_cdf")) / NINETY_PERCENT


def error_correlation(mean_hu: _Volume, std_hu: _Volume, truth_hu: _Volume, mask: _Mask | None = None) -> float:
    """Spearman's rank correlation of the deviation with the absolute error, ties averaged: 1 is best, 0 tells nothing.

    A deviation that is the same everywhere ranks nothing, hence 0.
    """
    from scipy.stats import spearmanr

    mean, std, truth = _inside(mask, mean_hu, std_hu, truth_hu)
    error = np.abs(truth - mean)
    if np.ptp(std) == 0.0 or np.ptp(error) == 0.0:
        return 0.0
    return float(spearmanr(std, error).statistic)


def crps_hu(mean_hu: _Volume, std_hu: _Volume, truth_hu: _Volume, mask: _Mask | None = None) -> float:
    """Continuous ranked probability score of the Gaussians N(mean, std), HU, averaged over voxels: 0 is best.

    std (z (2 Phi(z) - 1) + 2 phi(z) - 1 / sqrt(pi)) with z = (truth - mean) / std (Gneiting & Raftery 2007, J Am Stat Assoc
    102:359, eq. 21 with its sign turned). Where std is 0 it is the absolute error: so MAE is what a volume without
    uncertainty scores.
    """
    from scipy.special import ndtr

    mean, std, truth = _inside(mask, mean_hu, std_hu, truth_hu)
    error, spread = truth - mean, np.where(std > 0.0, std, 1.0)
    z = error / spread
    density = np.exp(-0.5 * np.square(z)) / math.sqrt(2.0 * math.pi)
    score = spread * (z * (2.0 * ndtr(z) - 1.0) + 2.0 * density - 1.0 / math.sqrt(math.pi))
    return float(np.mean(np.where(std > 0.0, score, np.abs(error))))


def _inside(mask: np.ndarray | None, *volumes: np.ndarray) -> list[np.ndarray]:
    chosen = [volume.astype(np.float64).ravel() if mask is None else volume[mask].astype(np.float64) for volume in volumes]
    if chosen[0].size == 0:
        raise ValueError("mask must hold at least one voxel, got none; leave it out to judge the whole volume")
    if float(chosen[1].min()) < 0.0:
        raise ValueError(f"std_hu must not be negative, got {chosen[1].min():g}; pass the standard deviation, in HU")
    return chosen

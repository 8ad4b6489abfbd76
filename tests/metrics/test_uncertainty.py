"""Coverage, rank correlation and CRPS against integrals, brute force and made-up truths that are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate, stats

from xct_components.metrics.uncertainty import NINETY_PERCENT, coverage_90, crps_hu, error_correlation, width_ratio_90

SHAPE = (20, 20, 20)


def drawn(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean, deviation, and a truth that the two describe."""
    rng = np.random.default_rng(seed)
    mean, std = rng.normal(0.0, 300.0, SHAPE), rng.uniform(5.0, 200.0, SHAPE)
    return tuple(volume.astype(np.float32) for volume in (mean, std, mean + std * rng.normal(size=SHAPE)))  # type: ignore[return-value]


def test_the_interval_is_that_of_scipy():
    assert pytest.approx(stats.norm.ppf(0.95), abs=1e-12) == NINETY_PERCENT


def test_a_right_deviation_covers_90_percent():
    mean, std, truth = drawn()
    # 8000 voxels: 3 standard errors of a share of 0.9 are 0.010.
    assert coverage_90(mean, std, truth) == pytest.approx(0.9, abs=0.01)
    assert coverage_90(mean, 0.5 * std, truth) < 0.65
    assert coverage_90(mean, 3.0 * std, truth) > 0.99


@pytest.mark.parametrize("told", [0.4, 1.0, 2.5])
def test_a_deviation_that_is_too_small_by_a_factor_is_told_the_factor(told):
    mean, std, truth = drawn()
    ratio = width_ratio_90(mean, std / told, truth)
    # 8000 voxels: 3 standard errors of the 90 % quantile of |z| are 0.05 of 1.645.
    assert ratio == pytest.approx(told, rel=0.035)
    assert coverage_90(mean, ratio * std / told * (1.0 + 1e-6), truth) == pytest.approx(0.9, abs=1.0 / truth.size)


def test_voxels_without_deviation_fit_any_factor_only_where_the_mean_is_right():
    mean, std, truth = drawn()
    certain = np.zeros(SHAPE, dtype=bool)
    certain[:1] = True  # a twentieth
    std = np.where(certain, np.float32(0.0), std)
    assert width_ratio_90(np.where(certain, truth, mean), std, truth) < width_ratio_90(mean, std, truth) < np.inf
    assert width_ratio_90(mean, np.zeros_like(std), truth) == np.inf


def test_crps_is_the_integral_of_the_squared_difference_of_distributions():
    for mean, std, truth in ((0.0, 1.0, 0.3), (-120.0, 40.0, 60.0), (10.0, 2.0, 10.0)):

        def squared(x: float, mean: float = mean, std: float = std, truth: float = truth) -> float:
            return (stats.norm.cdf(x, mean, std) - (x >= truth)) ** 2

        ends = min(mean, truth) - 12.0 * std, max(mean, truth) + 12.0 * std
        expected = integrate.quad(squared, *ends, points=[truth, mean], limit=200)[0]
        volumes = [np.full((2, 2, 2), value, dtype=np.float32) for value in (mean, std, truth)]
        assert crps_hu(*volumes) == pytest.approx(expected, rel=1e-5)


def test_crps_without_deviation_is_the_absolute_error():
    mean, std, truth = drawn()
    assert crps_hu(mean, np.zeros_like(std), truth) == pytest.approx(float(np.abs(truth.astype(float) - mean).mean()), rel=1e-6)


def test_the_right_deviation_has_the_best_crps():
    mean, std, truth = drawn()
    best = crps_hu(mean, std, truth)
    assert best < crps_hu(mean, 0.5 * std, truth)
    assert best < crps_hu(mean, 2.0 * std, truth)


def test_rank_correlation_is_that_of_ranks_counted_by_hand():
    mean, std, truth = (volume[:5, :5, :5] for volume in drawn())
    std = np.round(std, -1)  # many ties
    error = np.abs(truth.astype(float) - mean.astype(float)).ravel()
    ranks = [np.array([((x < v).sum() + (x <= v).sum()) / 2.0 for v in x]) for x in (std.ravel(), error)]
    assert error_correlation(mean, std, truth) == pytest.approx(np.corrcoef(np.stack(ranks))[0, 1], abs=1e-9)


def test_the_same_deviation_everywhere_ranks_nothing():
    mean, std, truth = drawn()
    assert error_correlation(mean, np.full_like(std, 100.0), truth) == 0.0


def test_only_the_mask_counts():
    mean, std, truth = drawn()
    mask = np.zeros(SHAPE, dtype=bool)
    mask[:4] = True
    ruined = np.where(mask, truth, np.float32(1e6))
    for measure in (coverage_90, crps_hu, error_correlation, width_ratio_90):
        assert measure(mean, std, ruined, mask) == measure(mean, std, truth, mask)


def test_a_negative_deviation_is_refused():
    mean, std, truth = drawn()
    with pytest.raises(ValueError, match="std_hu must not be negative"):
        crps_hu(mean, -std, truth)

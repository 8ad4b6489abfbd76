"""Bootstrap intervals against resampling by hand."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from xct_components.metrics.intervals import patient_mean


def test_three_patients_give_the_percentiles_of_all_resamples():
    values = [1.0, 2.0, 6.0]
    means = [np.mean(drawn) for drawn in itertools.product(values, repeat=3)]
    interval = patient_mean(values)
    assert interval.mean == pytest.approx(3.0)
    # All 27 resamples are equally likely, and 9999 draws meet every quantile of so few values.
    assert interval.low == pytest.approx(np.quantile(means, 0.025, method="inverted_cdf"), abs=1e-9)
    assert interval.high == pytest.approx(np.quantile(means, 0.975, method="inverted_cdf"), abs=1e-9)


def test_many_patients_give_about_the_normal_interval():
    values = np.random.default_rng(1).normal(20.0, 3.0, 200)
    interval = patient_mean(values.tolist())
    half = 1.96 * values.std() / math.sqrt(len(values))
    assert interval.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_the_same_patients_give_the_same_interval():
    assert patient_mean([1.0, 5.0, 9.0, 2.0]) == patient_mean([1.0, 5.0, 9.0, 2.0])


def test_one_patient_has_no_interval_and_n_is_always_said():
    one = patient_mean([21.5])
    assert math.isnan(one.low)
    assert str(one) == "21.5 (n=1)"
    assert one.to_json() == {"mean": 21.5, "low": None, "high": None, "n": 1}
    assert str(patient_mean([20.0, 20.0])) == "20 [20, 20] (n=2)"


def test_no_patients_are_refused():
    with pytest.raises(ValueError, match="one number per patient"):
        patient_mean([])

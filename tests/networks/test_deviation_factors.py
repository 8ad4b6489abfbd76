"""Factors of the deviation: exact where they were measured, between neighbours elsewhere, 1 where nothing is known."""

from __future__ import annotations

import pytest

from xct_components.networks.deviation_factors import NO_SAMPLES, DeviationFactors, MeasuredFactor

FACTORS = DeviationFactors((MeasuredFactor(1, 10.0, 10), MeasuredFactor(4, 2.0, 10), MeasuredFactor(8, 1.5, 8)))


def test_weights_that_were_never_measured_leave_the_deviation_alone():
    assert [DeviationFactors().at(steps) for steps in (1, 4, 1000)] == [1.0, 1.0, 1.0]


def test_at_measured_steps_it_is_what_was_measured():
    assert [FACTORS.at(steps) for steps in (1, 4, 8)] == [10.0, 2.0, 1.5]


def test_halfway_between_in_doublings_it_is_the_mean_of_both():
    assert FACTORS.at(2) == pytest.approx(6.0)


def test_beyond_what_was_measured_the_nearest_counts():
    assert FACTORS.at(50) == 1.5
    assert DeviationFactors((MeasuredFactor(4, 2.0, 1),)).at(1) == 2.0


def test_a_new_measurement_replaces_that_of_the_same_steps_only():
    again = FACTORS.with_factor(MeasuredFactor(4, 1.8, 20))
    assert [again.at(steps) for steps in (1, 4, 8)] == [10.0, 1.8, 1.5]
    assert [one.steps for one in again.with_factor(MeasuredFactor(2, 3.0, 1)).measured] == [1, 2, 4, 8]


def test_with_and_without_samples_they_know_nothing_of_each_other():
    without = DeviationFactors((MeasuredFactor(NO_SAMPLES, 1.1, 7),))
    assert [without.at(steps) for steps in (NO_SAMPLES, 1, 4)] == [1.1, 1.0, 1.0]
    assert FACTORS.at(NO_SAMPLES) == 1.0
    both = FACTORS.with_factor(without.measured[0])
    assert [both.at(steps) for steps in (NO_SAMPLES, 1, 4)] == [1.1, 10.0, 2.0]


def test_the_fewest_patients_that_say_so_are_told():
    both = FACTORS.with_factor(MeasuredFactor(NO_SAMPLES, 1.1, 7))
    assert [factors.patients(steps) for factors in (both, FACTORS) for steps in (NO_SAMPLES, 4)] == [7, 8, 0, 8]


def test_json_keeps_them():
    assert DeviationFactors.from_json(FACTORS.to_json()) == FACTORS
    assert DeviationFactors.from_json(()) == DeviationFactors()


@pytest.mark.parametrize(
    "entries",
    [
        [{"steps": -1, "factor": 1.0, "patients": 1}],
        [{"steps": 4, "factor": 0.0, "patients": 1}],
        [{"steps": 4, "factor": float("inf"), "patients": 1}],
        [{"steps": 4, "factor": 1.0, "patients": 0}],
        [{"steps": 4, "factor": 1.0}],
        [{"steps": 4, "factor": None, "patients": 1}],
        [{"steps": 4, "factor": 1.0, "patients": 1}] * 2,
        ["4"],
        7,
    ],
)
def test_anything_else_is_refused_with_what_it_should_be(entries):
    with pytest.raises(ValueError, match=r"deviation factors? must be"):
        DeviationFactors.from_json(entries)

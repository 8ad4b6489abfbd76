"""Factors of the deviation: exact where they were measured, between neighbours elsewhere, 1 where nothing is known."""

from __future__ import annotations

import pytest

from xct_components.networks.deviation_factors import NO_SAMPLES, DeviationFactors, FilmsSeen, MeasuredFactor

CALIBRATED = FilmsSeen(1, calibrated=True)
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


def test_films_have_factors_of_their_own():
    both = FACTORS.with_factor(MeasuredFactor(4, 3.0, 5, FilmsSeen(2))).with_factor(MeasuredFactor(4, 5.0, 6, CALIBRATED))
    assert [both.at(4, films) for films in (FilmsSeen(), FilmsSeen(2), CALIBRATED)] == [2.0, 3.0, 5.0]
    assert [both.patients(4, films) for films in (FilmsSeen(), FilmsSeen(2), CALIBRATED)] == [8, 5, 6]
    assert [one.films for one in both.measured] == [FilmsSeen()] * 3 + [CALIBRATED, FilmsSeen(2)]


def test_films_that_were_not_measured_are_taken_for_simpler_ones():
    calibrated = FACTORS.with_factor(MeasuredFactor(4, 5.0, 6, CALIBRATED))
    assert [calibrated.at(4, films) for films in (FilmsSeen(2), FilmsSeen(2, calibrated=True))] == [2.0, 5.0]
    assert [calibrated.patients(4, films) for films in (FilmsSeen(2), FilmsSeen(2, calibrated=True))] == [0, 0]


def test_samples_of_calibrated_films_are_as_much_wider_as_what_bent_cts_tell_of_them():
    told = FACTORS.with_factor(MeasuredFactor(NO_SAMPLES, 0.8, 9)).with_factor(MeasuredFactor(NO_SAMPLES, 1.2, 7, CALIBRATED))
    assert told.at(NO_SAMPLES, CALIBRATED) == 1.2
    assert told.at(4, CALIBRATED) == pytest.approx(2.0 * 1.2 / 0.8)
    assert told.patients(4, CALIBRATED) == 7


def test_json_keeps_them():
    several = FACTORS.with_factor(MeasuredFactor(4, 3.0, 5, FilmsSeen(2, calibrated=True)))
    assert DeviationFactors.from_json(several.to_json()) == several
    assert DeviationFactors.from_json(()) == DeviationFactors()


def test_json_that_names_no_films_is_of_one_exact_film():
    assert DeviationFactors.from_json([{"steps": 4, "factor": 2.0, "patients": 3}]).at(4) == 2.0


@pytest.mark.parametrize(
    "entries",
    [
        [{"steps": -1, "factor": 1.0, "patients": 1}],
        [{"steps": 4, "factor": 0.0, "patients": 1}],
        [{"steps": 4, "factor": float("inf"), "patients": 1}],
        [{"steps": 4, "factor": 1.0, "patients": 0}],
        [{"steps": 4, "factor": 1.0}],
        [{"steps": 4, "factor": None, "patients": 1}],
        [{"steps": 4, "factor": 1.0, "patients": 1, "views": 0}],
        [{"steps": 4, "factor": 1.0, "patients": 1}] * 2,
        ["4"],
        7,
    ],
)
def test_anything_else_is_refused_with_what_it_should_be(entries):
    with pytest.raises(ValueError, match=r"deviation factors? must be"):
        DeviationFactors.from_json(entries)

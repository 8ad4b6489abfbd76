"""Which film of a study is taken: the only one that can be meant, or the one that is named."""

from __future__ import annotations

from typing import Any

import pytest

from xct_components.failures import RefusedInput, UsageFailure
from xct_components.pacs.film_choice import chosen_films
from xct_components.pacs.study_films import StudyFilm


def films(*kinds: str | None, **of_all: Any) -> list[StudyFilm]:
    about = {"study": "1.2", "series": "1.2.3", "view": None, "chest": True, "raw": False, "rows": 20, "cols": 10, **of_all}
    return [StudyFilm(instance=f"1.2.3.{n}", number=n, kind=kind, **about) for n, kind in enumerate(kinds, start=1)]


def numbers(*of: StudyFilm | None) -> tuple[int | None, ...]:
    return tuple(film.number if film else None for film in of)


@pytest.mark.parametrize("kinds", [("lateral", "frontal", "other"), ("lateral", None), (None, "other")])
def test_the_only_film_that_may_be_frontal_is_taken(kinds):
    frontal, lateral = chosen_films(films(*kinds))
    assert frontal.kind in ("frontal", None)
    assert lateral is None


def test_the_only_lateral_film_is_taken_if_it_is_asked_for():
    assert numbers(*chosen_films(films("lateral", "frontal"), lateral=True)) == (2, 1)


def test_several_candidates_are_counted_and_listed():
    with pytest.raises(RefusedInput, match=r"2 films .* 1 \(frontal, 10 x 20\), 3 \(view unknown, 10 x 20\); .* --instance N"):
        chosen_films(films("frontal", "lateral", None))
    with pytest.raises(RefusedInput, match=r"2 films .* lateral .* --lateral_instance N"):
        chosen_films(films("frontal", "lateral", "lateral"), lateral=True)
    with pytest.raises(RefusedInput, match=r"9 films .* \.\.\.;"):
        chosen_films(films(*["frontal"] * 9))


def test_a_number_decides_whatever_the_tags_say():
    study = films("frontal", "frontal", "lateral", "lateral", "other")
    assert numbers(*chosen_films(study, instance=5, lateral_instance=3)) == (5, 3)
    assert numbers(*chosen_films(study, instance=2)) == (2, None)


@pytest.mark.parametrize(
    "choice", [{"instance": 3}, {"instance": -1}, {"lateral_instance": 3}, {"instance": 2, "lateral_instance": 2}]
)
def test_a_number_that_no_film_has_or_twice_the_same_is_refused(choice):
    with pytest.raises(UsageFailure, match="instance must be"):
        chosen_films(films("frontal", "lateral"), **choice)


def test_a_raw_film_gives_way_to_the_finished_one_of_the_same_exposure():
    raw, finished = films("frontal", raw=True), films("other", "frontal")[1:]
    assert numbers(*chosen_films([*raw, *finished])) == (2, None)
    assert numbers(*chosen_films(raw)) == (1, None)


@pytest.mark.parametrize("study", [films("lateral"), films("frontal", chest=False)])
def test_a_study_without_a_frontal_chest_film_is_refused_with_what_it_has(study):
    with pytest.raises(RefusedInput, match=r"no frontal chest film among its films 1 \((lateral|frontal)"):
        chosen_films(study)


def test_a_lateral_film_that_is_asked_for_and_missing_is_no_secret():
    with pytest.raises(RefusedInput, match="no lateral chest film"):
        chosen_films(films("frontal"), lateral=True)

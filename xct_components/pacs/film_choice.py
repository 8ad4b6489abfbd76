"""Which film of a study is taken: the only frontal one, or the one that the user names. Never a guess."""

from __future__ import annotations

from collections.abc import Sequence

from xct_components.failures import RefusedInput, UsageFailure
from xct_components.pacs.study_films import StudyFilm

#: Films that a message lists.
MOST_LISTED = 6


def chosen_films(
    films: Sequence[StudyFilm], *, instance: int = 0, lateral: bool = False, lateral_instance: int = 0
) -> tuple[StudyFilm, StudyFilm | None]:
    """The frontal film and, if asked for, the lateral one.

    A film counts as frontal unless its tags say otherwise, and as no candidate if they name another part of the body. Raw
    films (FOR PROCESSING) count only where there are no others: most machines send both of one exposure.

    Args:
        films: of ``films_of_study``.
        instance: number of the frontal film; 0: the only one.
        lateral: whether to take a lateral film too.
        lateral_instance: its number; 0: the only one.

    Raises:
        UsageFailure: for a number that no film has.
        RefusedInput: if there is no such film, or more than one.
    """
    frontal = _named(films, instance, "instance") or _only(films, ("frontal", None), "frontal", "instance")
    if not lateral and not lateral_instance:
        return frontal, None
    second = _named(films, lateral_instance, "lateral_instance") or _only(films, ("lateral",), "lateral", "lateral_instance")
    if second == frontal:
        raise UsageFailure("instance and lateral_instance must be two films, got one and the same")
    return frontal, second


def _named(films: Sequence[StudyFilm], number: int, option: str) -> StudyFilm | None:
    found = [film for film in films if film.number == number]
    if number and not found:
        raise UsageFailure(f"{option} must be the number of a film: {_list(films)}; got {number}")
    return found[0] if found else None


def _only(films: Sequence[StudyFilm], kinds: tuple[str | None, ...], name: str, option: str) -> StudyFilm:
    candidates = [film for film in films if film.kind in kinds and film.chest]
    finished = [film for film in candidates if not film.raw] or candidates
    if not finished:
        raise RefusedInput(f"the study has no {name} chest film among its films {_list(films)}; --{option} N takes one of them")
    if len(finished) > 1:
        raise RefusedInput(
            f"the study has {len(finished)} films that may be the {name} one: {_list(finished)}; choose by --{option} N, "
            "or by --series UID"
        )
    return finished[0]


def _list(films: Sequence[StudyFilm]) -> str:
    more = ", ..." if len(films) > MOST_LISTED else ""
    return ", ".join(film.describe() for film in films[:MOST_LISTED]) + more

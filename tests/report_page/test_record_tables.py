"""What the page says of a film, its calibration, and what should be known of it."""

from __future__ import annotations

from collections.abc import Mapping

from tests.report_page.results import CURVE, FIT
from xct_components.report_page.record_tables import calibration, film_table, warnings_of


def said_of(detail: Mapping[str, object] | None) -> str:
    response = {"curve": CURVE, "fit": FIT, **({} if detail is None else {"detail": detail})}
    return calibration({"response": response}, exact=False)


def test_the_page_says_how_much_of_the_detail_was_kept_and_nothing_where_nobody_measured_it():
    bands = [2.5, 5.0, 10.0]
    sharpened = said_of({"bands_mm": bands, "gain": [0.4, 0.75, 1.0]})
    assert "Sharpened by its display: kept 40% of what is finer than 2.5 mm, 75% of what is 2.5 to 5 mm." in sharpened
    assert "all kept" in said_of({"bands_mm": bands, "gain": [1.0, 1.0, 1.0]})
    too_little = {"bands_mm": bands, "note": "too little of the lungs is covered to measure detail"}
    assert said_of(too_little) == said_of(None)


def test_a_warning_of_the_second_film_says_so():
    second = {"warnings": ["it ends early", "it ends early"], "accepted_despite": ["it is turned"]}
    record = {"film": {"warnings": ["it ends early"], "second_film": second}}
    assert warnings_of(record) == ["it ends early", "second film: it ends early", "second film: accepted despite: it is turned"]


def test_the_second_films_heights_are_told_as_they_were_taken():
    heights = {"shift_mm": -12.5, "size": 1.0618, "agreement": 0.941, "taken": True}
    assert "moved by -12 mm, 1.06 times as large (agreement 0.94)" in film_table({"placement": {"heights": heights}})
    left = film_table({"placement": {"heights": {**heights, "agreement": 0.5, "taken": False}}})
    assert "left as anatomy has them (agreement 0.50)" in left
    assert "heights" not in film_table({"placement": {}})

"""What the page says of a film's calibration."""

from __future__ import annotations

from collections.abc import Mapping

from tests.report_page.results import CURVE, FIT
from xct_components.report_page.record_tables import calibration


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

"""Rows of patients as tables."""

from __future__ import annotations

import pytest

from xct_components.evaluation.case_rows import Row
from xct_components.evaluation.summary import gains, larger_is_better, means, protocol_tables, text_tables

COMPARED = {"ssim": 0.5, "body_psnr_db": 20.0, "lateral_film_error": 0.3, "anatomy_score": 6.0}


def rows() -> list[Row]:
    """Two patients: ours is 2 and 1 dB better, and its lateral film is worse in the second."""
    figures = {("a", "ours"): (20.0, 0.2), ("a", "mean"): (18.0, 0.3), ("b", "ours"): (22.0, 0.4), ("b", "mean"): (21.0, 0.3)}
    return [
        Row(case, 64, method, {"psnr_db": psnr, **COMPARED, "lateral_film_error": lateral})
        for (case, method), (psnr, lateral) in figures.items()
    ]


def test_a_gain_is_taken_patient_by_patient_and_says_how_often():
    found = {one["metric"]: one for one in gains(rows(), {64: "ours"})}
    assert (found["psnr_db"]["gain"].mean, found["psnr_db"]["better_in"]) == (1.5, 2)
    assert (found["psnr_db"]["gain"].low, found["psnr_db"]["gain"].high) == (1.0, 2.0)
    assert found["lateral_film_error"]["gain"].mean == pytest.approx(0.0)
    assert found["lateral_film_error"]["better_in"] == 1


@pytest.mark.parametrize(
    ("metric", "larger"), [("psnr_db", True), ("dice_bone", True), ("hd95_mm_bone", False), ("crps_hu", False)]
)
def test_every_metric_knows_which_way_is_better(metric, larger):
    assert larger_is_better(metric) == larger


def test_a_metric_that_one_patient_lacks_has_no_mean():
    made = rows()
    made[0].scores["crps_hu"] = 3.0
    assert "crps_hu" not in means(made)[64]["ours"]


def test_tables_say_n_and_show_every_method():
    text = "\n".join(text_tables(means(rows()), 2) + protocol_tables(means(rows()), 2, "x2ct"))
    assert text.count("n=2") == 2
    assert "protocol x2ct, 64 voxels a side" in text
    assert text.count("ours") == text.count("mean  ") == 2
    assert "21" in text

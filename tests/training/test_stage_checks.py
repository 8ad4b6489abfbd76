"""The checks of a stage: what they measure, when they pass, and what a person reads."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from tests.networks.small_stages import small_stage
from tests.training.small_training import drawn, phantoms
from xct_components.physics.tissue_groups import tissue_mu_per_mm
from xct_components.training.check_sheet import CheckSheet, write_sheet_json, write_sheet_png
from xct_components.training.checked_case import checked_case
from xct_components.training.depth_picture import draw_depth, draw_depth_curves
from xct_components.training.depth_profile import CaseDepth, depths_of, region_shares
from xct_components.training.stage_checks import MOST_FILM_ERROR, CheckedCase, checks_of
from xct_components.training.validation import PrepareValidation

GOOD = {
    "rmse_hu": 200.0,
    "prior_rmse_hu": 300.0,
    "film_error": 0.05,
    "depth_error_mm": 10.0,
    "atlas_depth_error_mm": 15.0,
}
PROFILE = {"predicted": [0.5, 0.5], "atlas": [0.5, 0.5], "true": [0.5, 0.5]}
FALLING = [{"epoch": number + 1, "train_loss": 1.0 / (number + 1)} for number in range(8)]


def case(**figures: float) -> CheckedCase:
    return CheckedCase("case", {**GOOD, **figures}, PROFILE)


def verdicts(*cases: CheckedCase, log: list[dict[str, Any]] | None = FALLING, **how: bool) -> dict[str, bool | None]:
    return {check.name: check.passed for check in checks_of(cases, log, **how)}


def test_a_stage_that_does_its_work_passes_every_check():
    assert verdicts(case()) == dict.fromkeys(("loss falls", "film is explained", "depth is learned", "prior is beaten"), True)


@pytest.mark.parametrize(
    ("failing", "figures"),
    [
        ("film is explained", {"film_error": MOST_FILM_ERROR}),
        ("depth is learned", {"depth_error_mm": 15.0}),
        ("prior is beaten", {"rmse_hu": 300.0}),
        ("film is explained", {"film_error": math.nan}),
    ],
)
def test_a_bar_that_is_only_reached_or_a_figure_that_is_no_number_fails_its_check_alone(failing, figures):
    found = verdicts(case(**figures))
    assert found.pop(failing) is False
    assert set(found.values()) == {True}


def test_the_mean_of_the_cases_decides_and_the_cases_are_counted():
    (*_, prior) = checks_of([case(rmse_hu=100.0), case(rmse_hu=320.0)], FALLING)
    assert prior.passed
    assert prior.value == 210.0
    assert "better in 1 of 2 cases" in prior.detail


@pytest.mark.parametrize(
    ("losses", "passed"),
    [
        ([2.0, 1.0], True),
        ([1.0, 2.0], False),
        ([1.0], None),
        ([1.0, None], None),
        # quarters of two: one bad epoch at the end does not make a training that failed
        ([4.0, 3.0, 3.0, 2.0, 2.0, 2.0, 1.0, 5.0], True),
    ],
)
def test_a_loss_falls_from_the_first_quarter_of_the_epochs_to_the_last(losses, passed):
    log = [{"epoch": number + 1, "train_loss": loss} for number, loss in enumerate(losses)]
    assert verdicts(case(), log=log)["loss falls"] is passed


def test_what_cannot_be_checked_neither_passes_nor_fails_and_says_why():
    without_depth = CheckedCase("case", {**GOOD, "depth_error_mm": math.nan})
    loss, _, depth, _ = checks_of([without_depth], None)
    assert (loss.verdict, depth.verdict) == ("not checked", "not checked")
    assert "no log of its training" in loss.in_words()
    assert "no depth lifting" in depth.in_words()
    untrained = checks_of([case()], None, trains_depth=False)[2]
    assert untrained.passed is None
    assert "no depth prior (10.0 mm, the atlas 15.0 mm)" in untrained.in_words()


@pytest.fixture(scope="module")
def seen():
    """A small stage, one phantom as its batch, and what it makes of it; the stage's atlas is this very phantom."""
    stage = small_stage()
    held_out = drawn(phantoms(1, augment=False, randomize_exposure=False))[0]
    prepare = PrepareValidation(stage)
    batch, truth_hu = prepare([held_out])
    stage.atlas.measure([truth_hu])
    with torch.no_grad():
        conditions = stage.condition(batch.film, batch.fields, batch.beams, batch.prior_hu)
    return stage, prepare, held_out, batch, conditions


@pytest.fixture(scope="module")
def depth(seen) -> CaseDepth:
    stage, _, _, batch, conditions = seen
    (found,) = depths_of(stage.atlas, conditions, batch)
    return found


def test_an_atlas_that_is_the_case_itself_lies_where_the_case_lies(depth):
    # the atlas holds the 16 voxels of the case as 64, which are interpolated otherwise between the 20 mm of the bins
    assert depth.profiles["atlas"] == pytest.approx(depth.profiles["true"], abs=0.01)
    assert depth.errors_mm["atlas"] < 0.2 * 20.0
    assert depth.errors_mm["predicted"] > 0.2 * 20.0


def test_the_true_profile_is_the_attenuation_of_the_slices(seen, depth):
    """Rays of the frontal film run nearly along the depth: its bins hold what the coronal slices hold."""
    slices = tissue_mu_per_mm(seen[3].truth_hu).sum((0, 1, 3, 4))
    # magnification shows more of the back than of the front: 13 % over the depth of the field
    torch.testing.assert_close(torch.tensor(depth.profiles["true"]), slices / slices.sum(), atol=0.015, rtol=0.15)


def test_the_true_side_view_is_the_sum_over_the_width_of_the_ct(seen, depth):
    side = tissue_mu_per_mm(seen[3].truth_hu).sum((0, 1, 4)).T.unflatten(0, (8, 2)).sum(1)  # two voxels to a row of rays
    # rows of the film spread from the front to the back, by 13 %: the two agree but for sharp edges
    assert torch.corrcoef(torch.stack([depth.sides["true"].flatten(), side.flatten()]))[0, 1] > 0.95
    assert (depth.depth_mm, depth.height_mm) == (320.0, pytest.approx(320.0))  # the film covers the field at its centre


def test_profiles_and_region_shares_add_up_to_one(depth):
    for profile in depth.profiles.values():
        assert sum(profile) == pytest.approx(1.0, abs=1e-4)
        assert float(region_shares(torch.tensor(profile)).sum()) == pytest.approx(1.0, abs=1e-4)
    assert region_shares(torch.tensor([1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]))[0] > 0.95


def test_a_stage_without_depth_lifting_has_no_depths(seen):
    stage, _, _, batch, conditions = seen
    assert depths_of(stage.atlas, conditions._replace(lifted=None), batch) == []


def test_the_curves_hold_all_of_the_attenuation_in_percent_per_cm():
    """A third of 300 mm of depth each: 10 cm times the percent per cm of each bin."""
    axes = Figure().add_subplot()
    draw_depth_curves(axes, {"predicted": [0.2, 0.5, 0.3], "true": [0.1, 0.6, 0.3]}, depth_mm=300.0)
    curves = {str(line.get_label()): line for line in axes.get_lines() if not str(line.get_label()).startswith("_")}
    assert [label.split("  ")[0] for label in curves] == ["CT", "depth lifting"]
    for line, shares in zip(curves.values(), ([0.1, 0.6, 0.3], [0.2, 0.5, 0.3]), strict=True):
        places_mm, percent_per_cm = (torch.tensor(values).tolist() for values in line.get_data())
        assert places_mm == pytest.approx([50.0, 150.0, 250.0])
        assert [10.0 * percent for percent in percent_per_cm] == pytest.approx([100.0 * share for share in shares])
    assert axes.get_xlim() == (0.0, 300.0)
    assert axes.get_ylim()[1] > 6.0


def test_the_picture_of_the_depths_names_each_distribution_and_how_far_off_it_is(depth):
    figure = draw_depth("case", "epoch 3", depth)
    titles = [axes.get_title() for axes in figure.axes]
    assert titles[1] == "CT"
    assert titles[2] == f"atlas, {depth.errors_mm['atlas']:.1f} mm off"
    assert titles[3] == f"depth lifting, {depth.errors_mm['predicted']:.1f} mm off"
    for axes, name in zip(figure.axes[1:], ("true", "atlas", "predicted"), strict=True):
        (shown,) = axes.get_images()
        assert tuple(shown.get_extent()) == (0.0, depth.depth_mm, 0.0, depth.height_mm)
        np.testing.assert_allclose(np.asarray(shown.get_array()), depth.sides[name].numpy())
        letters = {text.get_text(): text.get_position()[0] for text in axes.texts}
        assert letters["A"] < letters["P"]


def test_a_sheet_is_one_page_and_plain_json(seen, tmp_path):
    stage, prepare, held_out, *_ = seen
    found = checked_case(stage, prepare, held_out)
    assert found.figures["film_error"] > 0.0
    checks = checks_of([found], FALLING)
    sheet = CheckSheet("stage", checks, [found], [found], FALLING, {"bundle": "stage1"})
    write_sheet_png(tmp_path / "check.png", sheet)
    write_sheet_json(tmp_path / "check.json", sheet)
    with Image.open(tmp_path / "check.png") as page:
        assert page.format == "PNG"
        assert page.height > page.width
    document = json.loads((tmp_path / "check.json").read_text(), parse_constant=pytest.fail)
    assert document["bundle"] == "stage1"
    assert [one["check"] for one in document["checks"]] == [check.name for check in checks]
    assert document["passed"] == all(check.passed is not False for check in checks)
    assert document["cases"] == [{"case": "phantom-0", **found.figures}]
    assert sum(document["depth"]["region_shares"]["true"]) == pytest.approx(1.0, abs=1e-4)
    assert document["depth"]["depth_mm"] == 320.0


def test_what_a_check_found_stands_in_one_column():
    lines = [check.in_words() for check in checks_of([case(film_error=1.0)], None)]
    assert {line[:13].strip() for line in lines} == {"PASS", "FAIL", "not checked"}
    assert {line.index(check.name) for line, check in zip(lines, checks_of([case(film_error=1.0)], None), strict=True)} == {13}


def test_a_sheet_without_log_depth_or_pictures_is_still_a_page(tmp_path):
    without_depth = CheckedCase("case", {**GOOD, "depth_error_mm": math.nan})
    write_sheet_png(tmp_path / "check.png", CheckSheet("stage", checks_of([without_depth], None), [without_depth], [], [], {}))
    with Image.open(tmp_path / "check.png") as page:
        assert page.format == "PNG"


def test_a_figure_that_is_no_number_is_null_in_the_sheet(tmp_path):
    without_depth = CheckedCase("case", {**GOOD, "depth_error_mm": math.nan})
    sheet = CheckSheet("stage", checks_of([without_depth], None), [without_depth], [], [], {})
    write_sheet_json(tmp_path / "check.json", sheet)
    document = json.loads((tmp_path / "check.json").read_text(), parse_constant=pytest.fail)
    assert document["cases"][0]["depth_error_mm"] is None
    assert document["depth"]["profiles"] == {}

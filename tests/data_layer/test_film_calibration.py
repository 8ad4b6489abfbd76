"""Calibrated films against line integrals that are known, and real films against simulated ones."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from xct_components.data.ct.reading import read_ct
from xct_components.data.film.agreement import ranked
from xct_components.data.film.calibration import calibrated_film
from xct_components.data.film.reading import ChestFilm, read_film
from xct_components.data.film.reference import FilmReference, film_reference
from xct_components.data.film.response import ResponseCurve, fitted_response
from xct_components.data.simulate.chest_exposure import ChestExposure, chest_exposure_for
from xct_components.data.simulate.simulated_film import SimulatedFilm, simulate_film
from xct_components.geometry import VolumeGrid, chest_beam_covering
from xct_components.physics.display_curve import DisplayCurve, display

DATA = Path(__file__).parents[1] / "data"
# What a displayed film has lost is the patient's deviation from the mean patient: about 14 % of the line integrals.
LOST_SCALE = 0.25
# The display curve itself is undone better than that: films of one CT under two displays agree to this.
CURVE_UNDONE = 0.06
# A chest is as wide as the mean chest within three standard deviations of 8 %.
WIDTH_TOLERANCE = 0.24
# The quantiles of a real film's organs come this close to the reference's, in line integrals.
QUANTILE_TOLERANCE = 0.8


@pytest.fixture(scope="module")
def simulated() -> tuple[SimulatedFilm, ChestExposure]:
    ct_hu, grid = read_ct(DATA / "cip-ct-64.nrrd")
    exposure = chest_exposure_for(ct_hu, grid, "PA", rows=256, cols=256)
    return simulate_film(ct_hu, grid, exposure.beam), exposure


def displayed(simulated: SimulatedFilm, folder: Path, curve: DisplayCurve) -> ChestFilm:
    grey = (display(simulated.line_integrals, curve) * 65535).round().numpy().astype(np.uint16)
    Image.fromarray(grey).save(folder / "film.png")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return read_film(folder / "film.png")


@pytest.fixture(scope="module")
def film(simulated, tmp_path_factory) -> ChestFilm:
    return displayed(simulated[0], tmp_path_factory.mktemp("film"), DisplayCurve(window=(0.5, 6.5)))


@pytest.fixture(scope="module")
def real() -> ChestFilm:
    return read_film(DATA / "films" / "00000001_000.png")


def own_integrals(film: ChestFilm) -> torch.Tensor:
    curve, _ = fitted_response(film.pixels[0, 0], film.pose, film_reference().frontal_greys)
    return curve.line_integrals(film.pixels[0, 0])


def whole_film(values: torch.Tensor, film: ChestFilm) -> torch.Tensor:
    """Values of a cropped film at their place on the whole one, 0 elsewhere."""
    crop = film.record["crop"]
    whole = torch.zeros(crop["of"])
    whole[slice(*crop["rows"]), slice(*crop["cols"])] = values
    return whole


def relative(found: torch.Tensor, truth: torch.Tensor, where: torch.Tensor) -> float:
    return float((found - truth)[where].norm() / truth[where].norm())


def test_line_integrals_of_a_displayed_film_are_found_up_to_the_patients_thickness(film, simulated):
    crop = film.record["crop"]
    truth = simulated[0].line_integrals[slice(*crop["rows"]), slice(*crop["cols"])]
    assert relative(own_integrals(film), truth, truth > 0.3) < LOST_SCALE


def test_another_display_of_the_same_film_gives_the_same_line_integrals(film, simulated, tmp_path):
    other = displayed(simulated[0], tmp_path, DisplayCurve(window=(0.0, 6.5), gamma=0.7))
    first, second = (whole_film(own_integrals(each), each) for each in (film, other))
    assert relative(first, second, (first > 0.3) & (second > 0.3)) < CURVE_UNDONE


def test_without_a_pixel_size_the_chest_is_as_wide_as_the_mean_chest(film, simulated):
    true_mm = simulated[1].pixel_in_patient_mm[1]
    assert film.pose.mm_per_pixel[1] == pytest.approx(true_mm, rel=WIDTH_TOLERANCE)
    with pytest.warns(UserWarning, match="pixel size is unknown"):
        placement = calibrated_film(film).record["placement"]
    assert placement["mm_per_pixel_in_patient"] == [film.pose.mm_per_pixel[1]] * 2


def test_a_known_pixel_size_is_used_and_held_against_the_anatomy(film, simulated):
    exposure = simulated[1]
    known = replace(film, pixel_mm=exposure.beam.detector.pitch_mm, magnification=exposure.magnification)
    placement = calibrated_film(known).record["placement"]
    assert placement["mm_per_pixel_in_patient"] == pytest.approx(exposure.pixel_in_patient_mm)
    expected = film.pose.mm_per_pixel[1] / exposure.pixel_in_patient_mm[1]
    assert placement["anatomy_over_pixel_size"] == pytest.approx(expected, abs=1e-3)
    wrong = replace(known, pixel_mm=tuple(2.0 * mm for mm in known.pixel_mm))
    with pytest.warns(UserWarning, match="is the size right"):
        calibrated_film(wrong)


def test_a_film_of_line_integrals_keeps_its_values_and_its_middle_stays(film, simulated):
    # 320 mm over 256 pixels on both sides: with the pose in the very middle, field and film coincide pixel by pixel.
    line_integrals = simulated[0].line_integrals
    exposure = simulated[1]
    same = replace(
        film,
        pixels=line_integrals[None, None],
        pose=replace(film.pose, middle=(127.5, 127.5)),
        pixel_mm=exposure.beam.detector.pitch_mm,
        magnification=exposure.magnification,
        line_integrals=True,
    )
    result = calibrated_film(same, 256, 256)
    torch.testing.assert_close(result.line_integrals[0, 0, 0], line_integrals, atol=1e-3, rtol=1e-3)
    assert bool(result.covered.all())


def test_the_result_fits_the_cascades_beam_and_says_what_the_film_does_not_cover(real):
    whole = calibrated_film(real, 64, 64)
    grid = VolumeGrid.chest((64, 64, 64), 5.0)
    assert whole.beam == chest_beam_covering(grid, "PA", 64, 64)
    assert whole.line_integrals.shape == whole.covered.shape == (1, 1, 1, 64, 64)
    half = replace(real, pixels=real.pixels[:, :, : round(real.pose.middle[0])])
    open_rows = ~calibrated_film(half, 64, 64).covered[0, 0, 0]
    assert bool(open_rows[33:].all())
    assert not bool(open_rows[:31, 31].any())


def test_organs_of_a_real_film_come_to_the_reference(real):
    curve, record = fitted_response(real.pixels[0, 0], real.pose, film_reference().frontal_greys)
    for name, greys in record["quantiles_grey"].items():
        found = curve.line_integrals(torch.tensor(greys) * (curve.white - curve.black) + curve.black)
        for mine, expected in zip(found.tolist(), film_reference().frontal_greys.quantiles[name], strict=True):
            assert abs(mine - expected) < QUANTILE_TOLERANCE


def test_organs_that_a_film_does_not_show_have_no_grey_in_a_record_that_is_json(real):
    above_the_diaphragm = real.pixels[0, 0, : round(real.pose.middle[0])]
    _, record = fitted_response(above_the_diaphragm, real.pose, film_reference().frontal_greys)
    assert set(record["quantiles_grey"]["abdomen"]) == {None}
    assert None not in record["quantiles_grey"]["lung"]
    json.dumps(record, allow_nan=False)


def test_a_response_curve_increases_and_never_falls_below_zero():
    curve = ResponseCurve(black=10.0, white=200.0, offset=-0.4, gain=5.0, exponent=0.7)
    integrals = curve.line_integrals(torch.linspace(0.0, 255.0, 400))
    assert float(integrals.min()) == 0.0
    assert bool((integrals.diff() >= 0.0).all())
    with pytest.raises(ValueError, match="must increase"):
        ResponseCurve(black=0.0, white=1.0, offset=0.0, gain=-1.0, exponent=1.0)


def test_the_reference_survives_its_json():
    reference = film_reference()
    again = FilmReference.from_json(reference.to_json())
    torch.testing.assert_close(again.frontal.values, reference.frontal.values)
    assert again.frontal_greys.quantiles == reference.frontal_greys.quantiles
    assert again.lateral_greys.quantiles == reference.lateral_greys.quantiles
    assert len(reference.provenance["cts"]) == 10


def test_ranks_share_the_mean_of_equal_pixels():
    ranks = ranked(torch.tensor([[5.0, 1.0], [5.0, 9.0]]))
    torch.testing.assert_close(ranks, torch.tensor([[0.5, 0.0], [0.5, 1.0]]))

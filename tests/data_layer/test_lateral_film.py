"""Lateral films: which are taken, which way the patient looks, and where and how strong their line integrals are."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from xct_components.data.ct.reading import read_ct
from xct_components.data.film.calibration import CalibratedFilm
from xct_components.data.film.lateral_calibration import calibrated_lateral
from xct_components.data.film.lateral_reading import read_lateral
from xct_components.data.film.reading import ChestFilm, read_film
from xct_components.data.film.reference import film_reference
from xct_components.data.film.response import fitted_response
from xct_components.data.simulate.chest_exposure import ChestExposure, chest_exposure_for
from xct_components.data.simulate.simulated_film import SimulatedFilm, simulate_film
from xct_components.failures import InputWarning, RefusedInput
from xct_components.geometry import VolumeGrid, chest_beam_covering
from xct_components.physics.display_curve import DisplayCurve, display

DATA = Path(__file__).parents[1] / "data"
# As for frontal films: what a display has lost is the patient's deviation from the mean patient.
LOST_SCALE = 0.25
# Rows of 320 / 64 mm: what the film does not cover begins within one of them.
ONE_ROW = 1


@pytest.fixture(scope="module")
def simulated() -> tuple[SimulatedFilm, ChestExposure]:
    ct_hu, grid = read_ct(DATA / "cip-ct-64.nrrd")
    exposure = chest_exposure_for(ct_hu, grid, "LL", rows=192, cols=192)
    return simulate_film(ct_hu, grid, exposure.beam), exposure


def shown(simulated: SimulatedFilm) -> np.ndarray:
    """(192, 192) uint16 with the sternum on the left, as a workstation displays it."""
    curve = DisplayCurve(window=(0.5, 8.5), contrast=6.0)
    return (display(simulated.line_integrals, curve) * 65535).round().numpy().astype(np.uint16)


def saved(grey: np.ndarray, folder: Path) -> Path:
    Image.fromarray(np.ascontiguousarray(grey)).save(folder / "film.png")
    return folder / "film.png"


@pytest.fixture(scope="module")
def film(simulated, tmp_path_factory) -> ChestFilm:
    path = saved(shown(simulated[0]), tmp_path_factory.mktemp("film"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return read_lateral(path)


def test_a_lateral_film_is_taken_with_the_sternum_on_the_left(film):
    view = film.record["view"]
    assert (view["facing"], view["turned_to_the_left"]) == ("left", False)
    assert (view["side_at_detector"], view["best"]["view"]) == ("LL", "lateral")


def test_a_film_of_a_patient_who_looks_to_the_right_is_turned_to_the_left_and_reversed_grey_turned_round(
    film, simulated, tmp_path
):
    with pytest.warns(InputWarning, match="turned round"):
        other = read_lateral(saved(65535 - shown(simulated[0])[:, ::-1], tmp_path))
    assert other.record["view"]["facing"] == "right"
    assert other.record["polarity"]["reversed"]
    torch.testing.assert_close(other.pixels - other.pixels.min(), film.pixels - film.pixels.min())
    # The same place is found on the turned film, to the precision of the search (0.8 mm of 1.7 mm pixels, with room).
    assert np.abs(np.subtract(other.pose.middle, film.pose.middle)).max() < 2.0


def test_a_lateral_film_lying_on_its_side_is_refused(simulated, tmp_path):
    with pytest.raises(RefusedInput, match="lateral, rotated by 270 degrees clockwise"):
        read_lateral(saved(np.rot90(shown(simulated[0])), tmp_path))


def test_a_frontal_film_is_no_lateral_one_and_the_reverse(simulated, tmp_path):
    frontal = DATA / "films" / "00000001_000.png"
    with pytest.raises(RefusedInput, match=r"refused as a lateral film: it looks like another view: frontal.*--lateral"):
        read_lateral(frontal)
    with pytest.raises(RefusedInput, match=r"another view: lateral.*--lateral"):
        read_film(saved(shown(simulated[0]), tmp_path))


def test_line_integrals_of_a_displayed_lateral_film_are_found_up_to_the_patients_thickness(film, simulated):
    crop = film.record["crop"]
    truth = simulated[0].line_integrals[slice(*crop["rows"]), slice(*crop["cols"])]
    curve, _ = fitted_response(film.pixels[0, 0], film.pose, film_reference().lateral_greys)
    body = truth > 0.3
    assert float((curve.line_integrals(film.pixels[0, 0]) - truth)[body].norm() / truth[body].norm()) < LOST_SCALE


def calibrated(film: ChestFilm, frontal: dict[str, Any] | None = None, size: int = 64) -> CalibratedFilm:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return calibrated_lateral(film, frontal, size, size)


def frontal_record(taller: float, *, sized: bool) -> dict[str, Any]:
    """Of a patient whose lungs are so much taller than the mean lungs."""
    placement = {"mm_per_pixel_in_patient": [taller, taller], "mm_per_pixel_by_anatomy": [1.0, 1.0]}
    return {"placement": placement | {"size_known": sized}}


@pytest.mark.parametrize("taller", [0.9, 1.1])
def test_without_a_pixel_size_the_lungs_are_as_tall_as_on_the_frontal_film(film, taller):
    placement = calibrated(film, frontal_record(taller, sized=True)).record["placement"]
    assert placement["mm_per_pixel_in_patient"] == pytest.approx([film.pose.mm_per_pixel[0] * taller] * 2)
    assert placement["lungs_taller_than_on_frontal"] == 1.0


def test_a_pixel_size_counts_only_beside_a_frontal_film_that_has_one_too(film, simulated):
    exposure = simulated[1]
    sized = replace(film, pixel_mm=exposure.beam.detector.pitch_mm, magnification=exposure.magnification)
    own_mm = pytest.approx(exposure.pixel_in_patient_mm)
    assert calibrated(sized, frontal_record(1.0, sized=True)).record["placement"]["mm_per_pixel_in_patient"] == own_mm
    other = calibrated(sized, frontal_record(1.0, sized=False)).record["placement"]
    assert other["mm_per_pixel_in_patient"] == pytest.approx([film.pose.mm_per_pixel[0]] * 2)
    with pytest.warns(InputWarning, match="times as tall as on the frontal film"):
        calibrated_lateral(sized, frontal_record(1.6, sized=True), 64, 64)


def test_a_right_lateral_film_is_the_left_one_seen_from_the_other_side(film):
    right = replace(film, record={**film.record, "view": {**film.record["view"], "side_at_detector": "RL"}})
    one, other = calibrated(film), calibrated(right)
    grid = VolumeGrid.chest((64, 64, 64), 5.0)
    assert (one.beam, other.beam) == (chest_beam_covering(grid, "LL", 64, 64), chest_beam_covering(grid, "RL", 64, 64))
    torch.testing.assert_close(other.line_integrals, one.line_integrals.flip(-1))


def test_the_middle_of_the_lungs_is_in_the_middle_of_the_field(film):
    half = replace(film, pixels=film.pixels[:, :, : round(film.pose.middle[0])])
    open_rows = ~calibrated(half).covered[0, 0, 0, :, 32]
    assert bool(open_rows[32 + ONE_ROW :].all())
    assert not bool(open_rows[16 : 32 - ONE_ROW].any())

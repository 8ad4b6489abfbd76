"""A lateral film lies at the heights of the frontal one: both show the same attenuation at each, whoever the patient is."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from xct_components.data.ct.reading import read_ct
from xct_components.data.film.calibration import CalibratedFilm, calibrated_film
from xct_components.data.film.height_match import STEP_MM, HeightProfile, field_heights, height_profile, matched_heights
from xct_components.data.film.lateral_calibration import calibrated_lateral
from xct_components.data.film.lateral_reading import read_lateral
from xct_components.data.film.reading import ChestFilm, read_film
from xct_components.data.simulate.chest_exposure import chest_exposure_for
from xct_components.data.simulate.simulated_film import simulate_film
from xct_components.failures import InputWarning
from xct_components.geometry import Detector, ParallelBeam, VolumeGrid
from xct_components.physics.display_curve import DisplayCurve, display
from xct_components.physics.projector import project

DATA = Path(__file__).parents[1] / "data"
# Sizes are tried in steps of 3 %; a little of a wrong size can be made up for by a shift, as the lungs' bases tell most.
SIZED = 0.08


def profile(seed: int = 0, extent_mm: float = 160.0) -> HeightProfile:
    """Some body: waves of 30 to 120 mm."""
    heights = np.arange(-extent_mm, extent_mm, 1.0)
    draw = np.random.default_rng(seed)
    waves = sum(np.sin(2.0 * np.pi * heights / mm + draw.uniform(0.0, 6.0)) for mm in (30.0, 50.0, 80.0, 120.0))
    return HeightProfile(heights, 800.0 * np.exp(0.1 * waves))


def test_every_parallel_view_of_a_body_shows_the_same_attenuation_at_each_height():
    """The consistency condition itself, through the project's own projector: one body, two views, unlike pixels."""
    grid = VolumeGrid.chest((24, 24, 24), 8.0)
    body = torch.rand(1, 1, 24, 24, 24, generator=torch.Generator().manual_seed(0)) * 0.02
    profiles = []
    for view, cols, width_mm in (("PA", 40, 6.0), ("LL", 70, 4.0)):
        detector, towards = Detector(24, cols, (8.0, width_mm)), (0.0, 1.0, 0.0) if view == "PA" else (1.0, 0.0, 0.0)
        along_cols = (-1.0, 0.0, 0.0) if view == "PA" else (0.0, -1.0, 0.0)
        beam = ParallelBeam(detector, (0.0, 0.0, 0.0), (0.0, 0.0, -1.0), along_cols, ray_direction=towards)
        profiles.append(height_profile(project(body, grid, [beam])[0, 0, 0], (8.0, width_mm), 11.5))
    np.testing.assert_array_equal(profiles[0].heights_mm, profiles[1].heights_mm)
    # Pixels of 6 and 4 mm sample voxels of 8 mm; summed along a row what they miss is in the fourth figure.
    np.testing.assert_allclose(profiles[0].attenuation_mm, profiles[1].attenuation_mm, rtol=2e-3)


@pytest.mark.parametrize("shift_mm", [-45.0, 0.0, 20.0])
@pytest.mark.parametrize("size", [0.8, 1.0, 1.2])
def test_shift_and_size_of_a_film_are_found_whatever_its_scale(shift_mm, size):
    first = profile()
    second = HeightProfile((first.heights_mm - shift_mm) / size, 0.4 * first.attenuation_mm)
    found = matched_heights(first, second, size_known=False)
    assert found is not None
    assert found.agreement > 0.95
    assert found.shift_mm == pytest.approx(shift_mm, abs=STEP_MM)
    assert found.size == pytest.approx(size, rel=0.03)  # the step of sizes


def test_a_known_size_is_kept():
    first = profile()
    found = matched_heights(first, HeightProfile(first.heights_mm / 1.2, first.attenuation_mm), size_known=True)
    assert found is not None
    assert found.size == 1.0


def test_films_that_have_too_little_in_common_are_not_compared():
    assert matched_heights(profile(extent_mm=60.0), profile(extent_mm=60.0), size_known=True) is None


def test_two_bodies_agree_less_than_two_views_of_one():
    found = [matched_heights(profile(0), profile(seed), size_known=True) for seed in range(6)]
    own, *others = [match.agreement for match in found if match is not None]
    assert own == pytest.approx(1.0)
    assert max(others) < 0.9


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> tuple[CalibratedFilm, ChestFilm]:
    """Frontal and lateral film of one CT as pictures whose pixel size is known, the frontal one calibrated."""
    folder, ct = tmp_path_factory.mktemp("films"), read_ct(DATA / "cip-ct-64.nrrd")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        frontal, lateral = (picture(ct, *how, folder) for how in (("PA", 6.5), ("LL", 8.5)))
        return calibrated_film(frontal, 128, 128), lateral


def picture(ct: tuple[torch.Tensor, VolumeGrid], view: str, brightest: float, folder: Path) -> ChestFilm:
    path = folder / f"{view}.png"
    exposure = chest_exposure_for(*ct, "PA" if view == "PA" else "LL", rows=192, cols=192)
    shown = display(simulate_film(*ct, exposure.beam).line_integrals, DisplayCurve(window=(0.5, brightest)))
    Image.fromarray((shown * 65535).round().numpy().astype(np.uint16)).save(path)
    film = read_film(path) if view == "PA" else read_lateral(path)
    return replace(film, pixel_mm=exposure.beam.detector.pitch_mm, magnification=exposure.magnification)


def beside(frontal: CalibratedFilm, lateral: ChestFilm) -> CalibratedFilm:
    heights = field_heights(frontal.line_integrals[0, 0, 0], frontal.record["placement"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return calibrated_lateral(lateral, frontal.record, 128, 128, heights=heights)


def misplaced(film: ChestFilm, rows: float = 0.0, size: float = 1.0) -> ChestFilm:
    """The film as anatomy would have placed it in error."""
    (row, col), (height_mm, width_mm) = film.pose.middle, film.pose.mm_per_pixel
    pose = replace(film.pose, middle=(row + rows, col), mm_per_pixel=(height_mm * size, width_mm * size))
    return replace(film, pose=pose)


def test_films_of_one_patient_agree(films):
    heights = beside(*films).record["placement"]["heights"]
    assert heights["taken"]
    assert heights["size"] == 1.0  # it is known
    assert heights["agreement"] > 0.9


@pytest.mark.parametrize("rows", [20.0, -15.0, 8.0])
def test_a_lateral_film_that_anatomy_misplaced_is_put_right(films, rows):
    frontal, lateral = films
    right, mended = (beside(frontal, one).record["placement"] for one in (lateral, misplaced(lateral, rows)))
    off_rows = mended["lungs_middle_pixel"][0] - right["lungs_middle_pixel"][0]
    assert abs(off_rows) * right["mm_per_pixel_in_patient"][0] <= STEP_MM  # of 14 to 36 mm


@pytest.mark.parametrize("size", [0.85, 1.0])
def test_a_lateral_film_of_unknown_size_gets_that_of_the_frontal_film(films, size):
    frontal, lateral = films
    placed = beside(frontal, misplaced(replace(lateral, pixel_mm=None), size=size)).record["placement"]
    known_mm = beside(*films).record["placement"]["mm_per_pixel_in_patient"][0]
    assert placed["mm_per_pixel_in_patient"][0] == pytest.approx(known_mm, rel=SIZED)
    assert placed["scale_from"] == "the frontal film: both show the same attenuation at each height"


def test_films_whose_heights_disagree_are_left_as_they_are_and_the_user_is_told(films):
    frontal, lateral = films
    rows = torch.arange(lateral.pixels.shape[2])[:, None]
    striped = replace(lateral, pixels=lateral.pixels * (1.0 + 0.5 * torch.sin(rows / 5.0)))  # nobody's chest
    heights = field_heights(frontal.line_integrals[0, 0, 0], frontal.record["placement"])
    with pytest.warns(InputWarning, match=r"show attenuation at different heights \(agreement .*one patient in one breath\?"):
        placement = calibrated_lateral(striped, frontal.record, 128, 128, heights=heights).record["placement"]
    assert not placement["heights"]["taken"]
    assert placement["lungs_middle_pixel"] == [round(i, 1) for i in lateral.pose.middle]

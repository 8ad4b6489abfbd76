"""Training films: the room and the film formation are chosen, the line integrals stay those of the patient."""

from __future__ import annotations

import json

import pytest
import torch
from torch import Tensor

from xct_components.data.cases.exposure import TrainingExposure, draw_training_exposure, take_film
from xct_components.geometry import VolumeGrid
from xct_components.physics.attenuation import hu_to_mu_per_mm
from xct_components.physics.film_formation import FilmFormation
from xct_components.physics.projector import project

GRID = VolumeGrid.chest((24, 24, 24), 320.0 / 24)
NOISY = FilmFormation(tube_kvp=120, scatter_to_primary=0.4, photons_per_mm2=1e6, blur_sigma_mm=0.15)


@pytest.fixture(scope="module")
def patient() -> Tensor:
    ct_hu = torch.full((1, 1, 24, 24, 24), -1000.0)
    ct_hu[..., 6:18, 4:20, 4:20] = 30.0
    ct_hu[..., 8:16, 6:16, 6:11] = -800.0
    ct_hu[..., 14:17, :, 11:13] = 700.0
    return ct_hu


def test_a_plain_exposure_is_the_line_integrals(patient: Tensor) -> None:
    film = take_film(patient, GRID, TrainingExposure(), views=("PA", "LL"), rows=32, cols=30)
    assert film.film.shape == (1, 2, 1, 32, 30)
    assert torch.equal(film.film, film.line_integrals)
    assert torch.equal(film.line_integrals, project(hu_to_mu_per_mm(patient), GRID, film.beams))


def test_film_formation_changes_the_film_and_not_the_line_integrals(patient: Tensor) -> None:
    plain = take_film(patient, GRID, TrainingExposure(), rows=32, cols=32)
    formed = take_film(patient, GRID, TrainingExposure(film_formation=NOISY), rows=32, cols=32)
    assert torch.equal(plain.line_integrals, formed.line_integrals)
    assert float((formed.film - plain.film).abs().amax()) > 0.1
    # Scatter and noise leave the picture what it is.
    assert float(torch.corrcoef(torch.stack((plain.film.flatten(), formed.film.flatten())))[0, 1]) > 0.97


def test_the_same_exposure_gives_the_same_film_and_another_seed_other_noise(patient: Tensor) -> None:
    films = [
        take_film(patient, GRID, TrainingExposure(film_formation=NOISY, noise_seed=seed), rows=32, cols=32).film
        for seed in (1, 1, 2)
    ]
    assert torch.equal(films[0], films[1])
    assert not torch.equal(films[0], films[2])


def test_a_nearer_tube_magnifies_the_front_more() -> None:
    marker = torch.full((1, 1, 24, 24, 24), -1000.0)
    marker[..., 2, 12, 20] = 1000.0  # anterior, left: far from the tube of a PA exposure
    places = []
    for sid_mm in (1400.0, 2000.0):
        film = take_film(marker, GRID, TrainingExposure(source_to_detector_mm=sid_mm), rows=96, cols=96).film[0, 0, 0]
        places.append(float((film.sum(0) * torch.arange(96.0)).sum() / film.sum()))
    # The film shows the field in the plane of its centre; what lies 127 mm in front of it is shrunk, by the nearer tube more.
    world_mm = float(GRID.world_from_voxels(torch.tensor([[2, 12, 20]]))[0, 0])
    for sid_mm, place in zip((1400.0, 2000.0), places, strict=True):
        sod_mm = sid_mm - 200.0
        depth_mm = sod_mm + float(GRID.world_from_voxels(torch.tensor([[2, 12, 20]]))[0, 1])
        expected = 47.5 - world_mm * sod_mm / depth_mm / (320.0 / 96)
        assert place == pytest.approx(expected, abs=0.05)  # centroid of a voxel's shadow of four pixels


def test_drawn_exposures_lie_within_what_rooms_have_and_replay_from_json() -> None:
    drawn = [draw_training_exposure(torch.Generator().manual_seed(seed)) for seed in range(200)]
    assert all(1400 <= e.source_to_detector_mm <= 2000 and 150 <= e.patient_to_detector_mm <= 250 for e in drawn)
    plain = sum(e.film_formation == FilmFormation() for e in drawn) / len(drawn)
    assert plain == pytest.approx(0.3, abs=0.1)  # three standard deviations of 200 draws
    for exposure in drawn[:20]:
        assert TrainingExposure.from_json(json.loads(json.dumps(exposure.to_json()))) == exposure
    assert drawn[7] == draw_training_exposure(torch.Generator().manual_seed(7))
    assert len({e.source_to_detector_mm for e in drawn}) == len(drawn)

"""A second film: which pairs are taken, and what the cascade gets of a calibrated one."""

from __future__ import annotations

import json
import warnings
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pydicom
import pytest
import torch
from PIL import Image

from xct_components.data.ct.reading import read_ct
from xct_components.data.film.one_patient import require_one_patient
from xct_components.data.simulate.chest_exposure import chest_exposure_for
from xct_components.data.simulate.film_geometry import SCHEMA
from xct_components.data.simulate.simulated_film import simulate_film
from xct_components.failures import RefusedInput
from xct_components.geometry import VolumeGrid, chest_beam_covering
from xct_components.inferers.cascade_film import CALIBRATED, CascadeFilm
from xct_components.inferers.film_reading import as_cascade_film
from xct_components.inferers.frontal_first import FrontalFirst
from xct_components.inferers.lateral_film_reading import read_lateral_film
from xct_components.physics.consistency import SoftConsistency
from xct_components.physics.display_curve import DisplayCurve, display

DATA = Path(__file__).parents[1] / "data"
FRONTAL_DICOM = DATA / "films" / "NIH_00000001_000_DX.dcm"
FIELD_MM = 320.0


def calibrated_frontal(size: int = 64) -> CascadeFilm:
    """A calibrated frontal film of a patient as tall as the mean patient."""
    beam = chest_beam_covering(VolumeGrid.chest((64, 64, 64), 5.0), "PA", size, size)
    placement = {"mm_per_pixel_in_patient": [1.0, 1.0], "mm_per_pixel_by_anatomy": [1.0, 1.0], "size_known": False}
    record = {"geometry_from": CALIBRATED, "placement": placement, "file": {"name": "frontal.png"}}
    return CascadeFilm(torch.full((1, 1, 1, size, size), 3.0), (beam,), record=record)


@pytest.fixture(scope="module")
def lateral_png(tmp_path_factory) -> Path:
    """A lateral film as a picture: nobody knows its geometry."""
    ct_hu, grid = read_ct(DATA / "cip-ct-64.nrrd")
    exposure = chest_exposure_for(ct_hu, grid, "LL", rows=192, cols=192, field_mm=300.0)
    film = simulate_film(ct_hu, grid, exposure.beam).line_integrals[:, 30:170]
    path = tmp_path_factory.mktemp("film") / "lateral.png"
    Image.fromarray((display(film, DisplayCurve(window=(0.5, 8.5))) * 65535).numpy().astype(np.uint16)).save(path)
    return path


def test_a_real_lateral_film_is_calibrated_beside_a_calibrated_frontal_one(lateral_png):
    frontal = calibrated_frontal()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        lateral = read_lateral_film(lateral_png, frontal)
    both = frontal.with_view(lateral)
    assert not both.exact
    assert both.line_integrals.shape == (1, 2, 1, 64, 64)
    assert (frontal.believed, both.believed) == (SoftConsistency(), FrontalFirst())
    second = both.record["second_film"]
    assert second["placement"]["scale_from"].startswith("the frontal film")
    assert second["view"]["facing"] == "left"
    assert second["consistency_if_auto"]["the frontal film has the last word"] == asdict(FrontalFirst())
    # Only what the film shows counts as measured: this one is narrower than the field.
    detector = lateral.beams[0].detector
    assert detector.cols * detector.pitch_mm[1] / 1.125 < 0.9 * FIELD_MM
    assert 1.0 < float(lateral.line_integrals.quantile(0.9)) < 8.0


def test_a_simulated_lateral_film_is_none_of_a_real_patient(tmp_path):
    (tmp_path / "lateral.json").write_text(json.dumps({"schema": SCHEMA, "view": "LL", "ct": {"voxels_sha256": "0"}}))
    with pytest.raises(RefusedInput, match="simulated from a CT, the frontal film was not"):
        read_lateral_film(tmp_path / "lateral.png", calibrated_frontal())


def test_a_real_lateral_film_is_none_of_a_simulated_patient(lateral_png):
    with pytest.raises(RefusedInput, match="no geometry, but the frontal film has"):
        as_cascade_film(torch.rand(1, 32, 32), lateral=lateral_png)


def test_dicom_films_of_two_patients_are_refused_without_naming_them(tmp_path):
    owners = ("patient-17", "patient-17", "patient-4", "")
    paths = [tmp_path / f"{index}.dcm" for index in range(len(owners))]
    for path, owner in zip(paths, owners, strict=True):
        dataset = pydicom.dcmread(FRONTAL_DICOM)
        dataset.PatientID = owner
        dataset.save_as(path)
    require_one_patient(paths[0], paths[1])
    require_one_patient(paths[0], paths[3])
    require_one_patient(paths[0], tmp_path / "missing.png")
    with pytest.raises(RefusedInput, match="two patients") as refused:
        require_one_patient(paths[0], paths[2])
    assert "patient-" not in str(refused.value)

"""What is written says the same as the film in memory, in place and in value, or is not written at all."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from skimage.io import imread

from xct_components.data.atomic_files import written_together
from xct_components.data.simulate.chest_exposure import ChestExposure
from xct_components.data.simulate.film_files import display_pixels, write_nifti_film, write_png_film
from xct_components.data.simulate.film_geometry import film_geometry, voxels_sha256
from xct_components.data.simulate.simulated_film import SimulatedFilm
from xct_components.failures import CannotWrite
from xct_components.geometry import Beam, ChestView, ConeBeam, Detector, VolumeGrid, chest_cone_beam
from xct_components.physics.display_curve import DisplayCurve

ROOT = Path(__file__).parent.parent.parent
# NIfTI stores affines in float32: 1e-7 of positions up to 2 m.
FLOAT32_POSITION_MM = 2e-4
# Positions in JSON are float64.
POSITION_TOLERANCE_MM = 1e-9

ISOCENTER_MM = (12.0, -30.0, -500.0)
GRID = VolumeGrid.chest((40, 50, 60), spacing_mm=6.0, center_mm=ISOCENTER_MM)
VIEWS = pytest.mark.parametrize("view", ["PA", "AP", "LL", "RL"])


def exposure_of(view: ChestView) -> ChestExposure:
    beam = chest_cone_beam(view, Detector(30, 20, (9.0, 9.0)), isocenter_mm=ISOCENTER_MM)
    return ChestExposure(view, beam, ISOCENTER_MM)


def film_of(beam: Beam) -> SimulatedFilm:
    """Every pixel has its own value, from -0.5 to 9, increasing along columns first."""
    values = torch.linspace(-0.5, 9.0, beam.detector.rows * beam.detector.cols)
    return SimulatedFilm(values.reshape(beam.detector.rows, beam.detector.cols), beam, GRID)


@VIEWS
def test_the_nifti_film_puts_every_pixel_where_the_beam_puts_it(view, tmp_path):
    film = film_of(exposure_of(view).beam)
    write_nifti_film(tmp_path / "film.nii.gz", film)
    image = nibabel.load(tmp_path / "film.nii.gz")
    assert image.shape == (20, 30, 1)
    assert image.get_data_dtype() == np.float32
    for row, col in ((0, 0), (29, 19), (3, 17)):
        assert image.get_fdata()[col, row, 0] == film.line_integrals[row, col]
        placed = image.affine @ [col, row, 0, 1]
        expected = film.beam.pixel_centers_mm(torch.tensor([row, col])).numpy()
        assert np.abs(placed[:3] - expected).max() < FLOAT32_POSITION_MM
    assert np.allclose(image.get_qform(), image.get_sform(), atol=FLOAT32_POSITION_MM)


def test_the_png_is_16_bit_grey_and_brightens_with_attenuation(tmp_path):
    film = film_of(exposure_of("PA").beam)
    write_png_film(tmp_path / "film.png", film, DisplayCurve((0.5, 6.5)))
    header = (tmp_path / "film.png").read_bytes()[16:29]  # IHDR: width, height, bit depth, colour type
    assert [int.from_bytes(header[:4], "big"), int.from_bytes(header[4:8], "big"), header[8], header[9]] == [20, 30, 16, 0]
    pixels, values = imread(tmp_path / "film.png").astype(int).ravel(), film.line_integrals.numpy().ravel()
    inside = (values > 0.5) & (values < 6.5)
    assert (np.diff(pixels) >= 0).all()
    assert (np.diff(pixels[inside]) > 0).all()
    assert (pixels[values <= 0.5] == 0).all()
    assert (pixels[values >= 6.5] == 65535).all()
    assert np.abs(pixels / 65535 * 6.0 + 0.5 - values)[inside].max() < 6.0 / 65535  # the JSON's window undoes it


def geometry_of(view: ChestView, grid: VolumeGrid = GRID) -> dict[str, Any]:
    exposure = exposure_of(view)
    film = SimulatedFilm(film_of(exposure.beam).line_integrals, exposure.beam, grid)
    return json.loads(json.dumps(film_geometry(film, exposure, ct={"name": "ct.nii"}, physics={}, display={})))


@VIEWS
def test_the_json_restores_the_beam_and_the_grid(view):
    geometry = geometry_of(view)
    assert Beam.from_json(geometry["beam"]) == exposure_of(view).beam
    assert VolumeGrid.from_json(geometry["ct"]["grid"]) == GRID


@VIEWS
def test_the_fields_corners_are_the_outer_corners_of_the_film_and_its_size_holds_in_the_patient(view):
    geometry, exposure = geometry_of(view), exposure_of(view)
    on_detector, in_patient = geometry["field"]["on_detector"], geometry["field"]["in_patient"]
    top_left = np.array(on_detector["top_left_mm"])
    half_pixel = 4.5 * (np.array(exposure.beam.row_direction) + np.array(exposure.beam.col_direction))
    first_pixel = exposure.beam.pixel_centers_mm(torch.zeros(2)).numpy()
    assert np.abs(top_left - (first_pixel - half_pixel)).max() < POSITION_TOLERANCE_MM
    assert np.abs(np.array(in_patient["center_mm"]) - ISOCENTER_MM).max() < POSITION_TOLERANCE_MM
    height_mm = np.linalg.norm(np.subtract(in_patient["bottom_left_mm"], in_patient["top_left_mm"]))
    assert height_mm == pytest.approx(geometry["field"]["size_in_patient_mm"][0])
    assert height_mm == pytest.approx(30 * 9.0 * 1600 / 1800)


def test_a_ct_that_ends_inside_the_field_is_a_warning():
    assert geometry_of("PA")["warnings"] == []
    (warning,) = geometry_of("PA", GRID.crop((0, 0, 0), (40, 20, 60)))["warnings"]
    assert "of the film's 240 x 160 mm" in warning


def test_the_fingerprint_follows_the_voxels():
    volume = torch.arange(24, dtype=torch.float32).reshape(1, 1, 2, 3, 4)
    assert voxels_sha256(volume) == voxels_sha256(volume.clone())
    assert voxels_sha256(volume) != voxels_sha256(volume + 1)


def write_half(*targets: Path, stop: Any) -> None:
    with written_together(*targets) as drafts:
        for draft in drafts:
            draft.write_text("half of it")
        raise stop


@pytest.mark.parametrize("stop", [KeyboardInterrupt, ValueError, OSError(errno.ENOSPC, "No space left on device")])
def test_a_failure_leaves_the_folder_as_it_was(stop, tmp_path):
    film, geometry = tmp_path / "film.png", tmp_path / "film.json"
    film.write_text("before")
    with pytest.raises(CannotWrite if isinstance(stop, OSError) else stop):
        write_half(film, geometry, stop=stop)
    assert [path.name for path in tmp_path.iterdir()] == ["film.png"]
    assert film.read_text() == "before"


def test_success_replaces_all_targets_and_leaves_nothing_else(tmp_path):
    targets = (tmp_path / "film.nii.gz", tmp_path / "film.json")
    targets[1].write_text("before")
    with written_together(*targets) as drafts:
        assert [draft.name.endswith(target.name) for draft, target in zip(drafts, targets, strict=True)] == [True, True]
        for draft in drafts:
            draft.write_text("after")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"film.nii.gz": "after", "film.json": "after"}


def test_a_killed_process_leaves_no_file_under_the_final_name(tmp_path):
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from xct_components.data.atomic_files import written_together\n"
        "with written_together(Path(sys.argv[1])) as (draft,):\n"
        "    draft.write_text('half of it'); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "film.png")], env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False
    )
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "film.png").exists()


def test_a_missing_folder_cannot_be_written_to(tmp_path):
    with pytest.raises(CannotWrite, match="nowhere"), written_together(tmp_path / "nowhere" / "film.png") as (draft,):
        draft.write_text("film")


def test_a_cone_beam_film_has_its_normal_as_third_axis(tmp_path):
    beam = exposure_of("LL").beam
    assert isinstance(beam, ConeBeam)
    write_nifti_film(tmp_path / "film.nii", film_of(beam))
    assert np.allclose(nibabel.load(tmp_path / "film.nii").affine[:3, 2], beam.normal)


def test_display_pixels_of_a_constant_film_are_constant():
    film = film_of(exposure_of("PA").beam)
    flat = SimulatedFilm(torch.full_like(film.line_integrals, 3.5), film.beam, film.grid)
    assert set(display_pixels(flat, DisplayCurve((0.5, 6.5))).ravel()) == {32768}

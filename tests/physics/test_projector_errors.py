"""Bad input to the projector: a ValueError that names the argument, its value, the rule and the way out."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from xct_components.geometry import Detector, VolumeGrid, chest_cone_beam
from xct_components.physics.projector import backproject, project, sample_along_rays
from xct_components.physics.slice_taps import Footprint

GRID = VolumeGrid.chest((8, 9, 10), 20.0)
PA = chest_cone_beam("PA", Detector(6, 7, 40.0))
VOLUME, FILM = torch.ones(2, 1, 8, 9, 10), torch.ones(2, 1, 1, 6, 7)


def with_hole(x: torch.Tensor, value: float) -> torch.Tensor:
    x = x.clone()
    x.view(-1)[x.numel() // 2] = value
    return x


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_volume_or_film_that_is_not_finite_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="mu_per_mm must be finite, got NaN or Inf; replace"):
        project(with_hole(VOLUME, value), GRID, [PA])
    with pytest.raises(ValueError, match="line_integrals must be finite"):
        backproject(with_hole(FILM, value), GRID, [PA])
    with pytest.raises(ValueError, match="film must be finite"):
        sample_along_rays(with_hole(FILM, value), GRID, [PA])


def test_a_volume_of_another_shape_than_its_grid_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"mu_per_mm must have the shape \(..., 8, 9, 10\), got \(..., 10, 9, 8\); pass the VolumeGrid"
    ):
        project(torch.ones(1, 1, 10, 9, 8), GRID, [PA])


@pytest.mark.parametrize("function", [backproject, sample_along_rays])
def test_a_film_of_another_shape_or_number_than_the_beams_is_refused(function: Callable[..., torch.Tensor]) -> None:
    with pytest.raises(
        ValueError, match=r"must have the shape \(..., 1, 1, 6, 7\), got \(..., 1, 1, 7, 6\); pass one film per beam"
    ):
        function(torch.ones(1, 1, 1, 7, 6), GRID, [PA])
    with pytest.raises(ValueError, match=r"\(..., 2, 1, 6, 7\), got \(..., 1, 1, 6, 7\)"):
        function(FILM, GRID, [PA, PA])


def test_unequal_batches_are_refused() -> None:
    with pytest.raises(ValueError, match="beams must be one for the batch or one per sample, got 3 for a batch of 2"):
        project(VOLUME, GRID, [[PA], [PA], [PA]])
    with pytest.raises(ValueError, match="grid must be one for the batch or one per sample, got 3 for a batch of 2"):
        project(VOLUME, [GRID] * 3, [PA])


def test_beams_of_unlike_films_and_no_beams_at_all_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"beams must have one film shape .* got shapes \[\(6, 7\), \(12, 7\)\]; use .resampled"
    ):
        project(VOLUME, GRID, [PA, PA.resampled(12, 7)])
    with pytest.raises(ValueError, match="beams must have one film shape and one number of views"):
        project(VOLUME, GRID, [[PA], [PA, PA]])
    with pytest.raises(ValueError, match="beams must hold at least one Beam"):
        project(VOLUME, GRID, [])


@pytest.mark.parametrize("shift_mm", [(0.0, 0.0, 900.0), (700.0, 0.0, 0.0)])
@pytest.mark.parametrize("turn", [0.0, 0.28])
def test_a_volume_outside_the_beam_is_refused(shift_mm: tuple[float, float, float], turn: float) -> None:
    straight = (1 - turn**2) ** 0.5
    beam = PA.moved([[straight, -turn, 0, 0], [turn, straight, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    with pytest.raises(ValueError, match=r"beams must hit the volume, got no ray .* check the affine and the isocentre"):
        project(VOLUME, VolumeGrid.chest((8, 9, 10), 20.0, center_mm=shift_mm), [beam])


def test_a_source_inside_the_patient_and_a_patient_behind_the_source_are_refused() -> None:
    inside = chest_cone_beam("PA", Detector(6, 7, 40.0), source_to_patient_mm=30.0)
    with pytest.raises(ValueError, match=r"source_mm must lie outside the volume, got a focal spot at slice 5\.0 of 8"):
        project(VOLUME, GRID, [inside])
    with pytest.raises(ValueError, match="got a volume behind the focal spot"):
        project(VOLUME, VolumeGrid.chest((8, 9, 10), 20.0, center_mm=(0.0, -3000.0, 0.0)), [PA])


def test_rays_along_the_slices_are_refused() -> None:
    wide = chest_cone_beam("PA", Detector(6, 7, 4000.0))
    with pytest.raises(ValueError, match="beams must cross the volume's slices in one direction"):
        project(VOLUME, GRID, [wide])


def test_an_unknown_footprint_is_refused() -> None:
    with pytest.raises(ValueError, match='footprint must be "area" or "ray", got \'pixel\''):
        Footprint("pixel")


def test_a_window_off_the_film_is_refused() -> None:
    with pytest.raises(ValueError, match="rows must be a non-empty slice of step 1 within 6 pixels"):
        project(VOLUME, GRID, [PA], roi=(slice(6, 9), slice(0, 7)))

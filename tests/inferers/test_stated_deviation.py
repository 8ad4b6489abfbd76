"""What is stated of the error: beside closed forms, beside patients drawn at random, and wherever the volume lies."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from xct_components.geometry import VolumeGrid
from xct_components.inferers.pooled_variance import pooled_variance
from xct_components.inferers.stated_deviation import BENT_POOLED_MM, SAMPLES_POOLED_MM, stated_deviation, variance_of_bent
from xct_components.networks.multi_atlas import BentCts

SIDE = 16
GRID = VolumeGrid.chest((SIDE,) * 3, 320.0 / SIDE)


def bent_of(mean_hu: Tensor, variance_hu2: Tensor, patients: int, grid: VolumeGrid = GRID) -> BentCts:
    members, keys = torch.zeros(patients, 1, *mean_hu.shape[2:]), torch.arange(1, patients + 1)
    still = torch.zeros(patients, *mean_hu.shape[2:], 3)
    return BentCts(torch.zeros_like(mean_hu), members, keys, still, mean_hu, variance_hu2, grid, patients)


def of_patients(patients_hu: Tensor) -> BentCts:
    """Bent CTs (K, 1, D, H, W)."""
    return bent_of(patients_hu.mean(0, keepdim=True), patients_hu.var(0, keepdim=True), len(patients_hu))


def even(value: float, grid: VolumeGrid = GRID) -> Tensor:
    return torch.full((1, 1, *grid.shape), value)


def stated(volume_hu: Tensor, field: VolumeGrid = GRID, **told: object) -> Tensor:
    found = stated_deviation(volume_hu, field, **told)  # type: ignore[arg-type]
    assert found is not None
    return found


@pytest.mark.parametrize("patients", [2, 8])
def test_it_is_the_root_of_scatter_and_distance_from_the_mean(patients: int) -> None:
    found = stated(even(30.0), bent=bent_of(even(-10.0), even(900.0), patients))
    torch.testing.assert_close(found, even(math.sqrt((1.0 + 1.0 / patients) * 900.0 + 40.0**2)))


@pytest.mark.parametrize("patients", [2, 4, 16])
def test_one_more_patient_lies_so_far_from_the_mean_of_the_others(patients: int) -> None:
    """Squared distances of patients drawn alike, over thousands of voxels of one spread: no factor is needed."""
    drawn = 100.0 * torch.randn(patients + 1, 1, 24, 24, 24, generator=torch.Generator().manual_seed(patients))
    others, one_more = of_patients(drawn[1:]), drawn[:1]
    field = VolumeGrid.chest((24,) * 3, 80.0)  # voxels too large to be pooled
    bent = others._replace(grid=field)
    expected = (one_more - others.mean_hu).square().mean().sqrt()
    found = stated(others.mean_hu, field, bent=bent).square().mean().sqrt()
    # 13824 squares of a Gaussian have a mean that is known to 1.2 %, and so has their estimate
    assert float(found / expected) == pytest.approx(1.0, abs=0.03)


def test_samples_alone_are_pooled_and_both_add_in_squares() -> None:
    generator = torch.Generator().manual_seed(0)
    variance, volume = (1e4 * torch.rand(1, 1, SIDE, SIDE, SIDE, generator=generator) for _ in range(2))
    bent = bent_of(even(0.0), variance.flip(-1), 3)
    alone = stated(volume, variance_hu2=variance)
    torch.testing.assert_close(alone.square(), pooled_variance(variance, GRID.spacing_mm, SAMPLES_POOLED_MM))
    both = stated(volume, bent=bent, variance_hu2=variance)
    torch.testing.assert_close(both.square(), alone.square() + stated(volume, bent=bent).square())
    torch.testing.assert_close(stated(volume, bent=bent, variance_hu2=variance, factor=1.5), 1.5 * both)


def test_inputs_stay_as_they_were() -> None:
    variance, volume, bent = even(100.0), even(3.0), bent_of(even(1.0), even(4.0), 2)
    stated(volume, bent=bent, variance_hu2=variance, factor=2.0)
    for tensor, value in ((variance, 100.0), (volume, 3.0), (bent.mean_hu, 1.0), (bent.variance_hu2, 4.0)):
        assert torch.equal(tensor, even(value))


def test_nothing_and_one_ct_alone_tell_nothing() -> None:
    assert stated_deviation(even(0.0), GRID) is None
    one = bent_of(even(50.0), even(0.0), 1)
    assert stated_deviation(even(0.0), GRID, bent=one) is None
    torch.testing.assert_close(stated(even(0.0), bent=one, variance_hu2=even(100.0)), even(10.0))


def ramp(grid: VolumeGrid, along: int) -> Tensor:
    """10 HU and 1 HU more for every millimetre of the world along an axis, from -160 mm."""
    axes = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in grid.shape), indexing="ij")
    world = grid.world_from_voxels(torch.stack(axes, dim=-1))
    return (170.0 + world[..., along]).float()[None, None]


@pytest.mark.parametrize("along", [0, 1, 2])
@pytest.mark.parametrize("shape", [(16, 16, 16), (64, 64, 64), (20, 24, 12), (8, 8, 8)])
def test_what_it_says_of_a_place_does_not_depend_on_the_voxels(along: int, shape: tuple[int, int, int]) -> None:
    field = VolumeGrid.chest(shape, 320.0 / max(shape))
    found = stated(even(0.0, field), field, bent=bent_of(ramp(GRID, along) * 0.0, ramp(GRID, along).square(), 2))
    expected = math.sqrt(1.5) * ramp(field, along)
    inside = tuple(slice(n // 4, n - n // 4) for n in shape)  # edges are continued, and pooled over
    # the square of a ramp is interpolated between voxels of 20 mm: (20 mm)^2 / 8 of 170^2 mm^2
    torch.testing.assert_close(found[0, 0][inside], expected[0, 0][inside], rtol=0.01, atol=2.0)


def test_a_field_elsewhere_is_told_what_lies_there() -> None:
    field = VolumeGrid.chest((SIDE,) * 3, 320.0 / SIDE, (40.0, -20.0, 0.0))
    found = stated(even(0.0, field), field, bent=bent_of(even(0.0), ramp(GRID, 0).square(), 2))
    inside = (slice(4, -4),) * 3
    torch.testing.assert_close(found[0, 0][inside], (math.sqrt(1.5) * ramp(field, 0))[0, 0][inside], rtol=0.01, atol=2.0)


def test_the_volume_is_compared_where_it_lies() -> None:
    """A ramp in the world that the CTs have too: no distance, on any voxels."""
    for field in (VolumeGrid.chest((64,) * 3, 4.0, (20.0, 0.0, 10.0)), VolumeGrid.chest((10, 12, 14), 20.0)):
        bent = bent_of(ramp(GRID, 2), even(0.0), 4)
        there = variance_of_bent(ramp(field, 2), field, bent)[0, 0][tuple(slice(n // 4, n - n // 4) for n in field.shape)]
        assert float(there.sqrt().max()) < 2.0  # of 320 HU over the field


def test_pooling_widens_by_its_width() -> None:
    variance = even(0.0)
    variance[..., SIDE // 2, SIDE // 2, SIDE // 2] = 1e6
    spread = [
        float(variance_of_bent(even(0.0), GRID, bent_of(even(0.0), variance, 2), mm).amax())
        for mm in (BENT_POOLED_MM, 20.0, 60.0)
    ]
    assert spread == sorted(spread, reverse=True)
    assert spread[0] > 0.8 * 1.5e6 > 10 * spread[2]

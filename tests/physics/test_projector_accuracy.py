"""The projector against closed forms and against slow float64 twins."""

from __future__ import annotations

import itertools
import math
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.oracles.bodies import Blob, Body, Box, Ellipsoid
from tests.oracles.rays import pixel_means, rays_through
from tests.oracles.slow_projectors import joseph, siddon
from xct_components.geometry import Beam, ChestView, Detector, VolumeGrid, chest_cone_beam, chest_parallel_beam
from xct_components.physics.projection_operator import FootprintName
from xct_components.physics.projector import backproject, project, sample_along_rays

#: Relative L2 that linear interpolation of 2.8 mm voxels leaves on a blob of sigma 40 mm: h^2 / (6 sigma^2) = 8e-4 at its peak.
RAY_BLOB = 6e-4
#: The issue's bar for the area footprint against pixel-averaged truth.
AREA_BLOB = 5e-4
#: A voxelised sphere's limb is wrong by up to half a voxel; two 2.8 mm voxels of 120 mm radius.
LIMB, INTERIOR = 1.1e-2, 1e-3
#: Float64 sums of a few hundred terms in another order.
FLOAT64 = 1e-11


GRID_128 = VolumeGrid.chest((128, 128, 128), 360.0 / 128)
#: World row of each voxel axis in the PIL orientation.
FROM_PIL = ((1, 0), (2, 1), (0, 2))
SPHERE = Ellipsoid(torch.tensor([12.0, -9.0, 15.0]).double(), torch.full((3,), 120.0).double(), torch.eye(3).double())


def turned(angle_rad: float) -> Tensor:
    """Rotation about (1, 2, 3)."""
    axis = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    x, y, z = (axis / axis.norm()).tolist()
    cross = torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64)
    return torch.linalg.matrix_exp(cross * angle_rad)


def blob(
    center: tuple[float, float, float] = (12.0, -9.0, 15.0), sigma: tuple[float, float, float] = (40.0, 40.0, 40.0)
) -> Blob:
    return Blob(torch.tensor(center).double(), torch.tensor(sigma).double(), turned(0.7))


def centers_mm(grid: VolumeGrid) -> Tensor:
    axes = [torch.arange(n, dtype=torch.float64) for n in grid.shape]
    return grid.world_from_voxels(torch.stack(torch.meshgrid(*axes, indexing="ij"), -1))


def sampled(body: Body, grid: VolumeGrid, per_voxel: int = 1) -> Tensor:
    """(1, 1, D, H, W): the body's density at voxel centres, or its mean over per_voxel^3 points of each voxel."""
    within = ((torch.arange(per_voxel, dtype=torch.float64) + 0.5) / per_voxel - 0.5).tolist()
    steps, centers = grid.affine[:3, :3], centers_mm(grid)
    offsets = [steps @ torch.tensor([a, b, c]).double() for a in within for b in within for c in within]
    return sum(body.density(centers + offset) for offset in offsets)[None, None] / len(offsets)  # type: ignore[index]


@cache
def sphere_at_128() -> Tensor:
    """SPHERE's density in GRID_128, 3^3 points a voxel: the squared distance separates, so this takes a second."""
    within = torch.tensor([-1.0, 0.0, 1.0]).double() / 3
    axes = [torch.arange(128).double()[:, None] + within for _ in range(3)]
    world = [
        grid_axis * GRID_128.affine[row, col] + GRID_128.affine[row, 3]
        for grid_axis, (row, col) in zip(axes, FROM_PIL, strict=True)
    ]
    d, h, w = ((x - SPHERE.center_mm[row]).square() for x, (row, _) in zip(world, FROM_PIL, strict=True))
    total = torch.zeros(128, 128, 128)
    for i, j, k in itertools.product(range(3), repeat=3):
        total += (d[:, i, None, None] + h[None, :, j, None] + w[None, None, :, k]) < SPHERE.half_axes_mm[0] ** 2
    return (total / 27)[None, None]


def truth(body: Body, beam: Beam, per_pixel: int) -> Tensor:
    return pixel_means(body.line_integrals(*rays_through(beam, per_pixel)), per_pixel)


def relative_l2(got: Tensor, expected: Tensor) -> float:
    return float((got - expected).norm() / expected.norm())


def chest_film(pixels: int, view: ChestView = "PA") -> Beam:
    return chest_cone_beam(view, Detector(pixels, pixels, 430.0 / pixels))


@pytest.mark.parametrize(("footprint", "per_pixel", "bar"), [("ray", 1, RAY_BLOB), ("area", 8, AREA_BLOB)])
def test_a_blob_at_128_projects_to_its_closed_form(footprint: FootprintName, per_pixel: int, bar: float) -> None:
    film = project(sampled(blob(), GRID_128).float(), GRID_128, [chest_film(128)], footprint=footprint)[0, 0, 0]
    assert relative_l2(film.double(), truth(blob(), chest_film(128), per_pixel)) < bar


@pytest.mark.parametrize(("footprint", "per_pixel"), [("ray", 1), ("area", 8)])
def test_a_sphere_at_128_projects_to_its_chords(footprint: FootprintName, per_pixel: int) -> None:
    beam = chest_film(128)
    film = project(sphere_at_128(), GRID_128, [beam], footprint=footprint)[0, 0, 0].double()
    expected = truth(SPHERE, beam, per_pixel)
    interior = SPHERE.clear_of_limb(*rays_through(beam), share=0.9)
    assert relative_l2(film, expected) < LIMB
    assert relative_l2(film[interior], expected[interior]) < INTERIOR


@pytest.mark.parametrize("view", ["PA", "AP", "LL", "RL"])
@pytest.mark.parametrize("footprint", ["ray", "area"])
def test_an_oblique_blob_in_anisotropic_voxels_projects_to_its_closed_form_in_every_view(
    view: ChestView, footprint: FootprintName
) -> None:
    grid = VolumeGrid.chest((60, 72, 96), (6.0, 5.0, 3.75), center_mm=(4.0, -7.0, 3.0))
    body, beam = blob(sigma=(55.0, 35.0, 45.0)), chest_film(96, view)
    film = project(sampled(body, grid), grid, [beam], footprint=footprint)[0, 0, 0]
    # 6 mm voxels: (6 / 2.8)^2 of the error at 2.8 mm.
    assert relative_l2(film, truth(body, beam, 1 if footprint == "ray" else 6)) < 4.6 * RAY_BLOB


@pytest.mark.parametrize("footprint", ["ray", "area"])
def test_an_oblique_pose_and_a_sheared_volume_project_to_the_closed_form(footprint: FootprintName) -> None:
    affine = VolumeGrid.chest((64, 72, 80), (5.5, 5.0, 4.5)).affine
    affine[2, 0] += 5.5 * math.tan(0.3)  # gantry tilt: slices shift along the body
    affine[:3, 3] += torch.tensor([0.0, 0.0, -60.0])
    motion = torch.eye(4).double()
    motion[:3, :3] = turned(0.35)
    grid, beam, body = (
        VolumeGrid.from_affine((64, 72, 80), affine),
        chest_film(80).moved(motion),
        blob(sigma=(35.0, 30.0, 40.0)),
    )
    film = project(sampled(body, grid), grid, [beam], footprint=footprint)[0, 0, 0]
    expected = truth(body, beam, 1 if footprint == "ray" else 6)
    # Larger voxels, a smaller blob, and its tails leave the tilted volume.
    assert relative_l2(film, expected) < 4e-3


@pytest.mark.parametrize("shape", [Ellipsoid, Box])
def test_an_oblique_ellipsoid_and_an_oblique_box_project_to_their_chords(shape: type[Ellipsoid] | type[Box]) -> None:
    grid, beam = VolumeGrid.chest((64, 64, 64), 5.6), chest_film(64)
    body = shape(torch.tensor([-14.0, 10.0, 6.0]).double(), torch.tensor([90.0, 70.0, 80.0]).double(), turned(0.5))
    film = project(sampled(body, grid, per_voxel=3), grid, [beam])[0, 0, 0]
    # The limb of a body half as large in voxels as the sphere above, and the box has edges all over the film.
    assert relative_l2(film, truth(body, beam, 6)) < 2.5 * LIMB


@pytest.mark.parametrize("footprint", ["ray", "area"])
def test_the_error_falls_with_the_square_of_the_voxel_size(footprint: FootprintName) -> None:
    # 41 pixels: no simple ratio to the voxels, so that rays cross them at all phases. Its tails end 6 sigma before the volume.
    body, beam, errors = blob(sigma=(28.0, 28.0, 28.0)), chest_film(41), []
    for voxels in (24, 48, 96):
        grid = VolumeGrid.chest((voxels,) * 3, 360.0 / voxels)
        film = project(sampled(body, grid), grid, [beam], footprint=footprint)[0, 0, 0]
        errors.append(relative_l2(film, truth(body, beam, 1 if footprint == "ray" else 8)))
    orders = [math.log2(coarse / fine) for coarse, fine in itertools.pairwise(errors)]
    assert min(orders) > 1.8, orders  # 2 in the limit


@pytest.mark.parametrize("turn_rad", [0.0, 0.4])
def test_the_ray_footprint_is_joseph_ray_by_ray_in_any_pose(turn_rad: float) -> None:
    torch.manual_seed(0)
    motion = torch.eye(4).double()
    motion[:3, :3] = turned(turn_rad)
    grid, beam = VolumeGrid.chest((9, 11, 10), (30.0, 28.0, 33.0)), chest_film(12).moved(motion)
    mu, world = torch.rand(grid.shape, dtype=torch.float64), grid.voxel_from_world.numpy()
    origin, direction = (x.numpy() for x in rays_through(beam))
    expected = [[joseph(mu.numpy(), world, origin[r, c], direction[r, c], 0) for c in range(12)] for r in range(12)]
    film = project(mu[None, None], grid, [beam], footprint="ray")[0, 0, 0]
    torch.testing.assert_close(film, torch.tensor(expected, dtype=torch.float64), rtol=FLOAT64, atol=FLOAT64)


def test_siddon_agrees_where_voxels_do_not_differ_within_slices() -> None:
    torch.manual_seed(0)
    grid, beam = VolumeGrid.chest((12, 40, 40), (30.0, 9.0, 9.0)), chest_parallel_beam("PA", Detector(10, 10, 20.0))
    mu = torch.rand(12, 1, 1, dtype=torch.float64).expand(grid.shape).contiguous()
    origin, direction = (x.numpy() for x in rays_through(beam))
    expected = [
        [siddon(mu.numpy(), grid.voxel_from_world.numpy(), origin[r, c], direction[r, c]) for c in range(10)] for r in range(10)
    ]
    for footprint in ("ray", "area"):
        film = project(mu[None, None], grid, [beam], footprint=footprint)[0, 0, 0]
        np.testing.assert_allclose(film.numpy(), np.array(expected), rtol=FLOAT64)


def test_siddon_agrees_on_a_smooth_body_ever_better_as_voxels_shrink() -> None:
    beam, body, errors = chest_film(12), blob(), []
    origin, direction = (x.numpy() for x in rays_through(beam))
    for voxels in (18, 36, 72):
        grid = VolumeGrid.chest((voxels,) * 3, 360.0 / voxels)
        mu = sampled(body, grid)
        world = grid.voxel_from_world.numpy()
        expected = [[siddon(mu[0, 0].numpy(), world, origin[r, c], direction[r, c]) for c in range(12)] for r in range(12)]
        film = project(mu, grid, [beam], footprint="ray")[0, 0, 0]
        errors.append(relative_l2(film, torch.tensor(expected, dtype=torch.float64)))
    # Siddon's constant voxels are off by h / sqrt(12) in position: first order, 1.4 mm of a blob of 40 mm at 5 mm voxels.
    assert errors[2] < 0.6 * errors[1] < 0.6 * 0.6 * errors[0]
    assert errors[2] < 1.4 / 40


def test_an_aligned_parallel_beam_is_the_sum_of_the_slices_times_their_spacing() -> None:
    torch.manual_seed(0)
    grid, beam = VolumeGrid.chest((20, 16, 18), (2.5, 3.0, 4.0)), chest_parallel_beam("PA", Detector(16, 18, (3.0, 4.0)))
    mu = torch.rand(1, 1, *grid.shape)
    film = project(mu, grid, [beam], footprint="ray")[0, 0, 0]
    torch.testing.assert_close(film, mu[0, 0].sum(0) * 2.5, rtol=1e-6, atol=0.0)  # float32 sums of 20 terms


@pytest.mark.parametrize("view", ["PA", "LL"])
@pytest.mark.parametrize("pitch_mm", [2.0, 4.3, 11.0])
def test_no_mass_is_lost_on_a_film_that_holds_the_whole_shadow(view: ChestView, pitch_mm: float) -> None:
    body, pixels = blob(sigma=(24.0, 30.0, 27.0)), round(420 / pitch_mm)
    grid = VolumeGrid.chest((84, 84, 84), 4.3, center_mm=(12.0, -9.0, 15.0))
    beam = chest_parallel_beam(view, Detector(pixels, pixels, pitch_mm), isocenter_mm=(12.0, -9.0, 15.0))
    film = project(sampled(body, grid), grid, [beam])
    # Sums of a Gaussian converge faster than any power. What is left is the beat of voxels and pixels in the coverage ripple.
    assert float(film.sum()) * pitch_mm**2 == pytest.approx(body.mass(), rel=3e-6)


@pytest.mark.parametrize("pixels", [128, 64, 32])
def test_no_voxel_inside_the_beam_goes_without_gradient(pixels: int) -> None:
    beam = chest_film(pixels)
    gradient = backproject(torch.ones(1, 1, 1, pixels, pixels), GRID_128, [beam])[0, 0]
    inside = sample_along_rays(torch.ones(1, 1, 1, pixels, pixels), GRID_128, [beam])[0, 0, 0] > 0.5  # shadow on the film
    assert bool((gradient[inside] > 0).all())


@pytest.mark.parametrize("pitch_voxels", [0.4, 0.8, 1.06, 1.3, 2.0, 3.7])
def test_every_voxel_counts_alike_on_a_film_of_any_pitch(pitch_voxels: float) -> None:
    pitch_mm = 4.0 * pitch_voxels
    beam = chest_parallel_beam("PA", Detector(round(240 / pitch_mm), round(240 / pitch_mm), pitch_mm))
    grid = VolumeGrid.chest((3, 40, 40), 4.0)
    weight = backproject(torch.ones(1, 1, 1, beam.detector.rows, beam.detector.cols).double(), grid, [beam])[0, 0]
    per_pixel_mm = weight * pitch_voxels**2 / 4.0
    # COVERAGE_RIPPLE (0.5 %) bounds the first harmonic along each of two axes; the higher ones together stay below it too.
    assert float((per_pixel_mm - 1).abs().max()) < 0.02

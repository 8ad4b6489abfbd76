"""What must hold for any projector, whatever its accuracy: adjoint, derivatives, equivariance, layout, determinism."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from tests.geometry.strategies import rigid_motions
from xct_components.geometry import Beam, ChestView, Detector, VolumeGrid, chest_cone_beam, chest_parallel_beam
from xct_components.physics.linear_operator import apply_linear
from xct_components.physics.projection_operator import FootprintName, projection_operator, readout_operator
from xct_components.physics.projector import backproject, project, sample_along_rays

#: The issue's bars: float32 rounding of a few hundred products; the same in float64 with room for cancellation.
ADJOINT = {torch.float32: 1e-6, torch.float64: 1e-12}
#: Float64 results computed in another order.
FLOAT64 = 1e-10
#: Likewise, but the area footprint's box opens like a square root where pixel and voxel are alike: 1e-16 turns into 1e-8.
SAME: dict[FootprintName, float] = {"ray": FLOAT64, "area": 1e-7}

GRID = VolumeGrid.chest((20, 24, 28), (7.0, 6.0, 5.0), center_mm=(3.0, -2.0, 5.0))
FILM = Detector(17, 23, (9.0, 8.0))
TILT = torch.tensor([[0.96, -0.28, 0, 10], [0.28, 0.96, 0, -5], [0, 0, 1, 8], [0, 0, 0, 1]], dtype=torch.float64)

BEAMS: dict[str, Beam] = {
    "cone PA": chest_cone_beam("PA", FILM),
    "cone AP": chest_cone_beam("AP", FILM),
    "cone LL": chest_cone_beam("LL", FILM),
    "cone from above": chest_cone_beam("PA", FILM).moved([[1, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]]),
    "parallel PA": chest_parallel_beam("PA", FILM),
    "parallel LL": chest_parallel_beam("LL", FILM),
    "oblique cone": chest_cone_beam("PA", FILM).moved(TILT),
    "oblique parallel": chest_parallel_beam("LL", FILM).moved(TILT),
}
FOOTPRINTS: tuple[FootprintName, ...] = ("area", "ray")
every_beam = pytest.mark.parametrize("beam", BEAMS.values(), ids=BEAMS.keys())
every_footprint = pytest.mark.parametrize("footprint", FOOTPRINTS)


def noise(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    """Zero-mean white noise: harder for an adjoint than positive numbers, whose errors hide behind large sums."""
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def float64(values: tuple[float, ...]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def adjoint_error(forward: Tensor, back: Tensor, x: Tensor, y: Tensor) -> float:
    left, right = (forward.double() * y.double()).sum(), (x.double() * back.double()).sum()
    return float((left - right).abs() / (forward.double().norm() * y.double().norm()))


@every_beam
@every_footprint
@pytest.mark.parametrize("dtype", ADJOINT, ids=str)
def test_backprojection_is_the_exact_adjoint_of_projection(beam: Beam, footprint: FootprintName, dtype: torch.dtype) -> None:
    x, y = noise(2, 3, *GRID.shape, dtype=dtype), noise(2, 1, 3, 17, 23, dtype=dtype, seed=1)
    film, volume = project(x, GRID, [beam], footprint=footprint), backproject(y, GRID, [beam], footprint=footprint)
    assert adjoint_error(film, volume, x, y) < ADJOINT[dtype]
    # Against itself the product cannot cancel: <Ax, Ax> = <x, At A x>.
    again = backproject(film, GRID, [beam], footprint=footprint)
    assert adjoint_error(film, again, x, film) < ADJOINT[dtype]


@pytest.mark.parametrize("view", ["PA", "LL"])
def test_the_adjoint_is_exact_at_the_size_of_a_chest_film(view: ChestView) -> None:
    grid, beam = VolumeGrid.chest((128, 128, 128), 2.5), chest_cone_beam(view, Detector(128, 128, 2.8))
    x, y = noise(1, 1, *grid.shape, dtype=torch.float32), noise(1, 1, 1, 128, 128, dtype=torch.float32, seed=1)
    assert adjoint_error(project(x, grid, [beam]), backproject(y, grid, [beam]), x, y) < ADJOINT[torch.float32]


@every_beam
def test_reading_a_film_along_rays_has_an_exact_adjoint(beam: Beam) -> None:
    film, volume = noise(3, 17, 23), noise(3, *GRID.shape, seed=1)
    operator = readout_operator(GRID, beam)
    assert adjoint_error(operator(film), operator.adjoint(volume), film, volume) < ADJOINT[torch.float64]


@every_beam
def test_the_adjoint_of_the_adjoint_is_the_operator(beam: Beam) -> None:
    x = noise(2, *GRID.shape)
    for operator in (projection_operator(GRID, beam), readout_operator(GRID, beam).adjoint):
        assert torch.equal(operator.adjoint.adjoint(x), operator(x))


@every_footprint
@pytest.mark.parametrize("name", ["cone LL", "parallel PA", "oblique cone"])
def test_first_and_second_derivatives_are_those_of_the_function(name: str, footprint: FootprintName) -> None:
    grid = VolumeGrid.chest((5, 4, 6), 30.0)
    beam = BEAMS[name].resampled(5, 4)
    x = noise(1, 1, 5, 4, 6).requires_grad_()

    def squared(volume: Tensor) -> Tensor:
        return project(volume, grid, [beam], footprint=footprint).square()

    assert torch.autograd.gradcheck(squared, x, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(squared, x)


@pytest.mark.parametrize("name", ["cone PA", "oblique cone"])
def test_reading_along_rays_and_backprojection_are_differentiable_twice(name: str) -> None:
    grid, beam = VolumeGrid.chest((3, 4, 5), 40.0), BEAMS[name].resampled(4, 3)
    film = noise(1, 1, 2, 4, 3).requires_grad_()
    for operator in (sample_along_rays, backproject):
        assert torch.autograd.gradcheck(lambda y, op=operator: op(y, grid, [beam]) ** 2, film)
        assert torch.autograd.gradgradcheck(lambda y, op=operator: op(y, grid, [beam]) ** 2, film)


@given(motion=rigid_motions(), name=st.sampled_from(["cone PA", "parallel LL"]), footprint=st.sampled_from(FOOTPRINTS))
def test_moving_the_patient_equals_moving_the_rig_inversely(motion: object, name: str, footprint: FootprintName) -> None:
    grid, beam = VolumeGrid.chest((7, 8, 9), 30.0), BEAMS[name]
    forth = torch.as_tensor(motion, dtype=torch.float64)
    x = noise(1, 1, 7, 8, 9)
    # The rig follows a patient who moved: nothing changes. Equality up to the rounding of 500 mm shifts.
    still = project(x, grid, [beam], footprint=footprint)
    together = project(x, grid.moved(forth), [beam.moved(forth)], footprint=footprint)
    torch.testing.assert_close(together, still, rtol=0.0, atol=1e-4)


def test_a_small_turn_of_the_patient_equals_the_opposite_turn_of_the_rig() -> None:
    x, beam = noise(1, 1, *GRID.shape), BEAMS["cone PA"]
    for footprint in FOOTPRINTS:
        patient = project(x, GRID.moved(TILT), [beam], footprint=footprint)
        rig = project(x, GRID, [beam.moved(torch.linalg.inv(TILT))], footprint=footprint)
        torch.testing.assert_close(patient, rig, rtol=FLOAT64, atol=FLOAT64)


@pytest.mark.parametrize("name", ["cone PA", "cone LL", "parallel LL", "oblique cone"])
@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
def test_storing_the_same_volume_in_another_axis_order_or_direction_changes_nothing(
    name: str, order: tuple[int, int, int]
) -> None:
    x, beam = noise(1, 2, *GRID.shape), BEAMS[name]
    expected = {footprint: project(x, GRID, [beam], footprint=footprint) for footprint in FOOTPRINTS}
    for flips in itertools.product((False, True), repeat=3):
        stored, affine = x.permute(0, 1, *(2 + axis for axis in order)), GRID.affine[:, [*order, 3]]
        for axis in range(3):
            if flips[axis]:
                stored = stored.flip(2 + axis)
                affine[:3, 3] += affine[:3, axis] * (stored.shape[2 + axis] - 1)
                affine[:3, axis] *= -1
        grid = VolumeGrid.from_affine(tuple(stored.shape[2:]), affine)
        for footprint in FOOTPRINTS:
            film = project(stored, grid, [beam], footprint=footprint)
            torch.testing.assert_close(film, expected[footprint], rtol=SAME[footprint], atol=SAME[footprint])


@every_footprint
def test_the_separable_and_the_general_path_agree_on_the_same_rays(footprint: FootprintName) -> None:
    turn = 1e-5  # radians: enough to leave the aligned path, 4e-4 voxels over the film
    spin = torch.eye(4).double()
    spin[0, 0], spin[0, 1], spin[1, 0], spin[1, 1] = 1.0, -turn, turn, 1.0
    grid = VolumeGrid.chest((40, 40, 40), 6.0)
    center = grid.world_from_voxels(torch.stack(torch.meshgrid(*[torch.arange(40.0)] * 3, indexing="ij"), -1))
    smooth = torch.exp(-center.square().sum(-1) / (2 * 40.0**2))[None, None]
    beam = chest_cone_beam("PA", Detector(60, 60, 4.0)).moved([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    aligned, general = (project(smooth, grid, [rig], footprint=footprint) for rig in (beam, beam.moved(spin)))
    assert type(projection_operator(grid, beam, footprint)) is not type(projection_operator(grid, beam.moved(spin), footprint))
    # The turn itself moves rays by 1e-3 mm; the general path averages the area by a few rays instead of exactly.
    assert float((aligned - general).norm() / aligned.norm()) < 2e-4


@every_beam
def test_a_window_of_the_film_is_that_part_of_the_whole_film(beam: Beam) -> None:
    x, roi = noise(1, 2, *GRID.shape), (slice(3, 9), slice(11, 20))
    padded, y = torch.zeros(1, 1, 2, 17, 23, dtype=torch.float64), noise(1, 1, 2, 6, 9)
    padded[..., roi[0], roi[1]] = y
    for footprint, close in SAME.items():
        window, whole = (project(x, GRID, [beam], footprint=footprint, roi=part) for part in (roi, None))
        torch.testing.assert_close(window, whole[..., roi[0], roi[1]], rtol=close, atol=close)
        back = backproject(y, GRID, [beam], footprint=footprint, roi=roi)
        torch.testing.assert_close(back, backproject(padded, GRID, [beam], footprint=footprint), rtol=close, atol=close)


@every_beam
def test_the_films_of_a_volumes_tiles_add_up_to_the_films_of_the_volume(beam: Beam) -> None:
    x, total = noise(1, 1, *GRID.shape), torch.zeros(1, 1, 1, 17, 23, dtype=torch.float64)
    for d, h, w in itertools.product((0, 10), (0, 12), (0, 14)):
        tile = x[..., d : d + 10, h : h + 12, w : w + 14]
        total += project(tile, GRID.crop((d, h, w), (10, 12, 14)), [beam], footprint="ray")
    torch.testing.assert_close(total, project(x, GRID, [beam], footprint="ray"), rtol=FLOAT64, atol=FLOAT64)


def test_every_view_channel_and_sample_is_projected_on_its_own() -> None:
    x, views = noise(3, 2, *GRID.shape), [BEAMS["cone PA"], BEAMS["oblique cone"], BEAMS["parallel LL"]]
    films = project(x, GRID, views)
    assert films.shape == (3, 3, 2, 17, 23)
    for sample, view, channel in itertools.product(range(3), range(3), range(2)):
        alone = project(x[sample : sample + 1, channel : channel + 1], GRID, [views[view]])[0, 0, 0]
        torch.testing.assert_close(films[sample, view, channel], alone, rtol=FLOAT64, atol=FLOAT64)


def test_a_batch_may_have_its_own_grid_and_beams_per_sample() -> None:
    x, y = noise(2, 1, *GRID.shape), noise(2, 2, 1, 17, 23)
    grids = [GRID, VolumeGrid.chest(GRID.shape, (6.0, 7.0, 6.0))]
    rigs = [[BEAMS["cone PA"], BEAMS["cone LL"]], [BEAMS["cone AP"], BEAMS["oblique cone"]]]
    films, volumes, lifted = project(x, grids, rigs), backproject(y, grids, rigs), sample_along_rays(y, grids, rigs)
    for i in range(2):
        assert torch.equal(films[i : i + 1], project(x[i : i + 1], grids[i], rigs[i]))
        assert torch.equal(volumes[i : i + 1], backproject(y[i : i + 1], grids[i], rigs[i]))
        assert torch.equal(lifted[i : i + 1], sample_along_rays(y[i : i + 1], grids[i], rigs[i]))


@every_beam
def test_the_same_call_gives_the_same_bits_on_one_and_on_two_threads(beam: Beam) -> None:
    x, threads = noise(1, 1, *GRID.shape, dtype=torch.float32), torch.get_num_threads()
    try:
        runs = []
        for count in (1, 2, 2):
            torch.set_num_threads(count)
            film = project(x, GRID, [beam])
            runs.append((film, backproject(film, GRID, [beam])))
    finally:
        torch.set_num_threads(threads)
    for film, volume in runs[1:]:
        assert torch.equal(film, runs[0][0])
        assert torch.equal(volume, runs[0][1])


@every_beam
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_volumes_are_accumulated_in_float32(beam: Beam, dtype: torch.dtype) -> None:
    x = noise(1, 1, *GRID.shape, dtype=torch.float32).to(dtype).requires_grad_()
    film = project(x, GRID, [beam])
    assert film.dtype == torch.float32
    torch.testing.assert_close(film, project(x.detach().float(), GRID, [beam]), rtol=1e-6, atol=1e-5)  # sum order at most
    film.sum().backward()
    assert x.grad is not None
    assert x.grad.dtype == dtype


def test_nothing_of_the_volume_is_kept_for_backward() -> None:
    saved: list[Tensor] = []
    x = noise(1, 1, *GRID.shape).requires_grad_()

    def keep(tensor: Tensor) -> Tensor:
        saved.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        project(x, GRID, [BEAMS["cone PA"]])
    assert all(t.numel() < x.numel() for t in saved)


def test_voxels_outside_the_beam_get_no_film_values_and_give_none() -> None:
    beam = chest_cone_beam("PA", Detector(5, 5, 8.0))  # a 40 mm film in the middle of the chest
    volume = backproject(torch.ones(1, 1, 1, 5, 5), GRID, [beam])[0, 0]
    lifted = sample_along_rays(torch.ones(1, 1, 1, 5, 5), GRID, [beam])[0, 0, 0]
    assert float(volume[:, 0].abs().max()) == 0.0 == float(lifted[:, 0].abs().max())
    assert float(volume[10, 12, 14]) > 0.0
    assert float(lifted[10, 12, 14]) == pytest.approx(1.0)


@every_beam
def test_every_voxel_reads_the_film_where_its_shadow_falls(beam: Beam) -> None:
    """A film whose value is its own column and row: what a voxel reads is its shadow, here computed in world millimetres."""
    rows, cols = torch.meshgrid(torch.arange(17.0).double(), torch.arange(23.0).double(), indexing="ij")
    read = sample_along_rays(torch.stack((rows, cols))[None, None], GRID, [beam])[0, 0]
    for voxel in ((4, 6, 9), (10, 12, 14), (15, 9, 20)):
        world = GRID.world_from_voxels(torch.tensor([voxel]))[0]
        source, center = beam.source_homogeneous, float64(beam.detector_center_mm)
        ray = world - source[:3] if source[3] else source[:3]
        normal = float64(beam.normal)
        shadow = world + ray * float((center - world) @ normal / (ray @ normal))
        row = float((shadow - center) @ float64(beam.row_direction)) / 9.0 + 8.0
        col = float((shadow - center) @ float64(beam.col_direction)) / 8.0 + 11.0
        assert read[(slice(None), *voxel)].tolist() == pytest.approx([row, col], abs=1e-9)


def test_the_operator_is_linear() -> None:
    operator = projection_operator(GRID, BEAMS["cone PA"])
    a, b = noise(1, *GRID.shape), noise(1, *GRID.shape, seed=1)
    combined = apply_linear(operator, 2.0 * a - 3.0 * b)
    torch.testing.assert_close(combined, 2.0 * operator(a) - 3.0 * operator(b), rtol=FLOAT64, atol=FLOAT64)

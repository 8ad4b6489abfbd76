"""Ray consistency on real anatomy: one patient's film, another patient's volume."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import itk
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from xct_components.geometry import Beam, Detector, VolumeGrid, chest_beam_covering, chest_parallel_beam
from xct_components.physics import ray_sharing, separable_projection
from xct_components.physics.attenuation import FILM_ENERGY_KEV, hu_to_mu_per_mm, water_mu_per_mm
from xct_components.physics.consistency import (
    Consistency,
    HardConsistency,
    NoConsistency,
    SoftConsistency,
    corrected_along_rays,
    relative_film_error,
)
from xct_components.physics.film_edges import FADE_MM, grown_beam, unseen_margins
from xct_components.physics.gain_and_offset import believed_gain_offset
from xct_components.physics.projector import project

DATA = Path(__file__).parents[1] / "data"
GRID = VolumeGrid.chest((64, 64, 64), 5.0)
PA = chest_beam_covering(GRID, "PA", 64, 64)
LL = chest_beam_covering(GRID, "LL", 64, 64)


def chest(name: str) -> Tensor:
    """(1, 1, 64, 64, 64) mu of a CIP chest on GRID: resampled about the volume's middle, LPS header to RAS by hand."""
    image = itk.imread(str(DATA / name))
    values = torch.from_numpy(np.array(itk.array_view_from_image(image), dtype=np.float32))  # (z, y, x)
    spacing, origin = np.array(image.GetSpacing()), np.array(image.GetOrigin())
    direction = np.array(image.GetDirection())
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = direction * spacing, origin
    affine[:2] *= -1  # LPS to RAS
    stored = VolumeGrid.from_affine(values.shape, affine[:, [2, 1, 0, 3]])
    here = VolumeGrid.chest(GRID.shape, 5.0, center_mm=stored.center_mm)
    centers = here.world_from_voxels(torch.stack(torch.meshgrid(*[torch.arange(64.0)] * 3, indexing="ij"), -1))
    voxel = stored.voxels_from_world(centers)
    where = ((2 * voxel + 1) / torch.tensor(values.shape) - 1).flip(-1).float()[None]
    ct_hu = F.grid_sample(values[None, None] + 1024, where, align_corners=False) - 1024
    return hu_to_mu_per_mm(ct_hu)


@pytest.fixture(scope="module")
def patient() -> Tensor:
    return chest("cip-ct-64.nrrd")


@pytest.fixture(scope="module")
def prior() -> Tensor:
    """Another patient, blurred over 35 mm: what a mean chest looks like."""
    other = chest("cip-test-input.nrrd")
    return F.avg_pool3d(F.pad(other, (3,) * 6, mode="replicate"), 7, stride=1)


def assert_equal_but_for_rounding(volume: Tensor, expected: Tensor) -> None:
    """Slabs are summed in another order: single precision, a few units in the last place of water's 0.02 per mm."""
    torch.testing.assert_close(volume, expected, rtol=2e-5, atol=5e-8)


def errors(volume: Tensor, film: Tensor, beams: Sequence[Beam]) -> list[float]:
    return relative_film_error(volume, film, GRID, beams)[0].tolist()


def test_the_prior_explains_another_patients_film_after_one_sweep_and_better_after_two(patient: Tensor, prior: Tensor) -> None:
    film = project(patient, GRID, [PA])
    before = errors(prior, film, [PA])[0]
    after = [errors(corrected_along_rays(prior, film, GRID, [PA], sweeps=n), film, [PA])[0] for n in (1, 2, 3)]
    assert before > 0.2  # otherwise there is nothing to show
    assert after[0] <= 0.02  # the bars
    assert after[1] <= 0.006
    assert after[2] <= 0.006  # a third sweep does no harm; what is left is finer than the voxels can follow


def test_an_even_film_scales_an_even_volume_exactly_in_one_sweep() -> None:
    """A ratio that is the same on all rays: blur and sharpening leave it alone, so the closed form is mu * y / (mu * depth)."""
    grid, beam = VolumeGrid.chest((6, 5, 7), 10.0), chest_parallel_beam("PA", Detector(3, 5, 10.0))
    mu, film = torch.full((1, 1, 6, 5, 7), 0.01).double(), torch.full((1, 1, 1, 3, 5), 0.9).double()
    corrected = corrected_along_rays(mu, film, grid, [beam])
    # Beside the film, which shows 3 x 5 of 5 x 7 voxels, a pixel of 10 mm away on either axis, the correction has faded.
    rows, cols = ([math.exp(-10.0 / FADE_MM), *[1.0] * seen, math.exp(-10.0 / FADE_MM)] for seen in (3, 5))
    share = torch.tensor(rows).double()[:, None] * torch.tensor(cols).double()
    expected = mu * (1.0 + share * (0.9 / (0.01 * 60.0) - 1.0))
    torch.testing.assert_close(corrected, expected, rtol=1e-5, atol=0.0)  # the area box is never narrower than 1e-6 voxels


def lung_between_muscles() -> tuple[Tensor, VolumeGrid, Beam]:
    """(1, 1, 60, 48, 48): 50 mm each of muscle, lung of a quarter of its density, and muscle, behind each other."""
    grid, water = VolumeGrid.chest((60, 48, 48), 2.5), water_mu_per_mm(FILM_ENERGY_KEV)
    mu = torch.full((1, 1, 60, 48, 48), water, dtype=torch.float64)
    mu[:, :, 20:40] *= 0.25
    return mu, grid, chest_parallel_beam("PA", Detector(48, 48, 2.5))


def coarse_share(mu: Tensor) -> Tensor:
    """The formula by hand."""
    return mu / (1.0 + (mu / (0.7 * water_mu_per_mm(FILM_ENERGY_KEV))) ** 4)


@pytest.mark.parametrize("gain", [0.9, 1.1])
def test_a_difference_over_the_whole_film_goes_to_lung_rather_than_muscle(gain: float) -> None:
    mu, grid, beam = lung_between_muscles()
    share = coarse_share(mu)
    corrected = corrected_along_rays(mu, project(mu, grid, [beam]) * gain, grid, [beam])
    expected = mu + share * (gain - 1.0) * float(mu[0, 0, :, 0, 0].sum() / share[0, 0, :, 0, 0].sum())
    torch.testing.assert_close(corrected, expected, rtol=1e-5, atol=0.0)  # the area box is never narrower than 1e-6 voxels
    lung, muscle = (corrected / mu)[0, 0, [30, 50], 24, 24] - 1.0
    assert float(lung / muscle) == pytest.approx((1.0 + 0.7**-4) / (1.0 + (0.25 / 0.7) ** 4), rel=1e-4)


@pytest.mark.parametrize(("gain", "shares"), [(0.1, -0.7), (3.0, 1.0)])
def test_what_is_more_than_shares_can_give_scales_the_rays(gain: float, shares: float) -> None:
    mu, grid, beam = lung_between_muscles()
    corrected = corrected_along_rays(mu, project(mu, grid, [beam]) * gain, grid, [beam])
    shared = mu + shares * coarse_share(mu)
    expected = shared * gain * float(mu[0, 0, :, 0, 0].sum() / shared[0, 0, :, 0, 0].sum())
    torch.testing.assert_close(corrected, expected, rtol=1e-5, atol=0.0)


def test_a_fine_structure_goes_to_the_lung_and_neither_to_muscle_nor_to_the_blurred_skin() -> None:
    """A bright spot of 6 mm on the film of muscle, lung and muscle; before them a skin that fades over 30 mm."""
    mu, grid, _ = lung_between_muscles()
    mu[:, :, :12] *= torch.linspace(0.0, 0.95, 12, dtype=torch.float64).view(-1, 1, 1)
    beam = chest_beam_covering(grid, "PA", 48, 48)
    film, from_middle = project(mu, grid, [beam]), torch.arange(48.0).double() - 23.5
    spotted = film + 0.2 * torch.exp(-0.5 * (from_middle**2 + from_middle[:, None] ** 2))  # one pixel is 2.5 mm
    corrected = corrected_along_rays(mu, spotted, grid, [beam], sweeps=3)
    assert float((project(corrected, grid, [beam]) - spotted).norm() / (spotted - film).norm()) < 0.1
    gained = (corrected - mu)[0, 0]
    peak = gained.amax((1, 2)) - gained[:, 24, 40]  # over what is 40 mm beside the spot
    skin, muscle, lung = peak[2:8], peak[[*range(12, 20), *range(40, 60)]], peak[20:40]
    assert float(lung.mean()) > 1.5 * float(muscle.mean())
    assert float(lung.mean()) > 3.0 * float(skin.mean())


def test_shares_are_those_of_the_formula_and_never_more_than_the_attenuation() -> None:
    water = water_mu_per_mm(FILM_ENERGY_KEV)
    mu = torch.tensor([0.0, 0.25, 0.5, 1.0, 2.0], dtype=torch.float64).view(1, 1, 5, 1, 1) * water
    inside = torch.tensor([0.0, 0.125 / (1 + 1 / 64), 0.25, 2.0 / 65.0, 8.0 / 4097.0], dtype=torch.float64).view_as(mu) * water
    torch.testing.assert_close(ray_sharing.fine_share_per_mm(mu, torch.ones_like(mu)), inside)
    torch.testing.assert_close(ray_sharing.fine_share_per_mm(mu, torch.zeros_like(mu)), 0.1 * inside)
    torch.testing.assert_close(ray_sharing.coarse_share_per_mm(mu), coarse_share(mu))


def test_a_second_view_is_explained_as_well(patient: Tensor, prior: Tensor) -> None:
    beams = [PA, LL]
    film = project(patient, GRID, beams)
    corrected = corrected_along_rays(prior, film, GRID, beams, sweeps=3)
    assert max(errors(corrected, film, beams)) < 0.1 * min(errors(prior, film, beams))


def test_the_corrected_volume_is_never_negative_and_air_stays_air(patient: Tensor, prior: Tensor) -> None:
    film = project(patient, GRID, [PA])
    holed = prior.clone()
    holed[..., :10, :, :] = 0.0
    holed[..., 40, 40, 40] = -0.01
    corrected = corrected_along_rays(holed, film, GRID, [PA], sweeps=2)
    assert float(corrected.min()) >= 0.0
    assert float(corrected[..., :10, :, :].abs().max()) == 0.0
    assert float(corrected[..., 40, 40, 40]) == 0.0


def test_the_truth_is_a_fixed_point(patient: Tensor) -> None:
    film = project(patient, GRID, [PA])
    corrected = corrected_along_rays(patient, film, GRID, [PA])
    torch.testing.assert_close(corrected, patient, rtol=1e-5, atol=1e-8)  # float32 ratio of two equal films


def test_samples_are_corrected_independently(patient: Tensor, prior: Tensor) -> None:
    mu, film = torch.cat((prior, patient)), project(torch.cat((patient, prior)), GRID, [PA])
    together = corrected_along_rays(mu, film, GRID, [PA])
    for i in range(2):
        alone = corrected_along_rays(mu[i : i + 1], film[i : i + 1], GRID, [PA])
        assert_equal_but_for_rounding(together[i : i + 1], alone)


def test_soft_consistency_explains_the_film_that_its_calibration_may_have_meant(patient: Tensor, prior: Tensor) -> None:
    film = project(patient, GRID, [PA])
    shown = 0.9 * film + 0.2
    start = 0.7 * corrected_along_rays(prior, film, GRID, [PA]) + 0.3 * patient
    gain, offset = believed_gain_offset(shown, project(start, GRID, [PA]))
    meant = gain * shown + offset
    assert float((meant - film).norm()) < float((shown - film).norm())
    for tolerance in (0.0, 0.02):
        soft = SoftConsistency(sweeps=2, tolerance=tolerance)(start, shown, GRID, [PA])
        assert errors(soft, meant, [PA])[0] < 0.02


def test_a_difference_within_the_tolerance_is_left_alone(patient: Tensor) -> None:
    film = project(patient, GRID, [PA])
    slightly_off = film + 0.04 * torch.sin(torch.arange(64.0))
    untouched = corrected_along_rays(patient, slightly_off, GRID, [PA], tolerance=0.05)
    torch.testing.assert_close(untouched, patient, rtol=1e-5, atol=1e-8)
    touched = corrected_along_rays(patient, slightly_off, GRID, [PA], tolerance=0.0)
    assert float((touched - patient).abs().max()) > 1e-4


def test_the_correction_is_differentiable_in_volume_and_film() -> None:
    grid = VolumeGrid.chest((4, 3, 5), 40.0)
    beam = chest_beam_covering(grid, "PA", 3, 5)
    torch.manual_seed(0)
    mu = (torch.rand(1, 1, 4, 3, 5, dtype=torch.float64) + 0.5).mul_(0.01).requires_grad_()
    film = (project(mu.detach(), grid, [beam]) * 1.1).requires_grad_()
    assert torch.autograd.gradcheck(lambda m, y: corrected_along_rays(m, y, grid, [beam], sweeps=2), (mu, film))


TURNED = torch.eye(4, dtype=torch.float64)
TURNED[:2, :2] = torch.tensor([[0.96, -0.28], [0.28, 0.96]])
POSES: dict[str, tuple[VolumeGrid, list[Beam]]] = {
    "one view": (GRID, [PA]),
    "two views": (GRID, [PA, LL]),
    "a film that shows a part": (GRID, [PA.crop(slice(9, 50), slice(12, 64)), LL.crop(slice(9, 50), slice(12, 64))]),
    "parallel": (GRID, [chest_parallel_beam("PA", Detector(64, 64, 5.0))]),
    "oblique": (GRID.moved(TURNED), [PA]),
}


@pytest.mark.parametrize("pose", POSES)
@pytest.mark.parametrize("consistency", [HardConsistency(3), SoftConsistency(2)], ids=repr)
def test_without_gradients_slabs_give_what_whole_volumes_give(pose, consistency, patient, prior, monkeypatch) -> None:
    grid, beams = POSES[pose]
    film, before = project(patient, grid, beams), prior.clone()
    whole = consistency(prior, film, grid, beams)
    monkeypatch.setattr(ray_sharing, "SLAB_BYTES", prior[:, :, :7].nbytes)
    with torch.no_grad():
        assert_equal_but_for_rounding(consistency(prior, film, grid, beams), whole)
        assert torch.equal(prior, before)
        around = F.pad(prior, (0, 3, 0, 2, 0, 1), value=7.0)  # in place, in a part of a larger volume
        inside = around[..., :-1, :-2, :-3]
        consistency(inside, film, grid, beams, out=inside)
    assert_equal_but_for_rounding(inside, whole)
    assert float(around.sum()) == pytest.approx(float(whole.sum()) + 7.0 * (around.numel() - whole.numel()), rel=1e-5)


class LargestTensor(TorchDispatchMode):
    """The most bytes of memory that any operation took for a result."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        known = {one.untyped_storage()._cdata for one in tree_leaves((args, kwargs)) if isinstance(one, Tensor)}
        result = func(*args, **(kwargs or {}))
        fresh = [one.untyped_storage() for one in tree_leaves(result) if isinstance(one, Tensor)]
        self.bytes = max([self.bytes, *(one.nbytes() for one in fresh if one._cdata not in known)])
        return result


@pytest.mark.parametrize("beam", [PA, LL], ids=["PA", "LL"])
def test_in_place_nothing_near_the_size_of_the_volume_is_made(beam, patient, prior, monkeypatch) -> None:
    film, mu = project(patient, GRID, [beam]), prior.clone()
    for slabs in (ray_sharing, separable_projection):
        monkeypatch.setattr(slabs, "SLAB_BYTES", prior.nbytes // 4)
    with torch.no_grad(), LargestTensor() as largest:
        HardConsistency()(mu, film, GRID, [beam], out=mu)
    whole = grown_beam(beam, unseen_margins(GRID, beam)).detector
    beside = whole.rows * whole.cols / (beam.detector.rows * beam.detector.cols)  # rays beside the film are computed too
    assert 0 < largest.bytes <= beside * prior.nbytes // 4
    with torch.no_grad(), LargestTensor() as largest:
        HardConsistency()(prior, film, GRID, [beam])
    assert largest.bytes == prior.nbytes  # the result, as a check of the measure


@pytest.mark.parametrize("consistency", [HardConsistency(), SoftConsistency(), NoConsistency()], ids=repr)
def test_every_consistency_keeps_the_contract(consistency: Consistency, patient: Tensor, prior: Tensor) -> None:
    film = project(patient, GRID, [PA])
    out = consistency(prior, film, GRID, [PA])
    assert out.shape == prior.shape
    assert float(out.min()) >= 0.0
    assert errors(out, film, [PA])[0] <= errors(prior, film, [PA])[0]
    assert eval(repr(consistency)) == consistency
    assert json.loads(json.dumps(vars(consistency))) == vars(consistency)


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ValueError, match=r"sweeps must be 1, 2 or 3, got 0; use NoConsistency\(\) for none"):
        HardConsistency(sweeps=0)
    with pytest.raises(ValueError, match="sweeps must be 1, 2 or 3, got 4"):
        SoftConsistency(sweeps=4)
    with pytest.raises(ValueError, match=r"tolerance must be a line integral >= 0, got -0\.1"):
        SoftConsistency(tolerance=-0.1)


def test_films_that_do_not_fit_and_results_in_place_where_gradients_are_recorded_are_refused() -> None:
    mu, film = torch.full((1, 1, *GRID.shape), 0.01), torch.ones(1, 1, 1, 64, 64)
    with pytest.raises(ValueError, match=r"line_integrals must hold one film .* per beam"):
        corrected_along_rays(mu, film[..., :1], GRID, [PA])
    with pytest.raises(ValueError, match="line_integrals must hold one film"):
        corrected_along_rays(mu, film, GRID, [PA, LL])
    with pytest.raises(ValueError, match="line_integrals must be finite"):
        corrected_along_rays(mu, film / 0.0, GRID, [PA])
    with pytest.raises(ValueError, match=r"out must be None .* torch.no_grad"):
        corrected_along_rays(mu, film, GRID, [PA], out=mu)

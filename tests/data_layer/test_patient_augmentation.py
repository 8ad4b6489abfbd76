"""Augmented patients: each change does what its name and unit say, and can be repeated."""

from __future__ import annotations

import json
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from xct_components.data.cases.augmentation import (
    PatientAugmentation,
    augment_patient,
    draw_patient_augmentation,
)
from xct_components.geometry import VolumeGrid

GRID = VolumeGrid.chest((32, 32, 32), 10.0)
#: Trilinear interpolation of float32 HU of up to 2000.
INTERPOLATION_HU = 0.05


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 100.0


def body(size: int = 32, radii_mm: tuple[float, float, float] = (90.0, 110.0, 70.0)) -> Tensor:
    """(1, 1, n, n, n): a soft-edged ellipsoid of water in air, in a field of 320 mm, with a lump off its axes."""
    axes = [((torch.arange(size) + 0.5) / size - 0.5) * 320.0 for _ in range(3)]
    d, h, w = torch.meshgrid(*axes, indexing="ij")
    inside = 1 - ((d / radii_mm[0]) ** 2 + (h / radii_mm[1]) ** 2 + (w / radii_mm[2]) ** 2).sqrt()
    lump = torch.exp(-((d - 30) ** 2 + (h + 40) ** 2 + (w - 20) ** 2) / (2 * 18.0**2))
    return (1000.0 * torch.sigmoid(inside * 12) + 400.0 * lump - 1000.0)[None, None]


def test_the_default_changes_nothing() -> None:
    ct_hu = noise(1, 1, 32, 32, 32)
    torch.testing.assert_close(augment_patient(ct_hu, GRID, PatientAugmentation()), ct_hu, rtol=0.0, atol=1e-3)  # + 1000 - 1000


def test_a_shift_by_whole_voxels_moves_the_voxels() -> None:
    ct_hu = body()
    moved = augment_patient(ct_hu, GRID, PatientAugmentation(shift_mm=(20.0, -10.0, 30.0)))
    expected = torch.roll(ct_hu, (2, -1, 3), (2, 3, 4))
    torch.testing.assert_close(moved[..., 4:-4, 4:-4, 4:-4], expected[..., 4:-4, 4:-4, 4:-4], rtol=0.0, atol=INTERPOLATION_HU)


@pytest.mark.parametrize(("axis", "plane"), [(0, (3, 4)), (1, (2, 4)), (2, (2, 3))])
def test_a_quarter_turn_is_a_transposition(axis: int, plane: tuple[int, int]) -> None:
    angles = [0.0, 0.0, 0.0]
    angles[axis] = math.pi / 2
    turned = augment_patient(body(), GRID, PatientAugmentation(rotation_rad=(angles[0], angles[1], angles[2])))
    torch.testing.assert_close(turned, torch.rot90(body(), 1, plane), rtol=0.0, atol=INTERPOLATION_HU)


def test_scale_makes_the_body_larger_by_its_product() -> None:
    ct_hu = body(radii_mm=(60.0, 70.0, 50.0))
    scaled = augment_patient(ct_hu, GRID, PatientAugmentation(scale=(1.2, 0.9, 1.3)))
    ratio = float((scaled + 1000).sum() / (ct_hu + 1000).sum())
    assert ratio == pytest.approx(1.2 * 0.9 * 1.3, rel=5e-3)  # sums of a soft-edged body over 10 mm voxels


def test_the_same_change_on_a_finer_grid_is_the_same_patient() -> None:
    change = draw_patient_augmentation(torch.Generator().manual_seed(3))
    still = PatientAugmentation(**{**vars(change), "noise_hu": 0.0})
    fine = augment_patient(body(64), VolumeGrid.chest((64, 64, 64), 5.0), still)
    coarse = augment_patient(body(32), GRID, still)
    difference_hu = float((F.avg_pool3d(fine, 2) - coarse).square().mean().sqrt())
    untouched_hu = float((F.avg_pool3d(body(64), 2) - body(32)).square().mean().sqrt())
    # Interpolating 10 mm voxels blurs the body's edge; another patient would be off by hundreds.
    assert difference_hu < untouched_hu + 30.0
    assert float((coarse - body(32)).square().mean().sqrt()) > 60.0


def test_no_drawn_elastic_change_folds_the_body() -> None:
    generator = torch.Generator().manual_seed(0)
    place = torch.stack(torch.meshgrid(*[(torch.arange(32.0) + 0.5) * 10.0 - 160.0] * 3, indexing="ij"))[None]
    for _ in range(20):
        change = draw_patient_augmentation(generator)
        only = PatientAugmentation(elastic_mm=change.elastic_mm, elastic_seed=change.elastic_seed)
        # Where each voxel comes from, read out by augmenting coordinates as if they were HU (+1000: they are densities).
        source = augment_patient(place - 1000.0, GRID, only) + 1000.0
        inner = source[0][:, 8:-8, 8:-8, 8:-8]  # the padding with air is no coordinate
        columns = [torch.gradient(inner, spacing=10.0, dim=axis + 1)[0] for axis in range(3)]
        jacobian = torch.stack(columns, -1).permute(1, 2, 3, 0, 4)
        assert float(torch.linalg.det(jacobian).amin()) > 0.0


def test_what_comes_from_outside_is_air() -> None:
    moved = augment_patient(torch.zeros(1, 1, 32, 32, 32), GRID, PatientAugmentation(shift_mm=(0.0, 0.0, 50.0)))
    assert moved[..., :4].amax() == -1000.0
    assert moved[..., 6:].amin() == pytest.approx(0.0, abs=INTERPOLATION_HU)


def test_gain_scales_tissue_against_air_and_leaves_air() -> None:
    ct_hu = torch.tensor([-1000.0, 0.0, 1000.0]).view(1, 1, 1, 1, 3)
    changed = augment_patient(ct_hu, VolumeGrid.chest((1, 1, 3), 5.0), PatientAugmentation(hu_gain=1.02))
    assert changed.flatten().tolist() == pytest.approx([-1000.0, 20.0, 1040.0], abs=1e-3)


def test_blur_adds_its_variance_and_keeps_the_mass() -> None:
    grid, sigma_mm = VolumeGrid.chest((41, 41, 41), (1.0, 1.5, 2.0)), 3.0
    point = torch.full((1, 1, 41, 41, 41), -1000.0)
    point[..., 20, 20, 20] = 0.0
    density = augment_patient(point, grid, PatientAugmentation(blur_mm=sigma_mm)) + 1000.0
    assert float(density.sum()) == pytest.approx(1000.0, rel=1e-3)
    for axis, spacing_mm in enumerate(grid.spacing_mm):
        profile = density.sum([d for d in (2, 3, 4) if d != axis + 2]).flatten() / density.sum()
        variance_mm2 = float((profile * ((torch.arange(41.0) - 20) * spacing_mm).square()).sum())
        assert variance_mm2 == pytest.approx(sigma_mm**2, rel=0.05)  # cut off at three standard deviations


def test_noise_has_the_strength_asked_for() -> None:
    noisy = augment_patient(torch.zeros(1, 1, 32, 32, 32), GRID, PatientAugmentation(noise_hu=12.0, noise_seed=5))
    # The standard deviation of 32768 samples is known to 1 / sqrt(2 * 32768) = 0.4 %; five times that.
    assert float(noisy.std()) == pytest.approx(12.0, rel=0.02)
    again = augment_patient(torch.zeros(1, 1, 32, 32, 32), GRID, PatientAugmentation(noise_hu=12.0, noise_seed=5))
    other = augment_patient(torch.zeros(1, 1, 32, 32, 32), GRID, PatientAugmentation(noise_hu=12.0, noise_seed=6))
    assert torch.equal(noisy, again)
    assert not torch.equal(noisy, other)


def test_a_drawn_change_replays_from_its_json_and_from_its_repr() -> None:
    change = draw_patient_augmentation(torch.Generator().manual_seed(11))
    assert draw_patient_augmentation(torch.Generator().manual_seed(11)) == change
    assert draw_patient_augmentation(torch.Generator().manual_seed(12)) != change
    back = PatientAugmentation.from_json(json.loads(json.dumps(change.to_json())))
    assert back == change == eval(repr(change))
    assert torch.equal(augment_patient(body(), GRID, back), augment_patient(body(), GRID, change))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"scale": (1.0, 0.0, 1.0)}, r"scale and hu_gain must be positive, got \(1\.0, 0\.0, 1\.0\)"),
        ({"hu_gain": -1.0}, "scale and hu_gain must be positive"),
        ({"elastic_mm": 60.0}, r"elastic_mm must lie between 0 and 25, got 60\.0; more folds"),
        ({"blur_mm": -1.0}, r"blur_mm and noise_hu must be >= 0, got -1\.0"),
    ],
)
def test_a_change_that_cannot_be_is_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PatientAugmentation(**wrong)  # type: ignore[arg-type]

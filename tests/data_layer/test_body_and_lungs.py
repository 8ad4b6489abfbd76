"""The patient without the table, the lungs without windpipe and stomach gas, and the field in the middle of them."""

from __future__ import annotations

from pathlib import Path

import itk
import numpy as np
import pytest
import torch

from tests.data_layer.made_chests import (
    ARM_MM,
    LUNG_MM,
    RIGHT_LUNG_MM,
    body,
    chest_voxels,
    inside_ellipsoid,
    lung,
    places,
    straight_affine,
)
from xct_components.data.ct.reading import read_ct
from xct_components.data.prepare.body import body_mask
from xct_components.data.prepare.canonical_ct import CanonicalCt, canonical_ct
from xct_components.data.prepare.chest_grid import cascade_grid, full_grid, gaps_mm, thorax_center
from xct_components.data.prepare.coarse_ct import coarse_ct
from xct_components.data.prepare.lungs import find_lungs
from xct_components.data.prepare.prepared_case import patient_only, prepared_volumes
from xct_components.failures import RefusedInput
from xct_components.geometry import VolumeGrid

DATA = Path(__file__).parent.parent / "data"
# Blocks of 5.5 x 5.5 x 8 mm against ellipsoids: a rim of half a block is 7 % of such a lung.
MADE_DICE = 0.93
# The labels of the Chest Imaging Platform close vessels and include small airways; blocks are 4 mm.
LABEL_DICE = 0.93
# Half a block along each axis, as the lungs' box is found in whole blocks.
CENTER_MM = 4.5


def made(center_mm: tuple[float, ...] = (0.0, 0.0, 0.0), **how) -> tuple[CanonicalCt, np.ndarray]:
    """The made chest, and the RAS mm of its voxels in canonical order (H, D, W, 3)."""
    affine = straight_affine(center_mm=center_mm)
    stored = np.ascontiguousarray(chest_voxels(affine, **how).T, dtype=np.float32)
    ct = canonical_ct(torch.from_numpy(stored)[None, None], VolumeGrid.from_affine(stored.shape, affine[:, [2, 1, 0, 3]]))
    return ct, places(affine).transpose(2, 1, 0, 3)[::-1]


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def test_the_table_goes_and_the_whole_body_stays():
    ct, world = made()
    kept = body_mask(coarse_ct(ct))
    table = (ct.hu > -500) & ~body(world)
    assert table.sum() > 5000
    assert not (kept & table)[world[..., 1] < -112.0].any()
    assert kept[body(world)].all()


def test_arms_beside_the_trunk_stay():
    ct, world = made()
    arms = np.abs(world[..., 0]) > ARM_MM - 15.0
    cleaned = patient_only(*tensor(ct)).ct.hu
    assert np.array_equal(cleaned[arms & body(world)], ct.hu[arms & body(world)])


def test_the_lungs_are_found_right_and_left_without_windpipe_and_stomach():
    ct, world = made()
    coarse = coarse_ct(ct)
    lungs = find_lungs(coarse, body_mask(coarse))
    assert lungs is not None
    assert dice(lungs.right, lung(world, 1)) > MADE_DICE
    assert dice(lungs.left, lung(world, -1)) > MADE_DICE
    x, y, z = np.moveaxis(world, -1, 0)
    assert not lungs.both[(np.hypot(x, y) < 8.0) & (z > 125.0)].any()
    assert not lungs.both[z < -LUNG_MM[2] - 8.0].any()


def test_the_lungs_of_a_real_ct_agree_with_its_labels():
    coarse = coarse_ct(canonical_ct(*read_ct(DATA / "cip-ct-64.nrrd")))
    labels = itk.array_from_image(itk.imread(str(DATA / "cip-ct-64-lung-labels.nrrd")))[::-1] > 0
    assert coarse.steps == (1, 1, 1)
    lungs = find_lungs(coarse, body_mask(coarse))
    assert lungs is not None
    assert dice(lungs.both, labels) > LABEL_DICE


def test_the_field_is_centred_on_lungs_and_body_wherever_the_scanner_had_its_origin():
    here, _ = made()
    there, _ = made(center_mm=(12.0, -30.0, 24.0))
    for ct in (here, there):
        coarse = coarse_ct(ct)
        mask = body_mask(coarse)
        lungs = find_lungs(coarse, mask)
        assert lungs is not None
        grid = cascade_grid(ct, thorax_center(coarse, mask, lungs), 64)
        assert grid.axis_codes == "PIL"
        assert grid.center_mm == pytest.approx((0.0, 0.0, RIGHT_LUNG_MM[2]), abs=CENTER_MM)


def test_a_missing_lung_leaves_the_field_in_the_middle_of_the_body():
    ct, _ = made(lungs=(-1,))
    patient = patient_only(*tensor(ct))
    assert abs(patient.facts["center_mm"][0]) < CENTER_MM
    assert any("one lung" in warning for warning in patient.facts["warnings"])


def test_all_grids_share_their_middle():
    ct, _ = made()
    center = (20.0, 25.5, 37.5)
    grids = [cascade_grid(ct, center, 64), cascade_grid(ct, center, 256), full_grid(ct, center)]
    assert [grid.shape for grid in grids] == [(64, 64, 64), (256, 256, 256), (512, 604, 512)]
    for grid in grids:
        assert grid.center_mm == pytest.approx(grids[0].center_mm)


def test_what_the_ct_lacks_of_the_field_is_said_in_mm():
    ct, _ = made()
    gaps = gaps_mm(ct, (20.5, 25.5, 37.5))  # the CT's middle: it measures 336 x 286 x 418 mm
    assert gaps == {"superior": -8.0, "inferior": -8.0, "anterior": 17.0, "posterior": 17.0, "right": -49.0, "left": -49.0}


def test_the_prepared_chest_lies_where_the_patient_was():
    ct, _ = made(center_mm=(12.0, -30.0, 24.0), noise_seed=None)
    volume = prepared_volumes(patient_only(*tensor(ct)))["64"]
    places_dhw = torch.cartesian_prod(*(torch.arange(64),) * 3)
    world = volume.grid.world_from_voxels(places_dhw).numpy()
    deep = inside_ellipsoid(world, RIGHT_LUNG_MM, tuple(half - 12.0 for half in LUNG_MM))
    assert deep.sum() > 3000
    assert volume.hu.reshape(-1)[deep].max() < -780
    assert volume.hu.reshape(-1)[deep].min() > -860
    gas = inside_ellipsoid(world, (-60.0, 50.0, -128.0), (15.0, 12.0, 5.0))  # the stomach is on the left, -x
    assert gas.sum() > 10
    assert volume.hu.reshape(-1)[gas].max() < -950
    assert volume.hu.reshape(-1)[inside_ellipsoid(world, (60.0, 50.0, -128.0), (15.0, 12.0, 5.0))].min() > 0


@pytest.mark.parametrize(("how", "warning"), [("arms", "arms beside the trunk"), ("slices", "thick slices: 8 mm")])
def test_what_is_unusual_is_said(how, warning):
    ct, _ = made()
    assert any(warning in said for said in patient_only(*tensor(ct)).facts["warnings"])


def test_a_body_without_lungs_is_refused():
    ct, _ = made(lungs=())
    with pytest.raises(RefusedInput, match="no lungs"):
        patient_only(*tensor(ct))


def tensor(ct: CanonicalCt) -> tuple[torch.Tensor, VolumeGrid]:
    return torch.from_numpy(ct.hu.astype(np.float32))[None, None], ct.grid

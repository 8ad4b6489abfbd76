"""The same CT is the same, whatever file it came from and however its voxels were ordered."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
import torch

from tests.data_layer.made_chests import SHAPE_IJK, chest_voxels, straight_affine, write_chest_dicom
from tests.data_layer.made_cts import hu_at, rotation, write_itk, write_nifti
from xct_components.data.ct.reading import read_ct
from xct_components.data.prepare.canonical_ct import canonical_ct
from xct_components.geometry import VolumeGrid

# Spacings and positions that no float32 holds exactly, as DICOM text has them.
ODD_MM = straight_affine(np.array([0.644531, 0.703125, 1.3]), (-12.3456, 101.7, -1033.35))
# Trilinear interpolation of hu_at (curvature 1.5 HU/mm2 at most) on voxels of 2 to 5 mm, and half a HU twice.
OBLIQUE_HU = 3.5


def flipped(voxels: np.ndarray, affine: np.ndarray, axes: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The same image stored the other way along ``axes``."""
    affine = affine.copy()
    for axis in axes:
        affine[:3, 3] += affine[:3, axis] * (voxels.shape[axis] - 1)
        affine[:3, axis] *= -1
    return np.flip(voxels, axes), affine


def test_every_format_and_voxel_order_gives_the_same_ct(tmp_path):
    voxels = chest_voxels(straight_affine())
    other, other_affine = flipped(voxels, ODD_MM, (0, 2))
    turned = np.ascontiguousarray(other.transpose(2, 0, 1)), other_affine[:, [2, 0, 1, 3]]
    made = [
        read_ct(write_chest_dicom(tmp_path / "series", ODD_MM, voxels)),
        read_ct(write_nifti(tmp_path / "ct.nii.gz", ODD_MM, voxels)),
        read_ct(write_nifti(tmp_path / "flipped.nii", other_affine, other)),
        read_ct(write_nifti(tmp_path / "turned.nii", turned[1], turned[0])),
        read_ct(write_itk(tmp_path / "ct.nrrd", ODD_MM, voxels)),
        read_ct(write_itk(tmp_path / "ct.mha", ODD_MM, voxels)),
    ]
    first, *others = [canonical_ct(*one) for one in made]
    assert first.grid.axis_codes == "IPL"
    for ct in others:
        assert np.array_equal(ct.hu, first.hu)
        assert ct.grid == first.grid
        assert ct.voxels_sha256 == first.voxels_sha256


def test_one_changed_voxel_changes_the_fingerprint():
    hu = torch.zeros(1, 1, 4, 5, 6)
    grid = VolumeGrid.chest((4, 5, 6), 2.0)
    changed = hu.clone()
    changed[0, 0, 1, 2, 3] = 1.0
    assert canonical_ct(hu, grid).voxels_sha256 != canonical_ct(changed, grid).voxels_sha256


def test_the_voxels_stay_where_they_were(tmp_path):
    ct_hu, grid = read_ct(write_nifti(tmp_path / "ct.nii", *reversed(flipped(chest_voxels(ODD_MM), ODD_MM, (1,)))))
    ct = canonical_ct(ct_hu, grid)
    place = torch.tensor([10.0, 20.0, 30.0])
    stored = grid.voxels_from_world(ct.grid.world_from_voxels(place))
    assert float((stored - stored.round()).abs().max()) < 0.02  # positions are kept to 1/128 mm, voxels are 0.6 mm
    assert int(ct_hu[0, 0][tuple(stored.round().int().tolist())]) == ct.hu[10, 20, 30]


@pytest.mark.parametrize("kind", ["turned", "tilted gantry"])
def test_an_oblique_ct_is_straightened_in_place(kind):
    axes = np.diag([-3.0, -2.0, 4.0])
    axes = (
        rotation(2, 0.2) @ rotation(0, 0.1) @ axes if kind == "turned" else axes + np.array([[0, 0, 0], [0, 0, 1.1], [0, 0, 0]])
    )
    affine = np.eye(4)
    affine[:3, :3] = axes
    shape = (40, 40, 20)
    indices = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    hu = hu_at(indices @ axes.T)
    grid = VolumeGrid.from_affine(shape[::-1], affine[:, [2, 1, 0, 3]])
    ct = canonical_ct(torch.from_numpy(np.ascontiguousarray(hu.T, dtype=np.float32))[None, None], grid)
    assert ct.oblique_degrees > 5.0
    places = torch.cartesian_prod(*(torch.arange(n) for n in ct.hu.shape))
    world = ct.grid.world_from_voxels(places)
    stored = grid.voxels_from_world(world)
    inside = ((stored >= 0) & (stored <= torch.tensor(grid.shape) - 1)).all(dim=1)
    outside = ((stored <= -1.05) | (stored >= torch.tensor(grid.shape) + 0.05)).any(dim=1)  # affines are kept to 2^-16 mm
    found = torch.from_numpy(ct.hu.reshape(-1).astype(np.float64))
    assert int(inside.sum()) > 10_000
    assert float((found - torch.from_numpy(hu_at(world.numpy())))[inside].abs().max()) < OBLIQUE_HU
    assert bool((found[outside] == -1000.0).all())


def test_fractions_are_rounded_and_metal_is_kept():
    ct_hu = torch.tensor([-1024.0, 0.4, 0.6, 5000.25, 40000.0, -3.5]).reshape(1, 1, 1, 2, 3)
    ct = canonical_ct(ct_hu, VolumeGrid.from_affine((1, 2, 3), np.diag([-1.0, -1.0, -1.0, 1.0])[:, [2, 1, 0, 3]]))
    assert ct.hu.reshape(-1).tolist() == [-1024, 0, 1, 5000, 32767, -4]


def test_the_shape_of_the_made_chest_is_uneven():
    assert len(set(SHAPE_IJK)) == 3  # so that swapped axes show in the tests above
    assert nibabel.aff2axcodes(straight_affine()) == ("L", "P", "S")

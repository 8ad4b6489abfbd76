"""What the page's script unpacks is the volume, in steps, where it was."""

from __future__ import annotations

import base64
import zlib

import nibabel
import numpy as np
import pytest
import torch

from xct_components.geometry import VolumeGrid
from xct_components.report_page import embedded_volume as module
from xct_components.report_page.embedded_volume import EmbeddedVolume, embedded_volume

GRID = VolumeGrid.chest((6, 8, 10), (3.0, 2.0, 1.5), (33.0, -21.0, 140.0))


def unpacked(volume: EmbeddedVolume) -> nibabel.Nifti1Image:
    """A NIfTI image of what the page holds, by a running sum instead of differences."""
    count = int(np.prod(volume.shape))
    halves = np.frombuffer(zlib.decompress(base64.b64decode(volume.voxels)), np.uint8).astype(int)
    folded = (halves[:count] + 256 * halves[count:]).reshape(volume.shape)
    change = np.where(folded % 2, -(folded + 1) // 2, folded // 2)
    steps = ((change.cumsum(axis=0) + 2**15) % 2**16 - 2**15).astype("<i2")
    return nibabel.Nifti1Image.from_bytes(base64.b64decode(volume.header) + steps.tobytes())


def hu() -> torch.Tensor:
    return torch.empty(GRID.shape).uniform_(-1024.0, 3000.0, generator=torch.Generator().manual_seed(3))


def test_every_voxel_is_where_it_was_within_half_a_step():
    volume, values = embedded_volume(hu(), GRID), hu().numpy()
    image = unpacked(volume)
    assert (volume.block, volume.step_hu) == (1, 4)
    for voxel in np.ndindex(GRID.shape):
        world = GRID.affine.numpy() @ [*voxel, 1.0]
        place = np.linalg.solve(image.affine, world)[:3]
        np.testing.assert_allclose(place, np.rint(place), atol=1e-4)
        assert abs(image.get_fdata()[tuple(np.rint(place).astype(int))] - values[voxel]) <= 2.0 + 1e-3


def test_blocks_are_means_and_lie_in_the_middle_of_their_voxels():
    volume, values = embedded_volume(hu(), GRID, least_block=2), hu().numpy()
    image = unpacked(volume)
    assert volume.shape == (3, 4, 5)
    middle = GRID.affine.numpy() @ [2.5, 4.5, 6.5, 1.0]
    place = np.linalg.solve(image.affine, middle)[:3]
    np.testing.assert_allclose(place, [3, 2, 1], atol=1e-4)
    assert image.get_fdata()[3, 2, 1] == pytest.approx(values[2:4, 4:6, 6:8].mean(), abs=2.0)


def test_a_volume_that_does_not_fit_gets_coarser(monkeypatch):
    fine = embedded_volume(hu(), GRID)
    monkeypatch.setattr(module, "MOST_BYTES", len(fine.voxels) - 100)
    coarser = embedded_volume(hu(), GRID)
    assert coarser.step_hu > fine.step_hu
    assert len(coarser.voxels) <= len(fine.voxels) - 100
    monkeypatch.setattr(module, "MOST_VOXELS", 100)
    assert embedded_volume(hu(), GRID).block == 2

"""Large volumes a few slices at a time."""

from __future__ import annotations

import pytest
import torch

from xct_components.physics import in_slabs
from xct_components.physics.in_slabs import apply_in_slabs


@pytest.mark.parametrize("slab_bytes", [1, 500, 1 << 20])
def test_slabs_give_what_the_whole_volume_gives_also_into_a_part_of_another_volume(slab_bytes, monkeypatch):
    monkeypatch.setattr(in_slabs, "SLAB_BYTES", slab_bytes)
    first, second = torch.rand(2, 2, 1, 7, 5, 6)
    around = torch.zeros(2, 1, 9, 8, 6)
    out = around[:, :, :7, :5]
    assert apply_in_slabs(torch.sub, first, second, out=out) is out
    assert torch.equal(out, first - second)
    assert not around[:, :, 7:].any()
    assert not around[:, :, :, 5:].any()


def test_a_volume_may_be_overwritten_by_its_own_function():
    volume = torch.rand(1, 1, 6, 5, 4)
    wanted = volume.sqrt()
    assert torch.equal(apply_in_slabs(torch.sqrt, volume, out=volume), wanted)
    assert torch.equal(volume, wanted)

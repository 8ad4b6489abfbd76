"""What CTs show beyond voxels twice as large: given back to the step, whose it is, and bent as the CT was."""

from __future__ import annotations

import io

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.networks.small_stages import chest_hu, film_of
from xct_components.geometry import Beam, VolumeGrid, chest_beam_covering
from xct_components.networks.ct_detail import CtDetail
from xct_components.networks.multi_atlas import BYTE_STEP_HU, BentCts, MultiAtlas, as_held, hu_of_held, key_of
from xct_components.physics.attenuation import hu_to_mu_per_mm
from xct_components.physics.consistency import HardConsistency
from xct_components.training.released_weights import release_state

SIDE = 32
FINE, COARSE = VolumeGrid.chest((SIDE,) * 3, 10.0), VolumeGrid.chest((SIDE // 2,) * 3, 20.0)


def textured(seed: int) -> Tensor:
    """A chest with detail of its own in every voxel."""
    noise = torch.randn((1, 1, SIDE, SIDE, SIDE), generator=torch.Generator().manual_seed(seed))
    return chest_hu(FINE) + 60.0 * noise


def held(step_hu: float = 10.0, **cts: Tensor) -> CtDetail:
    made = CtDetail(FINE.shape, step_hu)
    made.measure(cts.items())
    return made


def coarse_of(ct_hu: Tensor) -> Tensor:
    """The CT as the stage before holds it."""
    return hu_of_held(as_held(ct_hu, COARSE.shape))


@pytest.mark.parametrize("step_hu", [10.0, 30.0])
def test_coarse_ct_and_detail_are_the_ct_to_half_a_step_or_a_step_of_noise(step_hu: float) -> None:
    cts = {"a": textured(1), "b": textured(2)}
    kept = held(step_hu, **cts)
    for name, ct_hu in cts.items():
        detail = kept.of(key_of(name))
        assert detail is not None
        error = (F.interpolate(coarse_of(ct_hu), size=FINE.shape, mode="trilinear") + detail - ct_hu).abs()
        assert float(error[detail != 0.0].max()) <= step_hu / 2 + 1e-3  # and the rounding of float32
        assert float(error[detail == 0.0].max()) <= step_hu
    assert kept.of(key_of("c")) is None


def test_what_is_measured_anew_leaves_nothing_of_those_before() -> None:
    kept = held(a=textured(1), b=textured(2))
    assert kept.measure([("c", textured(3))]) == ["c"]
    assert [kept.of(key_of(name)) is None for name in "abc"] == [True, True, False]
    assert kept.measure([]) == []
    assert (len(kept.packed), len(kept.length), len(kept.key)) == (0, 0, 0)


def test_air_takes_next_to_nothing_and_weights_bring_what_they_hold() -> None:
    kept = held(air=torch.full((1, 1, *FINE.shape), -1000.0), a=textured(1))
    assert int(kept.length[0]) < 100 < int(kept.length[1])
    file = io.BytesIO()
    torch.save(release_state(kept), file)
    file.seek(0)
    other = held(30.0, b=textured(2))
    other.load_state_dict(torch.load(file, weights_only=True), strict=True)
    for key in (key_of("air"), key_of("a")):
        assert torch.equal(_of(other, key), _of(kept, key))
    assert other.of(key_of("b")) is None


def _of(kept: CtDetail, key: int) -> Tensor:
    found = kept.of(key)
    assert found is not None
    return found


def test_weights_of_before_there_was_detail_load_as_weights_without_any() -> None:
    kept = held(a=textured(1))
    kept.load_state_dict({}, strict=True)
    assert len(kept.key) == 0
    with pytest.raises(ValueError, match="size must be even"):
        CtDetail((8, 9, 8))
    with pytest.raises(ValueError, match="step_hu must be positive"):
        CtDetail((8, 8, 8), 0.0)


def bent(ct_hu: Tensor, size: float) -> BentCts:
    """The CT as the film of a patient bends it who is so much larger in all directions."""
    stage_atlas = MultiAtlas(1, COARSE.shape)
    stage_atlas.measure([("a", ct_hu)])
    beams: list[Beam] = [chest_beam_covering(COARSE, "PA", *COARSE.shape[1:])]
    other = chest_hu(VolumeGrid.chest(COARSE.shape, 20.0 / size))
    (film,) = film_of(other, beams, COARSE)
    found = stage_atlas.bent(hu_to_mu_per_mm(other), film, COARSE, beams, HardConsistency())
    assert found is not None
    return found


def test_the_detail_is_bent_as_the_ct_was() -> None:
    """Bending the fine CT is bending the coarse one and adding the bent detail."""
    ct_hu = chest_hu(FINE)
    cts = bent(ct_hu, 1.15)
    assert cts.keys.tolist() == [key_of("a")]
    assert float(cts.displacement.abs().max()) > 0.05
    fine = cts.bent_like(0, ct_hu)
    assert float((fine - ct_hu).abs().mean()) > 20.0
    in_parts = F.interpolate(cts.bent_like(0, coarse_of(ct_hu)), size=FINE.shape, mode="trilinear")
    in_parts = in_parts + cts.bent_like(0, _of(held(a=ct_hu), key_of("a")))
    # Interpolating once or twice between voxels of 20 mm differs at edges of 1000 HU; without the detail it is twice that.
    without = F.interpolate(cts.bent_like(0, coarse_of(ct_hu)), size=FINE.shape, mode="trilinear")
    assert float((in_parts - fine).abs().mean()) < 0.6 * float((without - fine).abs().mean())


def test_a_ct_that_is_not_bent_is_read_as_it_is() -> None:
    cts = bent(chest_hu(FINE), 1.0)
    still = cts._replace(displacement=torch.zeros_like(cts.displacement))
    fine = textured(1)
    torch.testing.assert_close(still.bent_like(0, fine), fine, rtol=0.0, atol=BYTE_STEP_HU * 1e-2)  # float32 places

"""What a stage knows before it denoises: the same in a column as in the whole, and nothing of a film that is absent."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.networks.small_stages import GRID, SIDE, beams_of, chest_hu, conditions_of, film_of, hard, small_stage
from xct_components.networks.cascade_stage import CascadeStage
from xct_components.networks.stage_conditions import StageConditions, VoxelConditions, position_in_field

#: float32 sums in another order.
ROUNDING = 1e-3
PA = beams_of("PA")


@pytest.fixture(scope="module")
def stage() -> CascadeStage:
    return small_stage().eval().requires_grad_(False)


@pytest.fixture(scope="module")
def film() -> Tensor:
    return film_of(chest_hu(wide=0.95), PA)


def test_a_column_is_told_what_the_whole_is_told_there(stage: CascadeStage, film: Tensor) -> None:
    conditions = conditions_of(stage, film, PA)
    whole, column = stage.at_voxels(conditions), (slice(4, 12), slice(8, 16))
    part = stage.at_voxels(conditions, column)
    torch.testing.assert_close(part.inputs, whole.inputs[..., 4:12, 8:16], rtol=0.0, atol=ROUNDING)
    torch.testing.assert_close(part.position, whole.position[..., 2:6, 4:8], rtol=0.0, atol=1e-6)
    for level, step in enumerate((2, 4)):
        expected = whole.lifted[level][..., 4 // step : 12 // step, 8 // step : 16 // step]
        torch.testing.assert_close(part.lifted[level], expected, rtol=0.0, atol=ROUNDING)
    assert torch.equal(part.tokens, whole.tokens)
    assert torch.equal(part.embedding, whole.embedding)


def test_positions_run_from_edge_to_edge() -> None:
    position = position_in_field(GRID, GRID)
    for axis in range(3):
        line = position[axis].movedim(axis, 0)[:, 0, 0].tolist()
        assert line == pytest.approx([2 * (i + 0.5) / SIDE - 1 for i in range(SIDE)])


def test_an_absent_film_leaves_no_trace_in_the_features(stage: CascadeStage, film: Tensor) -> None:
    """Two patients' films, both absent: the encoder says the same of both. The prior still explains each its own."""
    absent = torch.tensor([0.0])
    one, other = (conditions_of(stage, f, PA, film_present=absent) for f in (film, film_of(chest_hu(heart=False), PA)))
    assert all(torch.equal(a, b) for a, b in zip(one.features.maps, other.features.maps, strict=True))
    assert torch.equal(one.features.tokens, other.features.tokens)
    assert torch.equal(one.features.embedding, other.features.embedding)
    assert one.lifted is not None
    assert other.lifted is not None
    assert torch.equal(one.lifted.log_mass, other.lifted.log_mass)
    assert not torch.equal(one.prior_hu, other.prior_hu)

    def features(conditions: StageConditions) -> list[Tensor]:
        return stage.at_voxels(conditions).lifted

    assert all(torch.equal(a, b) for a, b in zip(features(one), features(other), strict=True))
    seen = conditions_of(stage, film, PA, film_present=torch.tensor([1.0]))
    assert torch.equal(seen.features.tokens, conditions_of(stage, film, PA).features.tokens)
    assert not torch.equal(seen.features.tokens, one.features.tokens)


def test_an_absent_film_is_known_through_the_prior_alone(stage: CascadeStage, film: Tensor) -> None:
    """Two films above one prior, both absent: the denoiser is given the very same."""
    other = film_of(chest_hu(heart=False), PA)
    prior_hu = stage.prior_hu(film, [GRID], [PA], hard())

    def given(seen: Tensor, present: float) -> VoxelConditions:
        return stage.at_voxels(stage.condition(seen, [GRID], [PA], prior_hu, film_present=torch.tensor([present])))

    assert torch.equal(given(film, 0.0).inputs, given(other, 0.0).inputs)
    assert not torch.equal(given(film, 1.0).inputs, given(other, 1.0).inputs)
    assert torch.equal(given(film, 1.0).inputs, stage.at_voxels(stage.condition(film, [GRID], [PA], prior_hu)).inputs)

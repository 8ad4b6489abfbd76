"""Weights on disk: half the size, hardly another network, strictly the stage's own."""

from __future__ import annotations

import hashlib
import json
import pickle
from pathlib import Path

import pytest
import torch

from tests.networks.small_stages import beams_of, change, chest_hu, film_of, made_loud, small_stage
from xct_components.networks.cascade_stage import CascadeStage
from xct_components.training.released_weights import load_weights, release_state, write_weights

#: float16 has 11 significant bits, down to its smallest normal number; below that, steps of 2^-24.
HALF, SMALLEST_NORMAL, SUBNORMAL_STEP = 2.0**-11, 2.0**-14, 2.0**-24
#: Ten layers of weights, each off by HALF at random.
OUTPUT_CHANGE = 0.005


@pytest.fixture(scope="module")
def stage() -> CascadeStage:
    torch.manual_seed(5)
    stage = small_stage().eval().requires_grad_(False)
    stage.residual_scale_hu.fill_(123.4567)
    return stage


def another() -> CascadeStage:
    """A stage with other weights and no atlas."""
    stage = small_stage(loud=False).eval().requires_grad_(False)
    stage.atlas.tissue.zero_()
    return stage


def test_matrices_are_stored_in_half_precision_and_everything_else_exactly(stage: CascadeStage) -> None:
    released = release_state(stage)
    assert list(released) == list(stage.state_dict())
    for name, exact in stage.state_dict().items():
        stored = released[name]
        if exact.ndim < 2:
            assert torch.equal(stored, exact), name
            continue
        assert stored.dtype == torch.float16, name
        error = (stored.float() - exact).abs()
        assert bool((error <= (exact.abs() * HALF).clamp_min(SUBNORMAL_STEP / 2)).all()), name
        normal = exact.abs() >= SMALLEST_NORMAL
        assert bool((error[normal] <= 5e-4 * exact.abs()[normal]).all()), name


def test_a_stage_comes_back_from_its_file_and_answers_alike(stage: CascadeStage, tmp_path: Path) -> None:
    target = tmp_path / "models" / "model.pt"
    write_weights(stage, target, {"epoch": 3, "metrics": {"val_rmse_hu": 98.5}})
    loaded = another()
    digest = load_weights(loaded, target)
    assert digest == hashlib.sha256(target.read_bytes()).hexdigest()
    assert json.loads(target.with_suffix(".json").read_text()) == {
        "sha256": digest,
        "epoch": 3,
        "metrics": {"val_rmse_hu": 98.5},
    }
    assert loaded.atlas.is_measured
    assert float(loaded.residual_scale_hu) == float(stage.residual_scale_hu)
    assert all(tensor.dtype == torch.float32 for tensor in loaded.state_dict().values() if tensor.is_floating_point())
    film = film_of(chest_hu(), beams_of("PA"))[:, 0]
    torch.manual_seed(0)
    answer = stage(film)
    torch.manual_seed(0)
    assert change(answer, loaded(film)) < OUTPUT_CHANGE


def test_written_twice_the_same_weights_have_the_same_hash(stage: CascadeStage, tmp_path: Path) -> None:
    hashes = []
    for run in ("first", "second"):
        write_weights(stage, tmp_path / run / "model.pt", {})
        hashes.append(json.loads((tmp_path / run / "model.json").read_text())["sha256"])
    assert hashes[0] == hashes[1]


@pytest.mark.parametrize("damage", ["missing", "surplus", "shape"])
def test_tensors_that_are_not_exactly_the_stages_are_refused(stage: CascadeStage, tmp_path: Path, damage: str) -> None:
    state = release_state(stage)
    if damage == "missing":
        del state["hu_mean"]
    elif damage == "surplus":
        state["network.extra"] = torch.zeros(3)
    else:
        state["hu_mean"] = torch.zeros(2)
    torch.save(state, tmp_path / "model.pt")
    with pytest.raises(RuntimeError, match=r"hu_mean|extra"):
        load_weights(another(), tmp_path / "model.pt")


def test_a_file_that_would_run_code_is_not_read(tmp_path: Path) -> None:
    torch.save({"hu_mean": made_loud}, tmp_path / "model.pt")  # a function: only names of code travel in the file
    with pytest.raises(pickle.UnpicklingError):
        load_weights(another(), tmp_path / "model.pt")
    with pytest.raises(OSError, match="nothing"):
        load_weights(another(), tmp_path / "nothing.pt")

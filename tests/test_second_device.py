"""The second device of the tests is one: what CUDA refuses it refuses, what CUDA allows it computes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.networks.small_stages import small_stage
from tests.second_device import DEVICE, second_device
from tests.training.small_training import drawn, phantoms
from xct_components.training.prepare_batch import PrepareStageBatch


@pytest.fixture
def there() -> Iterator[Tensor]:
    with second_device():
        yield torch.arange(3.0, device="cuda")


HERE = torch.ones(3)
PLACES = torch.tensor([0, 1])
MIXED: dict[str, Callable[[Tensor], Any]] = {
    "a sum": lambda there: there + HERE,
    "a number from there": lambda there: HERE / there[0],
    "a product": lambda there: there @ HERE,
    "a number in a product": lambda there: torch.stack([there[0], torch.tensor(1.0)]),
    "a list": lambda there: torch.cat([there, HERE]),
    "in place here": lambda there: HERE.clone().add_(there),
    "in place there": lambda there: there.mul_(HERE),
    "out": lambda there: torch.add(there, there, out=HERE.clone()),
    "indices from there": lambda there: HERE[PLACES.to(there.device)],
    "values from here": lambda there: there.index_put_((PLACES,), HERE[:2]),
    "gathered by indices from here": lambda there: there.gather(0, PLACES),
    "another device's generator": lambda there: torch.randn(3, device=there.device, generator=torch.Generator()),
    "its generator here": lambda there: torch.randn(3, generator=torch.Generator(there.device)),
}


@pytest.mark.parametrize("name", MIXED)
def test_tensors_of_both_devices_do_not_meet(there: Tensor, name: str) -> None:
    with pytest.raises(RuntimeError, match=r"same device|generator"):
        MIXED[name](there)


@pytest.mark.parametrize("convert", [np.asarray, lambda there: there.numpy(), lambda there: there.detach().numpy()])
def test_numpy_gets_nothing_from_there(there: Tensor, convert: Callable[[Tensor], Any]) -> None:
    with pytest.raises(TypeError, match="numpy"):
        convert(there)


def test_numbers_come_and_go(there: Tensor) -> None:
    assert (there.tolist(), float(there[1]), int(there.argmax()), bool(there.any())) == ([0.0, 1.0, 2.0], 1.0, 2, True)
    assert torch.equal(there.cpu(), torch.arange(3.0))
    for made in (
        there + torch.tensor(1.0),
        there[PLACES],
        there[[0, 2]],
        there.new_tensor([1.0]),
        torch.as_tensor([1.0], device=DEVICE),
        torch.ones(3).to(there),
        torch.zeros_like(there),
        torch.randn(3, device=DEVICE, generator=torch.Generator(DEVICE)),
    ):
        assert made.device == DEVICE
    assert torch.empty(0, device="cpu").device.type == there.cpu().device.type == "cpu"
    assert HERE.clone().copy_(there).device.type == "cpu"


def test_a_network_learns_there_what_it_learns_here() -> None:
    torch.manual_seed(0)
    network, x = nn.Sequential(nn.Linear(3, 4), nn.SiLU(), nn.LayerNorm(4), nn.Linear(4, 1)), torch.randn(5, 3)
    learned = []
    with second_device():
        for device in ("cpu", "cuda"):
            twin = copy.deepcopy(network).to(device)
            optimizer = torch.optim.AdamW(twin.parameters(), lr=0.1)
            for _ in range(3):
                optimizer.zero_grad()
                twin(x.to(device)).square().mean().backward()
                nn.utils.clip_grad_norm_(twin.parameters(), 1.0)
                optimizer.step()
            assert {parameter.device.type for parameter in copy.deepcopy(twin).parameters()} == {device}
            learned.append(nn.utils.parameters_to_vector(twin.parameters()).detach().cpu())
    assert torch.equal(*learned)


def test_a_batch_made_here_for_a_stage_that_is_there_is_caught() -> None:
    """As statistics once made them: the first training from scratch on a GPU had to fail."""
    cases = drawn(phantoms(1))
    with second_device():
        prepare = PrepareStageBatch(small_stage().to("cuda"))
        with pytest.raises(RuntimeError, match="same device"):
            prepare.batch(cases, "cpu")
        assert prepare.batch(cases, "cuda").prior_hu.device == DEVICE

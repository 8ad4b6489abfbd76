"""The denoiser: silent at the start, able to say anything at full resolution, and careful about sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.networks.small_stages import EMBEDDING, LEVELS, SIDE, TOKENS, change, gradients, made_loud, small_network
from xct_components.diffusion.schedule import noised
from xct_components.networks.hybrid_vit_unet import HybridViTUNet, LevelSpec

#: Variance of white noise that the network must be able to say. A head of one value per token, interpolated, reaches 0.016.
EXPLAINED = 0.9
#: Most steps that learning one volume by heart may take.
STEPS = 200
#: Order of float32 sums when a block is computed a second time.
ROUNDING = 1e-5


def inputs(patch: int = 2, side: int = SIDE, batch: int = 1, levels: Sequence[LevelSpec] = LEVELS) -> dict[str, Any]:
    """Everything ``HybridViTUNet`` is given but noise and time."""
    generator = torch.Generator().manual_seed(4)

    def random(*shape: int) -> Tensor:
        return torch.randn(batch, *shape, generator=generator)

    tokens = side // patch
    return {
        "inputs": random(3, side, side, side),
        "position": random(3, tokens, tokens, tokens),
        "lifted": [random(level.channels, *(tokens // 2**i,) * 3) for i, level in enumerate(levels)],
        "embedding": random(EMBEDDING),
        "tokens": random(8, TOKENS),
    }


def white(seed: int, side: int = SIDE, batch: int = 1) -> Tensor:
    return torch.randn(batch, 1, side, side, side, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("use_adaln", [True, False])
def test_before_training_the_network_says_nothing(use_adaln: bool) -> None:
    network = small_network(use_adaln=use_adaln)
    assert not network(white(0), torch.tensor([0.5]), **inputs()).any()


@pytest.mark.parametrize("patch", [1, 2, 4])
def test_every_patch_size_answers_at_full_resolution(patch: int) -> None:
    """Each voxel of a patch has a weight of its own: its neighbour's answer differs by more than rounding."""
    network = made_loud(small_network(patch))
    assert network.coarsest == 2 * patch
    with torch.no_grad():
        answer = network(white(0), torch.tensor([0.5]), **inputs(patch))
    assert answer.shape == (1, 1, SIDE, SIDE, SIDE)
    for axis in (2, 3, 4):
        assert float(answer.diff(dim=axis).abs().mean()) > 0.1 * float(answer.std())


@pytest.mark.parametrize("patch", [2, 4])
def test_the_head_can_say_white_noise(patch: int) -> None:
    """Learn one residual of white noise by heart: nothing of the band between two tokens may be out of reach.

    A quarter of the noisy volume's variance is other noise; what is learned beyond it is memory, not a shortcut.
    """
    levels = (LevelSpec(max(32, patch**3)), LevelSpec(32, vit_blocks=1))
    network = small_network(patch, levels=levels)
    clean, time = white(5), torch.tensor([1 / 3])
    noisy, given = noised(clean, white(6), time), inputs(patch, levels=levels)
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
    left = 1.0
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = (network(noisy, time, **given) - clean).square().mean()
        loss.backward()
        optimizer.step()
        left = float(loss.detach()) / float(clean.square().mean())
        if left < 1.0 - EXPLAINED:
            break
    assert left < 1.0 - EXPLAINED


def test_every_input_changes_the_answer() -> None:
    network, given, time = made_loud(small_network()), inputs(), torch.tensor([0.5])
    with torch.no_grad():
        answer = network(white(0), time, **given)
        assert change(answer, network(white(1), time, **given)) > 1e-3
        assert change(answer, network(white(0), torch.tensor([0.9]), **given)) > 1e-3
        for name, value in given.items():
            other = [part.flip(-1) for part in value] if isinstance(value, list) else value.flip(-1)
            assert change(answer, network(white(0), time, **{**given, name: other})) > 1e-3, name


def test_without_adaln_time_and_film_still_matter() -> None:
    network, given, time = made_loud(small_network(use_adaln=False)), inputs(), torch.tensor([0.5])
    with torch.no_grad():
        answer = network(white(0), time, **given)
        assert change(answer, network(white(0), torch.tensor([0.9]), **given)) > 1e-3
        assert change(answer, network(white(0), time, **{**given, "embedding": given["embedding"].flip(1)})) > 1e-3
        assert change(answer, network(white(0), time, **{**given, "tokens": given["tokens"].flip(2)})) > 1e-3


def test_samples_of_a_batch_do_not_see_each_other() -> None:
    network, given, time = made_loud(small_network()), inputs(batch=2), torch.tensor([0.2, 0.8])
    noisy = white(0, batch=2)
    with torch.no_grad():
        together = network(noisy, time, **given)
        alone = {name: [p[1:] for p in v] if isinstance(v, list) else v[1:] for name, v in given.items()}
        torch.testing.assert_close(network(noisy[1:], time[1:], **alone), together[1:], rtol=0.0, atol=ROUNDING)


def test_gradient_checkpointing_gives_the_same_gradients() -> None:
    """And it really drops what blocks computed: fewer tensors are kept for the backward pass."""
    found, kept = [], []
    for checkpointing in (False, True):
        network: HybridViTUNet = made_loud(small_network(gradient_checkpointing=checkpointing)).train()
        sizes: list[int] = []

        def keep(tensor: Tensor, sizes: list[int] = sizes) -> Tensor:
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loss = (network(white(0), torch.tensor([0.5]), **inputs()) - white(1)).square().mean()
        kept.append(sum(sizes))
        loss.backward()
        found.append(gradients(network))
    plain, recomputed = found
    assert plain.keys() == recomputed.keys()
    for name, gradient in plain.items():
        torch.testing.assert_close(recomputed[name], gradient, rtol=1e-4, atol=ROUNDING)
    assert kept[1] < 0.7 * kept[0]


@pytest.mark.parametrize(("patch", "size"), [(2, (16, 16, 14)), (4, (16, 12, 16)), (1, (15, 16, 16))])
def test_a_size_that_is_no_multiple_of_the_coarsest_token_is_refused(patch: int, size: tuple[int, int, int]) -> None:
    network = small_network(patch)
    with pytest.raises(ValueError, match=rf"noisy must have axes that are multiples of {2 * patch} voxels, got \({size[0]}, "):
        network(torch.zeros(1, 1, *size), torch.tensor([0.5]), **inputs(patch))


def test_levels_may_be_written_as_dictionaries() -> None:
    written = HybridViTUNet(
        [{"channels": 8}, {"channels": 16, "vit_blocks": 1, "window": [2, 2, 2]}], head_channels=8, token_channels=TOKENS
    )
    assert written.widths == [8, 16]
    with pytest.raises(TypeError, match="depth"):
        HybridViTUNet([{"channels": 8, "depth": 2}])

"""The two blocks: identity at the start, AdaLN part by part, and norms that do or do not look beyond their voxel."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.networks.small_stages import made_loud
from xct_components.networks.hybrid_vit_block import ConvBlock, HybridViTBlock
from xct_components.networks.voxel_layers import FixedGate, Modulation, channels_to_patches, patches_to_channels, voxel_norm

#: Order of float32 sums, which differs between a crop and the whole.
ROUNDING = 2e-5
CHANNELS, EMBEDDING, TOKENS, SIDE = 16, 12, 10, 8
#: Two 3x3x3 convolutions see two voxels in every direction.
CONV_REACH = 2


def conv_block(embedding: int | None = EMBEDDING, norm: str = "voxel") -> ConvBlock:
    torch.manual_seed(0)
    return ConvBlock(CHANNELS, embedding, norm)  # type: ignore[arg-type]


def vit_block(embedding: int | None = EMBEDDING, norm: str = "voxel") -> HybridViTBlock:
    torch.manual_seed(0)
    return HybridViTBlock(CHANNELS, TOKENS, embedding, heads=2, window=(4, 4, 4), norm=norm)  # type: ignore[arg-type]


def inputs() -> tuple[Tensor, Tensor, Tensor]:
    """Voxels, embedding, tokens of two samples."""
    generator = torch.Generator().manual_seed(1)
    shapes = ((2, CHANNELS, SIDE, SIDE, SIDE), (2, EMBEDDING), (2, 5, TOKENS))
    x, embedding, tokens = (torch.randn(shape, generator=generator) for shape in shapes)
    return x, embedding, tokens


def run(block: nn.Module, x: Tensor, embedding: Tensor, tokens: Tensor) -> Tensor:
    with torch.no_grad():
        return block(x, embedding) if isinstance(block, ConvBlock) else block(x, embedding, tokens)


both_blocks = pytest.mark.parametrize("block", [conv_block, vit_block])


@both_blocks
@pytest.mark.parametrize("embedding", [EMBEDDING, None])
@pytest.mark.parametrize("norm", ["voxel", "group"])
def test_a_block_begins_as_the_identity(block: Callable[..., nn.Module], embedding: int | None, norm: str) -> None:
    x, e, tokens = inputs()
    assert torch.equal(run(block(embedding, norm), x, e, tokens), x)


def set_part(block: nn.Module, part: str, value: float) -> nn.Module:
    """Every (shift, scale, gate) of the block, whatever the embedding: one of them set, in all its layers."""
    modulation = block.modulation
    assert isinstance(modulation, Modulation)
    triples = modulation.to_parameters.bias.data.unflatten(0, (modulation.parts, 3, CHANNELS))
    triples[:, ("shift", "scale", "gate").index(part)] = value
    return block


@both_blocks
@pytest.mark.parametrize("part", ["shift", "scale"])
def test_shift_and_scale_matter_once_the_gate_is_open(block: Callable[..., nn.Module], part: str) -> None:
    closed, opened = set_part(block(), part, 0.5), set_part(block(), "gate", 0.5)
    assert torch.equal(run(closed, *inputs()), inputs()[0])
    before = run(opened, *inputs())
    assert float((run(set_part(opened, part, 0.5), *inputs()) - before).abs().mean()) > 0.01


def test_twice_the_gate_is_twice_the_change() -> None:
    x, *_ = inputs()
    single, double = (run(set_part(conv_block(), "gate", gate), *inputs()) - x for gate in (0.5, 1.0))
    torch.testing.assert_close(2.0 * single, double, rtol=0.0, atol=ROUNDING)


def test_a_conv_block_is_gate_times_convolutions_of_the_modulated_norm() -> None:
    """Channel by channel in plain arithmetic: x + g * second(silu(first(norm(x) * (1 + c) + s)))."""
    block = conv_block()
    for part, value in (("shift", 0.3), ("scale", -0.4), ("gate", 0.7)):
        set_part(block, part, value)
    x, *_ = inputs()
    mean, deviation = x.mean(1, keepdim=True), x.var(1, unbiased=False, keepdim=True).add(1e-5).sqrt()
    h = (x - mean) / deviation * 0.6 + 0.3
    expected = x + 0.7 * block.second(F.silu(block.first(h)))
    torch.testing.assert_close(run(block, *inputs()), expected, rtol=0.0, atol=ROUNDING)


@both_blocks
def test_the_embedding_modulates_with_adaln_and_is_not_looked_at_without(block: Callable[..., nn.Module]) -> None:
    x, embedding, tokens = inputs()
    modulated, fixed = made_loud(block(EMBEDDING)), made_loud(block(None))
    assert isinstance(fixed.modulation, FixedGate)
    assert float((run(modulated, x, embedding.flip(0), tokens) - run(modulated, x, embedding, tokens)).abs().mean()) > 0.01
    assert torch.equal(run(fixed, x, embedding.flip(0), tokens), run(fixed, x, embedding, tokens))
    assert not torch.equal(run(fixed, x, embedding, tokens), x)


def test_film_tokens_reach_the_voxels() -> None:
    block = made_loud(vit_block())
    x, embedding, tokens = inputs()
    assert float((run(block, x, embedding, tokens.flip(0)) - run(block, x, embedding, tokens)).abs().mean()) > 1e-3


def cropped(norm: str) -> tuple[Tensor, Tensor]:
    """The part of the result that a crop can know, from the crop and from the whole."""
    block, (x, embedding, tokens) = made_loud(conv_block(norm=norm)), inputs()
    window = slice(1, 7)
    inner = slice(CONV_REACH, -CONV_REACH)
    part = run(block, x[:, :, window, window, window], embedding, tokens)
    return part[:, :, inner, inner, inner], run(block, x, embedding, tokens)[:, :, window, window, window][
        :, :, inner, inner, inner
    ]


def test_with_the_voxel_norm_a_crop_knows_what_the_whole_knows() -> None:
    torch.testing.assert_close(*cropped("voxel"), rtol=0.0, atol=ROUNDING)


def test_with_the_group_norm_a_crop_sees_other_statistics() -> None:
    part, whole = cropped("group")
    assert float((part - whole).abs().amax()) > 1e-3


def test_norms_leave_what_they_normalise_with_mean_zero_and_variance_one() -> None:
    x = inputs()[0] * 7.0 + 3.0
    for name, axes in (("voxel", (1,)), ("group", (2, 3, 4, 5))):
        normed = voxel_norm(name, CHANNELS)(x)  # type: ignore[arg-type]
        groups = normed if name == "voxel" else normed.unflatten(1, (8, CHANNELS // 8))
        assert float(groups.mean(axes).abs().amax()) < 1e-5
        torch.testing.assert_close(groups.var(axes, unbiased=False), torch.ones_like(groups.mean(axes)), rtol=0.0, atol=1e-3)


@pytest.mark.parametrize("patch", [1, 2, 4])
def test_patches_become_channels_voxel_by_voxel_and_come_back(patch: int) -> None:
    x = torch.randn(2, 3, 8, 4, 12, generator=torch.Generator().manual_seed(0))
    channels = patches_to_channels(x, patch)
    assert channels.shape == (2, 3 * patch**3, 8 // patch, 4 // patch, 12 // patch)
    for offset, (c, i, j, k) in enumerate(itertools.product(range(3), *[range(patch)] * 3)):
        assert torch.equal(channels[:, offset], x[:, c, i::patch, j::patch, k::patch])
    assert torch.equal(channels_to_patches(channels, patch), x)

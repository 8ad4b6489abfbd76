"""Attention in windows against dense attention with a mask, computed in complex numbers and explicit sums."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from xct_components.networks import attention
from xct_components.networks.attention import ROTARY_BASE, FilmAttention, SelfAttention3d

#: float32 attention over a few hundred tokens, beside float64.
ROUNDING = 2e-5
CHANNELS, HEADS = 24, 2


def self_attention(window: tuple[int, int, int] | None) -> SelfAttention3d:
    torch.manual_seed(0)
    return SelfAttention3d(CHANNELS, HEADS, window)


def volume(*size: int, batch: int = 2) -> Tensor:
    """(B, D, H, W, C)."""
    return torch.randn(batch, *size, CHANNELS, generator=torch.Generator().manual_seed(1))


def dense(layer: SelfAttention3d, x: Tensor, window: tuple[int, int, int] | None) -> Tensor:
    """All pairs of tokens in float64, those of other windows masked; rotation by complex phases of absolute positions."""
    place = torch.stack(torch.meshgrid(*(torch.arange(n) for n in x.shape[1:4]), indexing="ij"), dim=-1).reshape(-1, 3)
    block = place // torch.tensor(window or x.shape[1:4])
    visible = (block[:, None] == block[None]).all(-1)
    tokens = x.double().reshape(x.shape[0], -1, CHANNELS)
    parameters = {name: value.double() for name, value in layer.named_parameters()}
    qkv = tokens @ parameters["to_qkv.weight"].T + parameters["to_qkv.bias"]
    width, out = CHANNELS // HEADS, torch.zeros_like(tokens)
    pairs = width // 2
    turns = torch.stack(
        [place[:, j % 3].double() * ROTARY_BASE ** (-(j // 3) / max(1, pairs // 3)) for j in range(pairs)], dim=1
    )
    for head in range(HEADS):
        q, k, v = (qkv[..., part * CHANNELS + head * width :][..., :width] for part in range(3))
        q, k = (part / part.square().mean(-1, keepdim=True).sqrt() for part in (q, k))
        q, k = (torch.complex(part[..., :pairs], part[..., pairs:]) * torch.exp(1j * turns) for part in (q, k))
        score = (q @ k.mH).real / math.sqrt(width)
        weight = torch.where(visible, score, -torch.inf).softmax(-1)
        out[..., head * width : (head + 1) * width] = weight @ v
    return (out @ parameters["to_out.weight"].T + parameters["to_out.bias"]).reshape(x.shape)


@pytest.mark.parametrize(
    ("size", "window"),
    [((4, 6, 4), (2, 3, 2)), ((5, 6, 7), (3, 2, 4)), ((3, 4, 5), None), ((2, 3, 4), (8, 8, 8)), ((1, 5, 2), (2, 2, 2))],
)
def test_windowed_attention_equals_dense_attention_with_a_block_mask(
    size: tuple[int, int, int], window: tuple[int, int, int] | None
) -> None:
    """Sizes that are no multiple of the window, and windows larger than the volume, among them."""
    layer, x = self_attention(window), volume(*size)
    with torch.no_grad():
        torch.testing.assert_close(layer(x).double(), dense(layer, x, window), rtol=0.0, atol=ROUNDING)


def test_nothing_attends_to_the_padding() -> None:
    """Cutting off what lies beyond the last whole window leaves the other windows as they were."""
    layer, x = self_attention((2, 2, 2)), volume(4, 4, 5)
    with torch.no_grad():
        torch.testing.assert_close(layer(x)[:, :, :, :4], layer(x[:, :, :, :4]), rtol=0.0, atol=ROUNDING)


def test_rotary_scores_depend_on_the_difference_of_positions_alone() -> None:
    generator = torch.Generator().manual_seed(2)
    q, k = (torch.randn(12, generator=generator).expand(5 * 5 * 5, -1) for _ in range(2))
    angles = attention._rotary_angles([5, 5, 5], 12, torch.device("cpu"))
    scores = attention._rotated(q, angles) @ attention._rotated(k, angles).T
    table = scores.reshape(5, 5, 5, 5, 5, 5)  # from (d, h, w) to (d, h, w)
    torch.testing.assert_close(table[:4, :3, 1:, :4, :3, 1:], table[1:, 2:, :4, 1:, 2:, :4], rtol=0.0, atol=1e-4)
    by_axis = [table[0, 0, 0, 1, 0, 0], table[0, 0, 0, 0, 1, 0], table[0, 0, 0, 0, 0, 1], table[0, 0, 0, 0, 0, 0]]
    assert len({round(float(score), 3) for score in by_axis}) == 4  # every axis is told from the others, and from no step


def test_queries_and_keys_of_any_length_give_the_same_attention() -> None:
    """QK norm: scores are bounded whatever the weights grow to."""
    layer, x = self_attention((2, 2, 2)), volume(4, 4, 4)
    with torch.no_grad():
        layer.to_qkv.bias.zero_()
        before = layer(x)
        layer.to_qkv.weight[: 2 * CHANNELS] *= 1000.0
        torch.testing.assert_close(layer(x), before, rtol=0.0, atol=ROUNDING)


def test_no_weight_of_attention_exceeds_what_normalised_scores_allow() -> None:
    """Scores lie within +-sqrt(width), so of N tokens none gets more than e^(2 sqrt(width)) times another."""
    width = CHANNELS // HEADS
    parallel = attention._unit(torch.full((1, width), 1e4))
    assert float(parallel @ parallel.T) / math.sqrt(width) == pytest.approx(math.sqrt(width), rel=1e-5)
    random = attention._unit(1e4 * torch.randn(1000, width, generator=torch.Generator().manual_seed(0)))
    assert float((random @ random.T).abs().amax()) / math.sqrt(width) <= math.sqrt(width) * (1 + 1e-5)


def film_attention() -> FilmAttention:
    torch.manual_seed(0)
    return FilmAttention(CHANNELS, 10, HEADS)


def test_a_film_of_one_token_is_heard_alike_by_all_voxels() -> None:
    """One token takes all the weight: its value, through the last layer, everywhere."""
    layer, token = film_attention(), torch.randn(2, 1, 10, generator=torch.Generator().manual_seed(3))
    value = layer.to_out(layer.to_kv(token)[..., CHANNELS:])
    expected = value[:, :, None, None].expand(2, 2, 3, 4, CHANNELS)
    torch.testing.assert_close(layer(volume(2, 3, 4), token), expected, rtol=0.0, atol=ROUNDING)


def test_the_order_of_film_tokens_does_not_matter_but_their_content_does() -> None:
    layer, x = film_attention(), volume(2, 3, 4)
    tokens = torch.randn(2, 6, 10, generator=torch.Generator().manual_seed(3))
    heard = layer(x, tokens)
    torch.testing.assert_close(layer(x, tokens.flip(1)), heard, rtol=0.0, atol=ROUNDING)
    assert float((layer(x, tokens.roll(1, 2)) - heard).detach().abs().amax()) > 0.01


@pytest.mark.parametrize(("channels", "heads"), [(10, 3), (6, 2)])
def test_channels_that_give_no_heads_of_even_width_are_refused(channels: int, heads: int) -> None:
    with pytest.raises(ValueError, match=f"got {channels} channels and {heads} heads"):
        SelfAttention3d(channels, heads)
    with pytest.raises(ValueError, match=f"got {channels} channels and {heads} heads"):
        FilmAttention(channels, 8, heads)

"""What a network asks of columns: where they may begin, and how far from their edges they differ from the whole volume."""

from __future__ import annotations

import math

from torch import nn

from xct_components.networks.attention import SelfAttention3d
from xct_components.networks.hybrid_vit_unet import HybridViTUNet


def window_alignment(network: HybridViTUNet) -> int:
    """Columns that begin at multiples of so many voxels cut the attention windows as the whole volume does."""
    spans = [network.coarsest]
    for level, blocks in enumerate(network.vits):
        windows = (part.window for part in blocks.modules() if isinstance(part, SelfAttention3d) and part.window)
        spans += [side * network.patch * 2**level for window in windows for side in window[1:]]
    return math.lcm(*spans)


def column_reach(network: HybridViTUNet) -> int:
    """How far from an inner edge, in voxels, a column that keeps to ``window_alignment`` differs from the whole volume.

    Convolutions carry what is missing beyond the edge on by a token each, an attention window spreads it over itself, blended
    patches over their neighbours. Global attention is left out: it sees the whole column, whatever its width.
    """
    reach, spans = 0, [network.patch * 2**level for level in range(len(network.widths))]
    for level, span in enumerate(spans):
        reach = _next_multiple(reach, span) + span * _convolution_tokens(network.down_convs[level])
        for part in network.vits[level].modules():
            if isinstance(part, SelfAttention3d) and part.window:
                reach = _next_multiple(reach, span * max(part.window[1:]))
    for span, blocks in reversed(list(zip(spans, network.up_convs, strict=False))):
        reach += span * _convolution_tokens(blocks)
    return reach + (network.patch - 1 if network.blend_patches else 0)


def _convolution_tokens(blocks: nn.Module) -> int:
    """Tokens to each side that the convolutions of some blocks see, one after the other."""
    return sum(part.kernel_size[1] // 2 for part in blocks.modules() if isinstance(part, nn.Conv3d))


def _next_multiple(count: int, of: int) -> int:
    return -(-count // of) * of

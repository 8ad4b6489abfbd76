"""Full-depth film columns: how a volume is cut into them, and the weights with which they make it up again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

#: Ramps are rounded to multiples of this. Products and sums of such weights are exact in float32, so they sum to exactly 1.
RAMP_STEP = 1.0 / 1024.0
#: Share of an overlap, at least, at either end where the column that ends there counts nothing: it saw no neighbours there.
MARGIN_SHARE = 0.25


class ColumnWindow(NamedTuple):
    """A column and how much each of its rays counts.

    ``rows``, ``cols``: its part of H and W. ``weight``: (rows, cols); over all columns they sum to exactly 1 at every ray.
    """

    rows: slice
    cols: slice
    weight: Float[Tensor, "h w"]


def column_windows(
    shape: Sequence[int], column: int, overlap: int, *, multiple: int, alignment: int = 1, reach: int = 0
) -> list[ColumnWindow]:
    """Columns that cover a volume.

    Args:
        shape: (D, H, W) of the volume; H and W multiples of ``multiple``.
        column: side of a column in voxels, a multiple of ``multiple``; the last one along an axis may be smaller.
        overlap: of neighbours, at least, in voxels.
        multiple: what the network can take: columns begin and end at multiples of this.
        alignment: columns begin at multiples of this too, where the overlap leaves room for it.
        reach: how far from its edge, in voxels, a column differs from the whole volume. There it counts nothing as far as the
            overlap goes: with an overlap of twice the reach the columns make up exactly the whole, with less they meet in the
            middle of the overlap.

    Raises:
        ValueError: if a number breaks these rules.
    """
    _require(shape, column, overlap, multiple)
    aligned = (column - overlap) // alignment * alignment
    stride = aligned if aligned and alignment % multiple == 0 else (column - overlap) // multiple * multiple
    axes = [_windows(size, column, stride, reach) for size in shape[-2:]]
    return [
        ColumnWindow(rows, cols, row_weight[:, None] * col_weight[None, :])
        for rows, row_weight in axes[0]
        for cols, col_weight in axes[1]
    ]


def _windows(size: int, column: int, stride: int, reach: int) -> list[tuple[slice, Tensor]]:
    starts = list(range(0, max(size - column, 0) + stride, stride))
    ends = [min(start + column, size) for start in starts]
    rises = [torch.ones(size)]
    rises += [_rise(size, begin, end, reach) for begin, end in zip(starts[1:], ends, strict=False)]
    rises.append(torch.zeros(size))
    weights = [before - after for before, after in pairwise(rises)]
    return [(slice(start, end), weight[start:end]) for start, end, weight in zip(starts, ends, weights, strict=True)]


def _rise(size: int, begin: int, end: int, reach: int) -> Tensor:
    """0 before the overlap [begin, end), 1 behind it, flat at both of its ends, a cosine between; a step if no room is left."""
    margin = max((end - begin) * MARGIN_SHARE, min(reach, (end - begin) / 2.0))
    width = max(end - begin - 2.0 * margin, RAMP_STEP)
    places = (torch.arange(size, dtype=torch.float64) + 0.5 - begin - margin) / width
    ramp = 0.5 - 0.5 * torch.cos(math.pi * places.clamp(0.0, 1.0))
    return ((ramp / RAMP_STEP).round() * RAMP_STEP).float()


def _require(shape: Sequence[int], column: int, overlap: int, multiple: int) -> None:
    if column < multiple or column % multiple:
        raise ValueError(
            f"column must be a multiple of {multiple} voxels, got {column}; take {max(1, column // multiple) * multiple}"
        )
    if not 0 < overlap <= column - multiple:
        raise ValueError(f"overlap must lie between 1 and column - {multiple} = {column - multiple} voxels, got {overlap}")
    if any(size % multiple for size in shape[-2:]):
        raise ValueError(f"shape must have H and W in multiples of {multiple}, got {tuple(shape)}; pad the volume first")

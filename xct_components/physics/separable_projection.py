"""Projection through slices parallel to the film: two banded resamplings a slice, summed along the rays.

In slice k the rays of an aligned beam meet the voxels on a straight lattice, so film rows and columns separate:

    film = sum_k R_k S_k C_k^T

with S_k the slice, R_k and C_k banded (2 or 3 weights a row). ``embedding_bag`` is that product: it sums weighted rows of a
table, vectorised along the row, threaded over the output, in a fixed order. Between the two products a slab of slices is
transposed, few enough to stay in the processor's cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor

from xct_components.physics.slice_taps import AxisMap, Taps, TransposedAxisMap

#: Bytes of one slab of slices: small enough for a core's cache, and for the allocator to hand out the same pages again
#: (measured best of 1/4, 1/2, 3/4, 1, 2, 4 MiB).
SLAB_BYTES = 1 << 19
#: On an accelerator, where a slab costs a few kernel launches (a choice, not yet measured).
ACCELERATOR_SLAB_BYTES = 256 << 20
#: A volume whose slices are not contiguous is read this many slices at a time: one cache line of float32.
STRIDED_SLICES = 16

Banded = AxisMap | TransposedAxisMap


class Order(Enum):
    """How the weighted sums of a slab follow each other."""

    SLICE_BY_SLICE = "(k O, L)"
    ROW_BY_ROW = "(O k, L)"
    SLICES_ADDED = "(O, L)"


@dataclass(frozen=True)
class SliceLayout:
    """How a volume (S, D, H, W) is read as slices (S, K, Y, X) parallel to the film.

    Args:
        shape: (D, H, W).
        axes: which of the three volume axes are the slices K, and the in-slice axes Y and X.
        y_range: Y range that any ray touches.
        x_range: X range that any ray touches.
    """

    shape: tuple[int, int, int]
    axes: tuple[int, int, int]
    y_range: tuple[int, int]
    x_range: tuple[int, int]

    @property
    def whole(self) -> bool:
        """Whether the slices cover the volume."""
        _, y, x = (self.shape[axis] for axis in self.axes)
        return self.y_range == (0, y) and self.x_range == (0, x)

    def slices(self, volume: Tensor) -> Tensor:
        """The (S, K, Y, X) view of a (S, D, H, W) volume; writing to it writes to the volume."""
        view = volume.permute(0, *(1 + axis for axis in self.axes))
        return view[:, :, self.y_range[0] : self.y_range[1], self.x_range[0] : self.x_range[1]]


@dataclass(frozen=True)
class SliceResampling:
    """Two banded maps per slice between a volume (S, D, H, W) and a film (S, rows, cols).

    Args:
        layout: where the slices lie in the volume; voxels outside them are 0.
        y_map: between Y voxels and one film axis V, slice by slice, in the direction of the operator.
        x_map: between X voxels and the other film axis U, likewise.
        turned: whether V runs along the film's columns instead of its rows.
        scale: factor per film pixel, broadcastable to (rows, cols).
    """

    layout: SliceLayout
    y_map: Banded
    x_map: Banded
    turned: bool
    scale: Tensor


class SliceSum(SliceResampling):
    """Film from volume: the sum over slices of resampled slices, times ``scale``."""

    @property
    def adjoint(self) -> SliceSpread:
        """The transpose: film -> volume."""
        return SliceSpread(self.layout, self.y_map.transposed, self.x_map.transposed, self.turned, self.scale)

    def __call__(self, volume: Tensor) -> Tensor:
        """Apply to (S, D, H, W); accumulates and returns float32 (float64 for float64)."""
        dtype = accumulation_dtype(volume)
        slices, y_map, x_map = self.layout.slices(volume), self.y_map, self.x_map
        if y_map.constant and x_map.constant:
            slices, y_map, x_map = slices.sum(1, keepdim=True, dtype=dtype), y_map.first_slice, x_map.first_slice
        y_taps, x_taps = (m.taps(volume.device, dtype) for m in (y_map, x_map))
        sheets, _, _, width = slices.shape
        lines = y_map.n_out
        film = volume.new_zeros((x_map.n_out, sheets * lines), dtype=dtype)
        for slab in _slabs(slices, lines, dtype):
            table, strides = _read(slices, slab, dtype)  # (k Y, S X) or (Y k, S X)
            table = _row_sums(table, y_taps, slab, strides, Order.SLICE_BY_SLICE)  # (k V, S X)
            table = _turned(table.view(-1, lines, sheets, width))  # (k X, S V)
            film += _row_sums(table, x_taps, slab, (width, 1), Order.SLICES_ADDED)  # (U, S V)
        film = film.view(-1, sheets, lines).permute(1, 0, 2) if self.turned else film.view(-1, sheets, lines).permute(1, 2, 0)
        return film * self.scale.to(film)


class SliceSpread(SliceResampling):
    """Volume from film: each slice resampled from the film times ``scale``."""

    @property
    def adjoint(self) -> SliceSum:
        """The transpose: volume -> film."""
        return SliceSum(self.layout, self.y_map.transposed, self.x_map.transposed, self.turned, self.scale)

    def __call__(self, film: Tensor) -> Tensor:
        """Apply to (S, rows, cols); accumulates and returns float32 (float64 for float64)."""
        dtype = accumulation_dtype(film)
        volume = film.new_empty((film.shape[0], *self.layout.shape), dtype=dtype)
        if not self.layout.whole:
            volume.zero_()
        slices, y_map, x_map = self.layout.slices(volume), self.y_map, self.x_map
        alike = y_map.constant and x_map.constant
        if alike:
            y_map, x_map = y_map.first_slice, x_map.first_slice
        y_taps, x_taps = (m.taps(film.device, dtype) for m in (y_map, x_map))
        sheets, _, height, width = slices.shape
        lines, order = y_map.n_in, Order.ROW_BY_ROW if slices.stride(1) == 1 else Order.SLICE_BY_SLICE
        scaled = film.to(dtype) * self.scale.to(film.device, dtype)
        columns = scaled.permute((2, 0, 1) if not self.turned else (1, 0, 2)).reshape(-1, sheets * lines)  # (U, S V)
        for slab in _slabs(slices[:, :1] if alike else slices, lines, dtype):
            table = _row_sums(columns, x_taps, slab, (0, 1), Order.SLICE_BY_SLICE)  # (k X, S V)
            table = _turned(table.view(-1, width, sheets, lines))  # (k V, S X)
            table = _row_sums(table, y_taps, slab, (lines, 1), order)  # (k Y, S X) or (Y k, S X)
            block = (
                table.view(-1, height, sheets, width)
                if order is Order.SLICE_BY_SLICE
                else table.view(height, -1, sheets, width)
            )
            slices[:, slice(None) if alike else slab] = block.permute(
                (2, 0, 1, 3) if order is Order.SLICE_BY_SLICE else (2, 1, 0, 3)
            )
        return volume


def accumulation_dtype(x: Tensor) -> torch.dtype:
    """float64 for float64, else float32."""
    return torch.float64 if x.dtype == torch.float64 else torch.float32


def _slabs(slices: Tensor, lines: int, dtype: torch.dtype) -> Iterator[slice]:
    sheets, depth, height, width = slices.shape
    slice_bytes = sheets * max(height, lines) * width * dtype.itemsize
    slab_bytes = SLAB_BYTES if slices.device.type == "cpu" else ACCELERATOR_SLAB_BYTES
    thickness = max(slab_bytes // slice_bytes, STRIDED_SLICES if slices.stride(1) == 1 else 1)
    return (slice(start, min(start + thickness, depth)) for start in range(0, depth, thickness))


def _read(slices: Tensor, slab: slice, dtype: torch.dtype) -> tuple[Tensor, tuple[int, int]]:
    """The slab of (S, K, Y, X) as a table of rows (S X), and how many rows lie from slice to slice and from Y to Y."""
    block = slices[:, slab].to(dtype)
    sheets, thickness, height, width = block.shape
    if slices.stride(1) == 1:  # neighbours in memory lie across slices: keep them close
        return block.permute(2, 1, 0, 3).reshape(-1, sheets * width), (1, thickness)
    return block.permute(1, 2, 0, 3).reshape(-1, sheets * width), (height, 1)


def _row_sums(table: Tensor, taps: Taps, slab: slice, strides: tuple[int, int], order: Order) -> Tensor:
    """Weighted sums of table rows; ``strides`` are the rows from slice to slice and from input sample to input sample."""
    index, weight = taps.index[slab], taps.weight[slab]
    thickness, _, width = index.shape
    first_row = torch.arange(thickness, device=index.device, dtype=index.dtype) * strides[0]
    index = index * strides[1] + first_row[:, None, None]
    if order is not Order.SLICE_BY_SLICE:
        index, weight = index.transpose(0, 1), weight.transpose(0, 1)  # (O, k, T)
    bag = thickness * width if order is Order.SLICES_ADDED else width
    offsets = torch.arange(0, index.numel(), bag, device=index.device, dtype=index.dtype)
    sums: Tensor = torch.embedding_bag(table, index.reshape(-1), offsets, False, 0, False, weight.reshape(-1))[0]
    return sums


def _turned(block: Tensor) -> Tensor:
    """(k, A, S, B) -> (k B, S A), contiguous."""
    slices, a, sheets, b = block.shape
    if sheets > 1 or block.device.type != "cpu":
        return block.permute(0, 3, 2, 1).reshape(slices * b, sheets * a).contiguous()
    turned = block.new_empty((slices, b, a))
    for k in range(slices):  # the two-dimensional copy is blocked: half the CPU time of one permuted copy
        turned[k].copy_(block[k, :, 0].t())
    return turned.view(slices * b, a)

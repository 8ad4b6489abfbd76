"""Scaling the voxels along every ray of one exposure: mu * B(ratio), B the backprojection normalised to B 1 = 1.

With gradients the factor is a volume. Without, it is made and applied a few slices at a time: a full-size volume is 640 MB.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor

from xct_components.geometry import Beam, VolumeGrid
from xct_components.physics.linear_operator import LinearOperator, apply_linear
from xct_components.physics.projection_operator import projection_operator
from xct_components.physics.separable_projection import STRIDED_SLICES, Banded, SliceLayout, SliceSpread
from xct_components.physics.slice_taps import TransposedAxisMap

#: Bytes of a factor that is made at once; a slab takes about five times this for a moment.
SLAB_BYTES = 32 << 20


def scaled_along_rays(
    mu_per_mm: Float[Tensor, "b c d h w"], ratio: Float[Tensor, "b 1 c rows cols"], grid: VolumeGrid, beam: Beam
) -> Float[Tensor, "b c d h w"]:
    """The voxels times the mean ratio of the rays that meet them; differentiable in both.

    Args:
        mu_per_mm: (B, C, D, H, W).
        ratio: (B, 1, C, rows, cols) what each ray is to be multiplied by.
        grid: where the voxels lie.
        beam: the exposure.

    Returns:
        (B, C, D, H, W); voxels that no ray meets are unchanged.
    """
    spread = projection_operator(grid, beam).adjoint
    factor = _factor(spread, ratio.flatten(0, 2)).unflatten(0, mu_per_mm.shape[:2])
    return mu_per_mm * factor.to(mu_per_mm.dtype)


def scale_along_rays_(
    mu_per_mm: Float[Tensor, "b c d h w"], ratio: Float[Tensor, "b 1 c rows cols"], grid: VolumeGrid, beam: Beam
) -> None:
    """``scaled_along_rays`` in place, with the same bits and without gradients; ``mu_per_mm`` may be a view.

    For a film aligned with the voxels the temporaries are a few slabs of ``SLAB_BYTES``, for another pose two volumes.
    """
    spread, rays = projection_operator(grid, beam).adjoint, ratio.flatten(0, 2)
    with torch.no_grad():
        for part, window in _slabs(spread, grid.shape, mu_per_mm[:, :, 0, 0, 0].numel() * mu_per_mm.dtype.itemsize):
            d, h, w = window
            voxels = mu_per_mm[..., d, h, w]
            voxels.mul_(_factor(part, rays).unflatten(0, mu_per_mm.shape[:2]).to(mu_per_mm.dtype))


def _factor(spread: LinearOperator, ratio: Tensor) -> Tensor:
    """(S, rows, cols) -> (S, D, H, W): the mean of the rays that meet a voxel, 1 where none does."""
    coverage = spread(torch.ones_like(ratio[:1]))
    reached = coverage > 0.0
    return torch.where(reached, apply_linear(spread, ratio) / torch.where(reached, coverage, 1.0), 1.0)


def _slabs(
    spread: LinearOperator, shape: tuple[int, int, int], bytes_per_voxel: int
) -> Iterator[tuple[LinearOperator, tuple[slice, ...]]]:
    """Operators that fill a window of the volume each, and the windows; outside of them all no voxel is met."""
    if not isinstance(spread, SliceSpread) or shape[0] * shape[1] * shape[2] * bytes_per_voxel <= SLAB_BYTES:
        yield spread, (slice(None),) * 3
        return
    depth, y, x = spread.layout.axes
    slice_bytes = shape[y] * shape[x] * bytes_per_voxel
    thickness = max(1, SLAB_BYTES // slice_bytes // STRIDED_SLICES) * STRIDED_SLICES
    for start in range(0, shape[depth], thickness):
        slab = slice(start, min(start + thickness, shape[depth]))
        cut = {depth: slab, y: slice(*spread.layout.y_range), x: slice(*spread.layout.x_range)}
        yield _of_slices(spread, slab), tuple(cut[axis] for axis in range(3))


def _of_slices(spread: SliceSpread, slab: slice) -> SliceSpread:
    """The operator onto some slices, and in them onto what any ray meets."""
    depth, y, x = spread.layout.axes
    size = {depth: slab.stop - slab.start, y: spread.y_map.n_out, x: spread.x_map.n_out}
    layout = SliceLayout((size[0], size[1], size[2]), spread.layout.axes, (0, size[y]), (0, size[x]))
    y_map, x_map = (_map_of_slices(banded, slab) for banded in (spread.y_map, spread.x_map))
    return replace(spread, layout=layout, y_map=y_map, x_map=x_map)


def _map_of_slices(banded: Banded, slab: slice) -> Banded:
    original = cast(TransposedAxisMap, banded).original  # a spread is the transpose of a projection
    return replace(original, slope=original.slope[slab], intercept=original.intercept[slab]).transposed

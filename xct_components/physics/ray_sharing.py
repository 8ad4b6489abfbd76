"""Handing a film's corrections back to the voxels along its rays: ``mu * B(coarse) + w(mu) * B(fine)``.

B is the backprojection normalised to B 1 = 1. What is coarse scales a ray as a whole, what is fine is shared by ``w``. With
gradients both are volumes. Without, they are made and applied a few slices at a time: a full-size volume is 640 MB.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor

from xct_components.geometry import Beam, VolumeGrid
from xct_components.physics.attenuation import FILM_ENERGY_KEV, water_mu_per_mm
from xct_components.physics.linear_operator import LinearOperator, apply_linear
from xct_components.physics.projection_operator import projection_operator
from xct_components.physics.projector import project
from xct_components.physics.separable_projection import STRIDED_SLICES, Banded, SliceLayout, SliceSpread
from xct_components.physics.slice_taps import TransposedAxisMap

#: Bytes of a correction that is made at once; a slab takes about eight times this for a moment.
SLAB_BYTES = 32 << 20
#: Attenuation, in parts of water's, that takes the largest share.
SHARE_PEAK = 0.45


def fine_share_per_mm(mu_per_mm: Float[Tensor, "*grid"]) -> Float[Tensor, "*grid"]:
    """How much of a fine structure a voxel takes: about how far its attenuation is in doubt.

    ``mu x / (1 + x^4)`` with x = mu / m and m 0.45 of water's attenuation: air takes nothing, lung and the blurred borders of
    organs most, muscle and bone little. Its ratios are about those of the variance of errors that are fine across the rays,
    where a cascade had predicted mu (``python -m benchmarks.doubt``): 2 to 3 times as large at a third to two thirds of water
    as in water.

    Args:
        mu_per_mm: attenuation per mm, >= 0.

    Returns:
        Likewise, between 0 and 0.57 mu.
    """
    of_peak = mu_per_mm / (SHARE_PEAK * water_mu_per_mm(FILM_ENERGY_KEV))
    return mu_per_mm * of_peak / (1.0 + of_peak**4)


def project_fine_share(mu_per_mm: Float[Tensor, "b c d h w"], grid: VolumeGrid, beam: Beam) -> Float[Tensor, "b 1 c rows cols"]:
    """Line integrals of ``fine_share_per_mm``; without gradients the shares are made a slab at a time."""
    if torch.is_grad_enabled():
        return project(fine_share_per_mm(mu_per_mm), grid, [beam])
    spread, films = projection_operator(grid, beam).adjoint, []
    for part, window in _slabs(spread, grid.shape, _bytes_per_voxel(mu_per_mm)):
        films.append(part.adjoint(fine_share_per_mm(_windowed(mu_per_mm, window)).flatten(0, 1)))
    return torch.stack(films).sum(0).unflatten(0, (mu_per_mm.shape[0], 1, mu_per_mm.shape[1]))


def corrected_along_rays_once(
    mu_per_mm: Float[Tensor, "b c d h w"],
    coarse: Float[Tensor, "b 1 c rows cols"],
    fine: Float[Tensor, "b 1 c rows cols"],
    grid: VolumeGrid,
    beam: Beam,
) -> Float[Tensor, "b c d h w"]:
    """The voxels times the mean ``coarse`` of the rays that meet them, plus their share times the mean ``fine``.

    Differentiable in volume and both films. Where no gradients are recorded ``mu_per_mm``, which may be a view, is itself
    corrected, equal but for rounding: for a film aligned with the voxels the temporaries are a few slabs of ``SLAB_BYTES``,
    for another pose some volumes.

    Args:
        mu_per_mm: (B, C, D, H, W), >= 0.
        coarse: (B, 1, C, rows, cols) what each ray is to be multiplied by.
        fine: (B, 1, C, rows, cols) how many shares each ray is to gain, or to lose.
        grid: where the voxels lie.
        beam: the exposure.

    Returns:
        (B, C, D, H, W), >= 0; voxels that no ray meets are unchanged.
    """
    spread = projection_operator(grid, beam).adjoint
    if torch.is_grad_enabled():
        return _corrected(mu_per_mm, spread, coarse, fine)
    for part, window in _slabs(spread, grid.shape, _bytes_per_voxel(mu_per_mm)):
        voxels = _windowed(mu_per_mm, window)
        voxels.copy_(_corrected(voxels, part, coarse, fine))
    return mu_per_mm


def _corrected(mu: Tensor, spread: LinearOperator, coarse: Tensor, fine: Tensor) -> Tensor:
    """The voxels that ``spread`` fills, corrected; those that no ray meets as they were."""
    coverage = spread(torch.ones_like(coarse[0, 0, :1]))
    met = coverage > 0.0
    coverage = torch.where(met, coverage, 1.0)
    scale, shares = (
        (apply_linear(spread, film.flatten(0, 2)) / coverage).unflatten(0, mu.shape[:2]).to(mu.dtype) for film in (coarse, fine)
    )
    return torch.where(met, mu * scale + fine_share_per_mm(mu) * shares, mu).clamp_min(0.0)


def _windowed(volume: Tensor, window: tuple[slice, ...]) -> Tensor:
    d, h, w = window
    return volume[..., d, h, w]


def _bytes_per_voxel(volume: Tensor) -> int:
    return volume[:, :, 0, 0, 0].numel() * volume.dtype.itemsize


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

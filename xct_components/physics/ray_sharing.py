"""Handing a film's corrections back to voxels along its rays: ``(mu + u(mu) B(coarse)) B(factor) + w(mu) B(fine)``.

B is the backprojection normalised to B 1 = 1, u and w what a voxel takes of what its ray lacks. With gradients both are
volumes. Without, they are made and applied a few slices at a time: a full-size volume is 640 MB.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import accumulate
from typing import NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor

from xct_components.geometry import Beam, VolumeGrid
from xct_components.physics.attenuation import FILM_ENERGY_KEV, water_mu_per_mm
from xct_components.physics.enclosure import enclosure, highest_along
from xct_components.physics.film_corrections import RayCorrections
from xct_components.physics.linear_operator import LinearOperator, apply_linear
from xct_components.physics.projection_operator import projection_operator, ray_axis
from xct_components.physics.separable_projection import STRIDED_SLICES, Banded, SliceLayout, SliceSpread
from xct_components.physics.slice_taps import TransposedAxisMap

#: Bytes of a correction that is made at once; a slab takes about ten times this for a moment. With four times as much 256³
#: voxels take twice the time: the system clears the pages of every temporary anew.
SLAB_BYTES = 8 << 20
#: Attenuation, in parts of water's, from which on a voxel takes less and less of what is coarse.
SOLID = 0.7
#: Attenuation, in parts of water's, that takes about the largest share of what is fine.
SHARE_PEAK = 0.5
#: Part of its share that a voxel keeps where nothing encloses it.
OUTSIDE_SHARE = 0.1
WHOLE = (slice(None), slice(None), slice(None))


def coarse_share_per_mm(mu_per_mm: Float[Tensor, "b c d h w"]) -> Float[Tensor, "b c d h w"]:
    """How much of a difference over centimetres of the film a voxel takes.

    ``mu / (1 + x^4)`` with x = mu / m, m seven tenths of water's attenuation. That is about the regression of what bent CTs
    lack of the truth on what their rays lack (``python -m benchmarks.doubt``): in proportion to mu up to two thirds of water,
    lungs and the blurred borders of organs and body; then less, as muscle is muscle in everybody, and least in bone. Scaling
    the ray (Gordon, Bender & Herman), which is in proportion to mu everywhere, draws stripes through muscle and fat.

    Args:
        mu_per_mm: (B, C, D, H, W) attenuation per mm, >= 0.

    Returns:
        (B, C, D, H, W), between 0 and mu.
    """
    squared = (mu_per_mm / (SOLID * water_mu_per_mm(FILM_ENERGY_KEV))).square()
    return mu_per_mm / (1.0 + squared.square())


def fine_share_per_mm(
    mu_per_mm: Float[Tensor, "b c d h w"], enclosed: Float[Tensor, "b c d h w"]
) -> Float[Tensor, "b c d h w"]:
    """How much of a fine structure of the film a voxel takes.

    ``mu x / (1 + x^6) (b + (1 - b) e)`` with x = mu / m, m half of water's attenuation, e the ``enclosure`` and b a tenth: lung
    and the blurred borders of organs within the chest take most, muscle and bone little, the blurred skin next to nothing, air
    nothing. Its ratios are about those of the covariance of what a cascade's volumes lack with what their films lack, where
    both are fine (``python -m benchmarks.doubt``). The *variance* of that error is as large in the skin as in the lung, but a
    skin that lies elsewhere than predicted leaves no fine trace on the film.

    Args:
        mu_per_mm: (B, C, D, H, W) attenuation per mm, >= 0.
        enclosed: (B, C, D, H, W) from ``enclosure``.

    Returns:
        (B, C, D, H, W), between 0 and 0.64 mu.
    """
    peak = SHARE_PEAK * water_mu_per_mm(FILM_ENERGY_KEV)
    squared = (mu_per_mm / peak).square()
    share = squared / (1.0 + squared.square() * squared)
    return share * (OUTSIDE_SHARE * peak + (1.0 - OUTSIDE_SHARE) * peak * enclosed)


class Slab(NamedTuple):
    """Some slices of a volume.

    ``spread``: the backprojection onto them. ``window``: which voxels these are. ``before`` and ``behind``: see ``enclosure``.
    """

    spread: LinearOperator
    window: tuple[slice, slice, slice]
    before: Tensor | None = None
    behind: Tensor | None = None


class RayShares:
    """A volume whose voxels share what the rays of one beam lack.

    Where no gradients are recorded all is done a few slices at a time: the temporaries for a film aligned with the voxels are a
    few slabs of ``SLAB_BYTES``, for another pose some volumes.

    Args:
        mu_per_mm: (B, C, D, H, W) attenuation per mm, >= 0; may be a view.
        grid: where the voxels lie.
        beam: the exposure.
    """

    def __init__(self, mu_per_mm: Float[Tensor, "b c d h w"], grid: VolumeGrid, beam: Beam) -> None:
        self.mu_per_mm, self.axis = mu_per_mm, ray_axis(grid, beam)
        spread = projection_operator(grid, beam).adjoint
        self.slabs = [Slab(spread, WHOLE)]
        if not torch.is_grad_enabled():
            self.slabs = _with_rims(list(_slabs(spread, grid.shape, _bytes_per_voxel(mu_per_mm))), mu_per_mm, self.axis)
        self._of_whole = self._made_shares(self.slabs[0]) if len(self.slabs) == 1 else None

    def projected(self) -> tuple[Float[Tensor, "b 1 c rows cols"], Float[Tensor, "b 1 c rows cols"]]:
        """Line integrals of the coarse shares and of the fine ones."""
        sums: list[Tensor] = []
        for slab in self.slabs:
            films = [apply_linear(slab.spread.adjoint, share.flatten(0, 1)) for share in self._shares(slab)]
            sums = [before + film for before, film in zip(sums, films, strict=True)] if sums else films
        batch = (self.mu_per_mm.shape[0], 1, self.mu_per_mm.shape[1])
        return sums[0].unflatten(0, batch), sums[1].unflatten(0, batch)

    def corrected(self, corrections: RayCorrections) -> Float[Tensor, "b c d h w"]:
        """The volume with what its rays are to gain: every voxel as the mean of the rays that meet it.

        Differentiable in volume and corrections. Where no gradients are recorded the volume itself is corrected, equal but for
        rounding; the shares are then used up.

        Returns:
            (B, C, D, H, W), >= 0; voxels that no ray meets are unchanged.
        """
        if torch.is_grad_enabled():
            slab = self.slabs[0]
            return _corrected(self.mu_per_mm, self._shares(slab), slab.spread, corrections)
        for slab in self.slabs:
            voxels = _windowed(self.mu_per_mm, slab.window)
            voxels.copy_(_corrected(voxels, self._shares(slab), slab.spread, corrections))
        return self.mu_per_mm

    def _shares(self, slab: Slab) -> tuple[Tensor, Tensor]:
        """Those of a whole volume are made once; those of slabs twice, so that no volume is held."""
        return self._made_shares(slab) if self._of_whole is None else self._of_whole

    def _made_shares(self, slab: Slab) -> tuple[Tensor, Tensor]:
        voxels = _windowed(self.mu_per_mm, slab.window)
        enclosed = enclosure(voxels, self.axis, slab.before, slab.behind)
        return coarse_share_per_mm(voxels), fine_share_per_mm(voxels, enclosed)


def _corrected(mu: Tensor, shares: tuple[Tensor, Tensor], spread: LinearOperator, corrections: RayCorrections) -> Tensor:
    """The voxels that ``spread`` fills, corrected; those that no ray meets as they were."""
    coverage = spread(torch.ones_like(corrections.fine[0, 0, :1]))
    met = coverage > 0.0
    coverage = torch.where(met, coverage, 1.0)

    def mean(film: Tensor) -> Tensor:
        return (apply_linear(spread, film.flatten(0, 2)) / coverage).unflatten(0, mu.shape[:2]).to(mu.dtype)

    corrected = mu + shares[0] * mean(corrections.coarse)
    if bool((corrections.factor != 1.0).any()):
        corrected = corrected * mean(corrections.factor)
    return torch.where(met, corrected + shares[1] * mean(corrections.fine), mu).clamp_min(0.0)


def _with_rims(slabs: list[Slab], mu: Tensor, axis: int) -> list[Slab]:
    """The slabs, one behind the other, with the highest attenuation before and behind each."""
    if len(slabs) == 1:
        return slabs
    highest = [highest_along(_windowed(mu, slab.window), axis) for slab in slabs]
    before = [None, *accumulate(highest[:-1], torch.maximum)]
    behind = [*list(accumulate(highest[:0:-1], torch.maximum))[::-1], None]
    return [slab._replace(before=b, behind=a) for slab, b, a in zip(slabs, before, behind, strict=True)]


def _windowed(volume: Tensor, window: tuple[slice, slice, slice]) -> Tensor:
    d, h, w = window
    return volume[..., d, h, w]


def _bytes_per_voxel(volume: Tensor) -> int:
    return volume[:, :, 0, 0, 0].numel() * volume.dtype.itemsize


def _slabs(spread: LinearOperator, shape: tuple[int, int, int], bytes_per_voxel: int) -> Iterator[Slab]:
    """Slabs, one behind the other; outside of them all no voxel is met."""
    if not isinstance(spread, SliceSpread) or shape[0] * shape[1] * shape[2] * bytes_per_voxel <= SLAB_BYTES:
        yield Slab(spread, WHOLE)
        return
    depth, y, x = spread.layout.axes
    slice_bytes = shape[y] * shape[x] * bytes_per_voxel
    thickness = max(1, SLAB_BYTES // slice_bytes // STRIDED_SLICES) * STRIDED_SLICES
    for start in range(0, shape[depth], thickness):
        slab = slice(start, min(start + thickness, shape[depth]))
        cut = {depth: slab, y: slice(*spread.layout.y_range), x: slice(*spread.layout.x_range)}
        yield Slab(_of_slices(spread, slab), (cut[0], cut[1], cut[2]))


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

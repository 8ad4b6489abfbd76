"""Handing a film's corrections back to the voxels along its rays: ``mu * B(coarse) + w(mu) * B(fine)``.

B is the backprojection normalised to B 1 = 1. What is coarse scales a ray as a whole, what is fine is shared by ``w``. With
gradients both are volumes. Without, they are made and applied a few slices at a time: a full-size volume is 640 MB.
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
from xct_components.physics.linear_operator import LinearOperator, apply_linear
from xct_components.physics.projection_operator import projection_operator, ray_axis
from xct_components.physics.separable_projection import STRIDED_SLICES, Banded, SliceLayout, SliceSpread
from xct_components.physics.slice_taps import TransposedAxisMap

#: Bytes of a correction that is made at once; a slab takes about eight times this for a moment.
SLAB_BYTES = 32 << 20
#: Attenuation, in parts of water's, that takes about the largest share.
SHARE_PEAK = 0.5
#: Part of its share that a voxel keeps where nothing encloses it.
OUTSIDE_SHARE = 0.1
WHOLE = (slice(None), slice(None), slice(None))


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
        self._of_whole = self._made_share(self.slabs[0]) if len(self.slabs) == 1 else None

    def projected(self) -> Float[Tensor, "b 1 c rows cols"]:
        """Line integrals of the shares, ``fine_share_per_mm``."""
        films = [apply_linear(slab.spread.adjoint, self._share(slab).flatten(0, 1)) for slab in self.slabs]
        return torch.stack(films).sum(0).unflatten(0, (self.mu_per_mm.shape[0], 1, self.mu_per_mm.shape[1]))

    def corrected(
        self, coarse: Float[Tensor, "b 1 c rows cols"], fine: Float[Tensor, "b 1 c rows cols"]
    ) -> Float[Tensor, "b c d h w"]:
        """The voxels times the mean ``coarse`` of the rays that meet them, plus their share times the mean ``fine``.

        Differentiable in volume and both films. Where no gradients are recorded the volume itself is corrected, equal but for
        rounding; the shares are then used up.

        Args:
            coarse: (B, 1, C, rows, cols) what each ray is to be multiplied by.
            fine: (B, 1, C, rows, cols) how many shares each ray is to gain, or to lose.

        Returns:
            (B, C, D, H, W), >= 0; voxels that no ray meets are unchanged.
        """
        if torch.is_grad_enabled():
            return _corrected(self.mu_per_mm, self._share(self.slabs[0]), self.slabs[0].spread, coarse, fine)
        for slab in self.slabs:
            voxels = _windowed(self.mu_per_mm, slab.window)
            voxels.copy_(_corrected(voxels, self._share(slab), slab.spread, coarse, fine))
        return self.mu_per_mm

    def _share(self, slab: Slab) -> Tensor:
        """That of a whole volume is made once; those of slabs twice, so that no volume is held."""
        return self._made_share(slab) if self._of_whole is None else self._of_whole

    def _made_share(self, slab: Slab) -> Tensor:
        voxels = _windowed(self.mu_per_mm, slab.window)
        return fine_share_per_mm(voxels, enclosure(voxels, self.axis, slab.before, slab.behind))


def _corrected(mu: Tensor, share: Tensor, spread: LinearOperator, coarse: Tensor, fine: Tensor) -> Tensor:
    """The voxels that ``spread`` fills, corrected; those that no ray meets as they were."""
    coverage = spread(torch.ones_like(coarse[0, 0, :1]))
    met = coverage > 0.0
    coverage = torch.where(met, coverage, 1.0)
    scale, shares = (
        (apply_linear(spread, film.flatten(0, 2)) / coverage).unflatten(0, mu.shape[:2]).to(mu.dtype) for film in (coarse, fine)
    )
    return torch.where(met, mu * scale + share * shares, mu).clamp_min(0.0)


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

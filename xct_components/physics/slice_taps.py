"""Banded interpolation weights between two lattices whose offset and scale change from slice to slice."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from functools import cached_property, lru_cache

import torch
from torch import Tensor

#: Boxes narrower than this (in samples) are left out, without a trace in float64: no 0/0.
NARROWEST_BOX = 1e-6
#: How unevenly neighbouring voxels may count on a film: the ripple that ``box_width`` leaves.
COVERAGE_RIPPLE = 0.005
#: Taps of a map with at most this many (slice, sample) pairs are kept for the next call with the same geometry.
KEPT_TAPS = 1 << 17
#: Slices whose taps are computed together: the float64 intermediates of more would outweigh the result.
SLICES_AT_A_TIME = 64


class Footprint(str, Enum):
    """What one output sample collects of the input lattice."""

    RAY = "ray"
    """The linear interpolant at its centre (Joseph, IEEE Trans Med Imaging 1982;1:192)."""
    AREA = "area"
    """The mean of the linear interpolant over its width: see ``area_weight`` and ``box_width``."""

    @classmethod
    def _missing_(cls, value: object) -> Footprint:
        raise ValueError(f'footprint must be "area" or "ray", got {value!r}')


def ray_weight(distance: Tensor) -> Tensor:
    """Linear interpolation weight at ``distance`` samples from the ray: a hat of half-width 1."""
    return (1.0 - distance.abs()).clamp_min(0.0)


def area_weight(distance: Tensor, width: Tensor) -> Tensor:
    """Mean of the hat over a box of ``width`` samples around ``distance``: its integral, taken at both ends.

    The weights are >= 0, sum to 1 over the samples, and have their centroid at the box's centre.
    """
    box = width.clamp_min(NARROWEST_BOX)
    mean = (_hat_integral(distance + box / 2) - _hat_integral(distance - box / 2)).clamp_min(0.0) / box
    return torch.where(width > NARROWEST_BOX, mean, ray_weight(distance))


def box_width(pixel_width: Tensor) -> Tensor:
    """The box whose mean over the hats stands for a pixel of ``pixel_width`` samples: at most the pixel, often less.

    Linear interpolation already blurs by a variance of 1/6 sample^2, so averaging over the whole pixel blurs too much. But a
    narrower box lets voxels between pixel centres count less, by 2 sinc^2(1/p) sinc(box/p): the first harmonic of hat * box
    on a lattice of pitch p. This is the narrowest box that keeps the ripple within ``COVERAGE_RIPPLE``: next to nothing
    where pixel and voxel are of one size, the whole pixel on coarse detectors.
    """
    allowed = COVERAGE_RIPPLE / (2.0 * torch.sinc(1.0 / pixel_width).square()).clamp_min(1e-12)
    low, high = torch.zeros_like(pixel_width), torch.ones_like(pixel_width)
    for _ in range(40):  # bisection: sinc falls from 1 to 0 on [0, 1]
        middle = (low + high) / 2
        too_narrow = torch.sinc(middle) > allowed
        low, high = torch.where(too_narrow, middle, low), torch.where(too_narrow, high, middle)
    return low * pixel_width


def _hat_integral(x: Tensor) -> Tensor:
    """Integral of the hat from -infinity to x, folded to x <= 0 so that nothing cancels."""
    rise = (1.0 - x.abs()).clamp_min(0.0).square() / 2.0
    return torch.where(x > 0, 1.0 - rise, rise)


@dataclass(frozen=True)
class Taps:
    """Who contributes to each output sample: ``output[k, o] = sum_t weight[k, o, t] * input[k, index[k, o, t]]``.

    Args:
        index: (K, O, T) int32 positions in the input, always within range.
        weight: (K, O, T); 0 where the tap would lie outside the input.
    """

    index: Tensor
    weight: Tensor


@dataclass(frozen=True, eq=False)
class AxisMap:
    """One axis of a slice-wise resampling: in slice k, output sample o sits at input coordinate slope[k] * o + intercept[k].

    Args:
        slope: (K,) float64 input samples per output sample, not 0.
        intercept: (K,) float64 input coordinate of output sample 0.
        n_in: samples of the input lattice.
        n_out: samples of the output lattice.
        footprint: what an output sample collects; a pixel is |slope| input samples wide.
    """

    slope: Tensor
    intercept: Tensor
    n_in: int
    n_out: int
    footprint: Footprint

    @cached_property
    def constant(self) -> bool:
        """Whether all slices are resampled alike."""
        return bool((self.slope == self.slope[0]).all() and (self.intercept == self.intercept[0]).all())

    @property
    def small(self) -> bool:
        """Whether the taps are worth keeping for the next call (a few megabytes at most)."""
        return len(self.slope) * max(self.n_in, self.n_out) <= KEPT_TAPS

    @cached_property
    def first_slice(self) -> AxisMap:
        """The map of slice 0 alone."""
        return replace(self, slope=self.slope[:1], intercept=self.intercept[:1])

    @cached_property
    def transposed(self) -> TransposedAxisMap:
        """The transpose: input and output change places, the weights stay the same to the last bit."""
        return TransposedAxisMap(self)

    @property
    def inverted(self) -> AxisMap:
        """The map the other way round: where input sample i sits among the output samples, with a footprint of its own."""
        return AxisMap(1 / self.slope, -self.intercept / self.slope, self.n_out, self.n_in, self.footprint)

    def visible(self) -> tuple[int, int]:
        """First and one-past-last input sample that any output sample touches; (0, 0) if none."""
        ends = torch.stack((self.intercept, self.intercept + self.slope * (self.n_out - 1)))
        reach = self.half_width()
        low = max(0, math.floor(float((ends.amin(0) - reach).amin())))
        high = min(self.n_in, math.ceil(float((ends.amax(0) + reach).amax())) + 1)
        return (low, high) if low < high else (0, 0)

    def restricted(self, low: int, high: int) -> AxisMap:
        """The same map onto input samples low .. high - 1 alone."""
        return replace(self, intercept=self.intercept - low, n_in=high - low)

    def taps(self, device: torch.device, dtype: torch.dtype) -> Taps:
        """Taps from input to output: (K, n_out, T)."""
        return _recent_taps(self, device, dtype) if self.small else self.fresh_taps(device, dtype)

    def fresh_taps(self, device: torch.device, dtype: torch.dtype) -> Taps:
        """The taps, computed now."""
        return _taps((self.slope, self.intercept), self.half_width(), (self.n_out, self.n_in), self.weight, device, dtype)

    def weight(self, slices: slice, output_sample: Tensor, input_sample: Tensor) -> Tensor:
        """Weight between samples of some slices, (k, *, *) each, in float64."""
        device = output_sample.device
        slope, intercept, box = (x[slices].to(device)[:, None, None] for x in (self.slope, self.intercept, self.box))
        distance = input_sample - (slope * output_sample + intercept)
        if self.footprint is Footprint.RAY:
            return ray_weight(distance)
        return area_weight(distance, box)

    def half_width(self) -> Tensor:
        """(K,) distance in input samples beyond which the weight is 0."""
        return torch.ones_like(self.slope) if self.footprint is Footprint.RAY else 1.0 + self.box / 2

    @cached_property
    def box(self) -> Tensor:
        """(K,) width of the averaging box in input samples (area footprint)."""
        return box_width(self.slope.abs())


@dataclass(frozen=True, eq=False)
class TransposedAxisMap:
    """The transpose of ``original``: each input sample of the original collects from the output samples it fed."""

    original: AxisMap

    @property
    def n_in(self) -> int:
        """Samples of the lattice read from."""
        return self.original.n_out

    @property
    def n_out(self) -> int:
        """Samples of the lattice written to."""
        return self.original.n_in

    @property
    def constant(self) -> bool:
        """Whether all slices are resampled alike."""
        return self.original.constant

    @property
    def first_slice(self) -> TransposedAxisMap:
        """The map of slice 0 alone."""
        return self.original.first_slice.transposed

    @property
    def transposed(self) -> AxisMap:
        """The original."""
        return self.original

    def taps(self, device: torch.device, dtype: torch.dtype) -> Taps:
        """Taps from the original's output back to its input: (K, n_out, T)."""
        return _recent_taps(self, device, dtype) if self.original.small else self.fresh_taps(device, dtype)

    def fresh_taps(self, device: torch.device, dtype: torch.dtype) -> Taps:
        """The taps, computed now."""
        one = self.original
        centers, reach = (1 / one.slope, -one.intercept / one.slope), one.half_width() / one.slope.abs()
        return _taps(
            centers, reach, (self.n_out, self.n_in), lambda slices, to, taken: one.weight(slices, taken, to), device, dtype
        )


@lru_cache(maxsize=32)
def _recent_taps(axis_map: AxisMap | TransposedAxisMap, device: torch.device, dtype: torch.dtype) -> Taps:
    return axis_map.fresh_taps(device, dtype)


def _taps(
    centers: tuple[Tensor, Tensor],
    reach: Tensor,
    counts: tuple[int, int],
    weight: Callable[[slice, Tensor, Tensor], Tensor],
    device: torch.device,
    dtype: torch.dtype,
) -> Taps:
    """For each sample ``to`` those within ``reach`` of slope * to + intercept, weighed by ``weight(slices, to, taken)``."""
    (n_to, n_from), width = counts, math.floor(2 * float(reach.amax())) + 1
    index = torch.empty((len(reach), n_to, width), dtype=torch.int32, device=device)
    weights = torch.empty_like(index, dtype=dtype)
    to = torch.arange(n_to, device=device, dtype=torch.float64)[None, :, None]
    offsets = torch.arange(width, device=device, dtype=torch.float64)
    for start in range(0, len(reach), SLICES_AT_A_TIME):
        slices = slice(start, start + SLICES_AT_A_TIME)
        slope, intercept, half = (x[slices].to(device)[:, None, None] for x in (*centers, reach))
        taken = torch.ceil(slope * to + intercept - half) + offsets
        inside = (taken >= 0) & (taken < n_from)
        weights[slices] = torch.where(inside, weight(slices, to, taken), 0.0)
        index[slices] = taken.clamp_(0, n_from - 1)
    return Taps(index, weights)

"""Bodies whose line integrals are known in closed form, in RAS mm and float64."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Body(Protocol):
    """A density and its exact line integrals."""

    def density(self, points_mm: Tensor) -> Tensor:
        """Density at positions (..., 3)."""

    def line_integrals(self, origin: Tensor, direction: Tensor) -> Tensor:
        """Integral over whole lines through ``origin`` along unit ``direction``, (..., 3) each, in mm."""


@dataclass(frozen=True)
class Blob:
    """exp(-|x - center|^2 / 2) in units of ``sigma_mm`` along ``axes`` (orthonormal columns)."""

    center_mm: Tensor
    sigma_mm: Tensor
    axes: Tensor

    def density(self, points_mm: Tensor) -> Tensor:
        """Between 0 and 1."""
        return torch.exp(-0.5 * self._scaled(points_mm - self.center_mm).square().sum(-1))

    def line_integrals(self, origin: Tensor, direction: Tensor) -> Tensor:
        """sqrt(2 pi) / |d'| * exp(-distance'^2 / 2), primes in the blob's own units."""
        d, e = self._scaled(direction), self._scaled(origin - self.center_mm)
        dd, de = d.square().sum(-1), (d * e).sum(-1)
        return torch.sqrt(2 * math.pi / dd) * torch.exp(-0.5 * (e.square().sum(-1) - de.square() / dd))

    def mass(self) -> float:
        """Integral over all space, in mm^3."""
        return float((2 * math.pi) ** 1.5 * self.sigma_mm.prod())

    def _scaled(self, vectors: Tensor) -> Tensor:
        return vectors @ self.axes / self.sigma_mm


@dataclass(frozen=True)
class Ellipsoid:
    """1 inside the ellipsoid with the given half axes, else 0."""

    center_mm: Tensor
    half_axes_mm: Tensor
    axes: Tensor

    def density(self, points_mm: Tensor) -> Tensor:
        """0 or 1."""
        return (((points_mm - self.center_mm) @ self.axes / self.half_axes_mm).square().sum(-1) < 1.0).double()

    def line_integrals(self, origin: Tensor, direction: Tensor) -> Tensor:
        """Chord length: the two roots of |e + t d| = 1 in units of the half axes."""
        d, e = direction @ self.axes / self.half_axes_mm, (origin - self.center_mm) @ self.axes / self.half_axes_mm
        dd, de = d.square().sum(-1), (d * e).sum(-1)
        return 2.0 * (de.square() - dd * (e.square().sum(-1) - 1.0)).clamp_min(0.0).sqrt() / dd

    def clear_of_limb(self, origin: Tensor, direction: Tensor, share: float) -> Tensor:
        """Rays that pass the middle within ``share`` of the half axes."""
        d, e = direction @ self.axes / self.half_axes_mm, (origin - self.center_mm) @ self.axes / self.half_axes_mm
        return (e.square().sum(-1) - (d * e).sum(-1).square() / d.square().sum(-1)) < share**2


@dataclass(frozen=True)
class Box:
    """1 inside a box with the given half sizes along ``axes``, else 0."""

    center_mm: Tensor
    half_sizes_mm: Tensor
    axes: Tensor

    def density(self, points_mm: Tensor) -> Tensor:
        """0 or 1."""
        return (((points_mm - self.center_mm) @ self.axes).abs() < self.half_sizes_mm).all(-1).double()

    def line_integrals(self, origin: Tensor, direction: Tensor) -> Tensor:
        """Overlap of the three slabs' entry and exit (Kay & Kajiya 1986)."""
        d, e = direction @ self.axes, (origin - self.center_mm) @ self.axes
        d = torch.where(d.abs() < 1e-15, 1e-15, d)
        ends = torch.stack(((-self.half_sizes_mm - e) / d, (self.half_sizes_mm - e) / d))
        return (ends.amax(0).amin(-1) - ends.amin(0).amax(-1)).clamp_min(0.0)

"""Curves along the body: how a width or a depth changes from the neck to the upper abdomen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

#: Heights at which a curve is stored, mm above the middle of the reference lung, 2 mm apart.
LOWEST_MM, HIGHEST_MM, STEP_MM = -300.0, 300.0, 2.0


@dataclass(frozen=True)
class Profiles:
    """Several curves over the same heights; reading them is one interpolation.

    Args:
        table: (heights, curves), float64, in mm unless the curve says otherwise.
    """

    table: Tensor

    def at(self, z_mm: Tensor) -> tuple[Tensor, ...]:
        """Every curve at the reference heights ``z_mm``, each in the shape of ``z_mm``."""
        place = ((z_mm - LOWEST_MM) / STEP_MM).clamp(0.0, self.table.shape[0] - 1.001)
        below = place.floor()
        index, share = below.long(), (place - below)[..., None]
        table = self.table.to(z_mm)
        return torch.lerp(table[index], table[index + 1], share).unbind(-1)


def smooth_profiles(heights_mm: Sequence[float], *curves: Sequence[float], smoothing_mm: float = 7.0) -> Profiles:
    """Curves through knots, straight between them, then rounded by a Gaussian of ``smoothing_mm``.

    Args:
        heights_mm: where the knots stand, ascending, mm.
        curves: one value per knot each.
        smoothing_mm: standard deviation of the rounding.
    """
    heights = np.arange(LOWEST_MM, HIGHEST_MM + STEP_MM / 2, STEP_MM)
    reach = int(4 * smoothing_mm / STEP_MM)
    bell = np.exp(-0.5 * (np.arange(-reach, reach + 1) * STEP_MM / smoothing_mm) ** 2)
    columns = [
        np.convolve(np.pad(np.interp(heights, heights_mm, curve), reach, "edge"), bell / bell.sum(), "valid")
        for curve in curves
    ]
    return Profiles(torch.tensor(np.stack(columns, axis=1)))

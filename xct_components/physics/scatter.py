"""Radiation that leaves the patient in another direction and veils the film."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from xct_components.physics.detector_response import gaussian_overlap

#: Line integral from which on a pixel lies behind the patient: 44 mm of water at 120 kVp. Skin folds, whose bright primary
#: would outweigh the thorax, stay out.
SHADOW = 1.0


def scattered_radiation(
    line_integral: Float[Tensor, "*films rows cols"],
    pixel_mm: tuple[float, float],
    scatter_to_primary: float,
    sigma_mm: float,
) -> Float[Tensor, "*films rows cols"]:
    """Scatter on the film, relative to the open beam: primary times path, spread by a wide Gaussian.

    Each ray scatters in proportion to the interactions along it times what comes through, line_integral * exp(-line_integral):
    nothing in air, little behind the spine. The spread is a Gaussian (validated behind uniform slabs: Boone et al, Med Phys
    1986;13:254); nothing comes from outside the film, as from outside a collimated field. Its strength is set on each film by
    itself: behind the patient (line integral above 1) total scatter / total primary equals ``scatter_to_primary``, and a film
    without a patient has no scatter. Locally the ratio is lowest in the lungs and highest behind the mediastinum: with a ratio
    of 2, five chest CTs gave 0.7-3 in the lungs and 7-12 in the mediastinum, where patients were measured to have 9 without a
    grid and 1 or more behind a 12:1 grid (Niklason et al, Med Phys 1981;8:677).

    Args:
        line_integral: primary film, -ln of the transmitted share.
        pixel_mm: pixel pitch on the detector (rows, columns).
        scatter_to_primary: 1-2.5 without a grid (bedside chest films: 2.33 on average, Baydush & Floyd, RSNA 1997), 0.1-0.6
            behind one.
        sigma_mm: width on the detector, 15-60 mm. Convolution kernels that fit images of chest phantoms best are 35-105 mm wide
            at half maximum (Love & Kruger, Med Phys 1987;14:178: 50-150 of 512 pixels of a 36 cm field).
    """
    primary = torch.exp(-line_integral)
    rows, cols = (
        gaussian_overlap(count, pitch_mm, sigma_mm, primary.dtype, primary.device)
        for count, pitch_mm in zip(primary.shape[-2:], pixel_mm, strict=True)
    )
    spread = rows @ (line_integral.clamp_min(0.0) * primary) @ cols.mT
    shadow = (line_integral > SHADOW).to(primary.dtype)
    primary_total, spread_total = ((part * shadow).sum(dim=(-2, -1), keepdim=True) for part in (primary, spread))
    # Without a shadow both totals are 0 and so is the scatter.
    return spread * (scatter_to_primary * primary_total / spread_total.clamp_min(torch.finfo(primary.dtype).tiny))

"""The detail of a displayed film, brought back to what line integrals of a chest can have: displays sharpen.

Real films show two to three times the detail below 5 mm that films of CTs show (``docs/results.md``, "Detail of real films"):
what radiographs are processed with before anybody sees them (unsharp masks, multi-scale enhancement), and noise. The curve of
grey values cannot undo that. Here a film is split into bands of Gaussian smoothing, and a band that is stronger over the lungs
than in films of CTs, by more than patients differ among themselves, is scaled down to that.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy.ndimage import gaussian_filter
from torch import Tensor

from xct_components.data.simulate.chest_exposure import FIELD_MM

#: Standard deviations of the smoothings that part the bands, in the patient: what is finer than the first, between two, ...
BANDS_MM = (2.5, 5.0, 10.0)
#: Detail is measured in a box about the middle of the lungs, height and width in mm, ...
LUNG_BOX_MM = (176.0, 246.0)
#: ... in the part of it where the film is darkest: lung.
LUNG_SHARE = 0.4
#: With less than this part of the box covered nothing is measured.
LEAST_COVERED = 0.5


@dataclass(frozen=True)
class DetailReference:
    """How much detail films of CTs have, band by band.

    Args:
        log_mean: mean over patients of the logarithm of each band's strength, see ``band_strengths``.
        log_std: standard deviation over patients.

    Raises:
        ValueError: for another number of bands than ``BANDS_MM``.
    """

    log_mean: tuple[float, ...]
    log_std: tuple[float, ...]

    def __post_init__(self) -> None:
        if not len(self.log_mean) == len(self.log_std) == len(BANDS_MM):
            raise ValueError(f"a detail reference must hold {len(BANDS_MM)} bands, got {self.log_mean} and {self.log_std}")

    @property
    def most(self) -> tuple[float, ...]:
        """The strength that each band is left: one standard deviation above the mean patient."""
        return tuple(math.exp(mean + std) for mean, std in zip(self.log_mean, self.log_std, strict=True))


def detail_reference_of(strengths: Sequence[Sequence[float]]) -> DetailReference:
    """The reference of some patients' strengths, at least two."""
    logs = np.log(np.asarray(strengths))
    return DetailReference(tuple(logs.mean(0).tolist()), tuple(logs.std(0, ddof=1).tolist()))


@cache
def detail_reference(view: str) -> DetailReference:
    """The shipped reference of "frontal" or "lateral" films; ``scripts/make_detail_reference.py`` writes it."""
    document = json.loads(resources.files(__package__).joinpath("detail_reference.json").read_text(encoding="utf-8"))
    return DetailReference(tuple(document[view]["log_mean"]), tuple(document[view]["log_std"]))


def band_strengths(line_integrals: Float[Tensor, "rows cols"], covered: Bool[Tensor, "rows cols"]) -> list[float] | None:
    """Standard deviation of each band over the lungs, in line integrals.

    Args:
        line_integrals: of the cascade's field, the middle of the lungs in its middle.
        covered: where the film shows something.

    Returns:
        One number a band of ``BANDS_MM``, finest first; None if too little of the lungs is covered.
    """
    return _strengths(*_bands(line_integrals), covered)


def tamed_detail(
    line_integrals: Float[Tensor, "rows cols"], covered: Bool[Tensor, "rows cols"], reference: DetailReference
) -> tuple[Float[Tensor, "rows cols"], dict[str, Any]]:
    """The film with no more detail than films of CTs have.

    Args:
        line_integrals: as for ``band_strengths``.
        covered: likewise.
        reference: what films of CTs have.

    Returns:
        Line integrals >= 0, and what was done, JSON-ready: gains of 1 leave a film as it is.
    """
    bands, smooth = _bands(line_integrals)
    strengths = _strengths(bands, smooth, covered)
    if strengths is None:
        return line_integrals, {"bands_mm": list(BANDS_MM), "note": "too little of the lungs is covered to measure detail"}
    gains = [
        min(1.0, most / strength) if strength > 0.0 else 1.0 for most, strength in zip(reference.most, strengths, strict=True)
    ]
    record = {
        "bands_mm": list(BANDS_MM),
        "strength": [round(strength, 4) for strength in strengths],
        "most": [round(most, 4) for most in reference.most],
        "gain": [round(gain, 4) for gain in gains],
    }
    if min(gains) == 1.0:
        return line_integrals, record
    for gain, band in zip(gains, bands, strict=True):
        smooth = smooth + gain * band
    return smooth.clamp_min(0.0), record


def _bands(film: Tensor) -> tuple[list[Tensor], Tensor]:
    """The bands, finest first, and what is coarser than all of them; their sum is the film."""
    bands, finer = [], film
    for sigma_mm in BANDS_MM:
        sigma = [sigma_mm * size / FIELD_MM for size in film.shape]
        coarser = torch.from_numpy(gaussian_filter(film.numpy(), sigma, mode="nearest", truncate=3.0))
        bands.append(finer - coarser)
        finer = coarser
    return bands, finer


def _strengths(bands: Sequence[Tensor], smooth: Tensor, covered: Tensor) -> list[float] | None:
    lung = _lung(smooth, covered)
    return None if lung is None else [float(band[lung].std()) for band in bands]


def _lung(smooth: Tensor, covered: Tensor) -> Tensor | None:
    """Where the smoothed film is darkest about the middle of the lungs; None if too little of that is covered."""
    box = torch.zeros_like(covered)
    rows, cols = (
        slice(round((0.5 - side_mm / FIELD_MM / 2) * size), round((0.5 + side_mm / FIELD_MM / 2) * size))
        for side_mm, size in zip(LUNG_BOX_MM, smooth.shape, strict=True)
    )
    box[rows, cols] = True
    inside = box & covered
    if inside.sum() < LEAST_COVERED * box.sum():
        return None
    return inside & (smooth <= smooth[inside].quantile(LUNG_SHARE))

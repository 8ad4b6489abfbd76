"""From grey values back to line integrals: the increasing curve that brings a film's organs to those of simulated films.

A display has lost its scale. The curve ``a + b grey^p`` is fitted so that the quantiles of lung, mediastinum and abdomen match
the reference of the view; where the film shows air beside the body, that is brought to 0. What remains is the patient's own
deviation from the mean patient, which no film without a dose tells: about 14 % of the line integrals.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from xct_components.data.film.agreement import shrunk
from xct_components.data.film.grey_reference import GreyReference, region_quantiles
from xct_components.data.film.match import Pose, laid_over

#: Exponents tried, from films with bright to films with dark mid-tones.
EXPONENTS = np.geomspace(0.4, 2.5, 25)
#: Cost of bending the curve: squared log exponent against mean squared line integrals.
BENDING_COST = 0.05
#: Films are measured on this many pixels along the longer side: no finer than the reference.
MEASURED_PIXELS = 128
#: Air is darker than the darkest lung by this share of the contrast between mediastinum and lung, outside the chest, and
#: covers at least this share of the film.
AIR_GAP, LEAST_AIR = 0.15, 0.005
#: Weight of air among the 21 quantiles.
AIR_WEIGHT = 4.0
#: Points at which the curve is recorded.
KNOTS = 9


@dataclass(frozen=True)
class ResponseCurve:
    """Line integral = max(0, offset + gain * grey^exponent), grey in [0, 1] between ``black`` and ``white``.

    Args:
        black: the film's value that is grey 0.
        white: the film's value that is grey 1.
        offset: line integral of black; may be negative.
        gain: line integrals from black to white, > 0.
        exponent: > 0.

    Raises:
        ValueError: if the curve would not increase.
    """

    black: float
    white: float
    offset: float
    gain: float
    exponent: float

    def __post_init__(self) -> None:
        if not (self.black < self.white and 0.0 < self.gain < math.inf and 0.0 < self.exponent < math.inf):
            raise ValueError(f"a response curve must increase: black < white, gain > 0 and exponent > 0, got {self}")

    def line_integrals(self, pixels: Float[Tensor, "*film"]) -> Float[Tensor, "*film"]:
        """Line integrals >= 0 of film values."""
        grey = ((pixels - self.black) / (self.white - self.black)).clamp(0.0, 1.0)
        return (self.offset + self.gain * grey**self.exponent).clamp_min(0.0)

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dictionary with the curve's parameters and its knots."""
        values = torch.linspace(self.black, self.white, KNOTS)
        knots = zip(values.tolist(), self.line_integrals(values).tolist(), strict=True)
        return {
            "formula": "max(0, offset + gain * ((value - black) / (white - black)) ** exponent)",
            "black": self.black,
            "white": self.white,
            "offset": round(self.offset, 4),
            "gain": round(self.gain, 4),
            "exponent": round(self.exponent, 4),
            "knots": [[round(value, 3), round(integral, 4)] for value, integral in knots],
        }


def fitted_response(
    pixels: Float[Tensor, "rows cols"], pose: Pose, reference: GreyReference
) -> tuple[ResponseCurve, dict[str, Any]]:
    """The curve of a film, and what it was fitted to.

    Args:
        pixels: an upright film whose sides are those of the reference, larger = more attenuation.
        pose: where the mean chest lies on it.
        reference: regions and quantiles of its view.

    Returns:
        The curve and a JSON-ready record.

    Raises:
        ValueError: if less than half of each region lies on the film.
    """
    small = shrunk(pixels, MEASURED_PIXELS)
    black, white = float(small.min()), float(small.max())
    grey = (small - black) / (white - black)
    place = pose.scaled(max(small.shape) / max(pixels.shape))
    values, covered = laid_over(grey, reference.mean, place.middle, place.mm_per_pixel)
    found = region_quantiles(values, covered, reference.regions)
    pairs = [
        (float(own), mean)
        for name, quantiles in found.items()
        for own, mean in zip(quantiles.tolist(), reference.quantiles[name], strict=True)
        if math.isfinite(own)
    ]
    if not pairs:
        raise ValueError("pixels must show lungs, mediastinum or abdomen, got none of them; crop the film less")
    greys, integrals = np.array(pairs).T
    weights = np.ones_like(greys)
    air = _air_grey(grey, reference, place, found)
    if air is not None:
        greys, integrals, weights = (np.append(x, y) for x, y in ((greys, air), (integrals, 0.0), (weights, AIR_WEIGHT)))
    offset, gain, exponent, error = _best_fit(greys, integrals, weights)
    record = {
        "quantiles_grey": {name: [_rounded(x) for x in quantiles.tolist()] for name, quantiles in found.items()},
        "quantiles_reference": {name: [round(x, 3) for x in reference.quantiles[name]] for name in found},
        "air_grey": None if air is None else round(air, 4),
        "rms_misfit": round(error, 4),
    }
    return ResponseCurve(black, white, offset, gain, exponent), record


def _rounded(grey: float) -> float | None:
    """None where the film does not show the organ: JSON has no NaN."""
    return round(grey, 4) if math.isfinite(grey) else None


def _best_fit(greys: np.ndarray, integrals: np.ndarray, weights: np.ndarray) -> tuple[float, float, float, float]:
    """Offset, gain, exponent and root mean square misfit of the curve that bends no more than it has to."""
    best: tuple[float, ...] = (math.inf,)
    root = np.sqrt(weights)
    for exponent in EXPONENTS:
        design = np.stack([np.ones_like(greys), greys**exponent], axis=1)
        (offset, gain), *_ = np.linalg.lstsq(design * root[:, None], integrals * root, rcond=None)
        if gain <= 0.0:
            continue
        misfit = float((weights * (design @ (offset, gain) - integrals) ** 2).sum() / weights.sum())
        best = min(best, (misfit + BENDING_COST * math.log(exponent) ** 2, float(offset), float(gain), float(exponent), misfit))
    if len(best) == 1:  # lungs brighter than the abdomen: a film nobody should have accepted
        return 0.0, float(integrals.max()), 1.0, math.nan
    return best[1], best[2], best[3], math.sqrt(best[4])


def _air_grey(grey: Tensor, reference: GreyReference, place: Pose, found: dict[str, Tensor]) -> float | None:
    """The grey of air beside the body, if the film shows it: outside the mean chest and darker than any lung."""
    lung, mediastinum = (found[name] for name in ("lung", "mediastinum"))
    if not (bool(lung.isfinite().all()) and bool(mediastinum.isfinite().all())):
        return None
    n = reference.mean.values.shape[0]
    rows, cols = (torch.arange(size) for size in grey.shape)
    places = [
        ((index - middle) * mm / reference.mean.pixel_mm + (n - 1) / 2).round().long()
        for index, middle, mm in zip((rows, cols), place.middle, place.mm_per_pixel, strict=True)
    ]
    inside = [(index >= 0) & (index < n) for index in places]
    chest = reference.chest[places[0].clamp(0, n - 1)][:, places[1].clamp(0, n - 1)]
    in_chest = (chest > 0.5) & inside[0][:, None] & inside[1][None, :]
    limit = float(lung[0] - AIR_GAP * (mediastinum[len(mediastinum) // 2] - lung[len(lung) // 2]))
    dark = grey[~in_chest & (grey < limit)]
    return float(dark.median()) if dark.numel() >= LEAST_AIR * grey.numel() else None

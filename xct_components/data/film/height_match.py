"""How a lateral film lies to the frontal one: at each height of the patient both show the same attenuation.

Along a row of a film all of a slice is summed up, whichever way the rays went: the consistency condition of order zero of
parallel projections (Helgason & Ludwig; Natterer, The Mathematics of Computerized Tomography, 1986, II.4). Chest films are
nearly parallel, their scales are lost, and parts of the body may lie beside them. So the logarithms of both profiles are
compared, less what is coarse, and of their heights alone. Nothing is learned from other patients.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.ndimage import gaussian_filter1d
from torch import Tensor

from xct_components.data.simulate.chest_exposure import FIELD_MM

#: Heights are compared in steps of this, mm.
STEP_MM = 2.5
#: What is coarser than this (standard deviation) tells of scale and outline, not of height.
COARSE_MM = 50.0
#: At the edges of films collimators and borders begin: so much of each is left out, mm.
EDGE_MM = 10.0
#: Above this shoulders begin, mm from the middle of the lungs: arms are raised for a lateral film, and hang for a frontal one.
SHOULDERS_MM = -110.0
#: Least common height of both films, mm.
LEAST_COMMON_MM = 140.0
#: A profile is compared on top of this, in line integral times mm: rows of air have no logarithm.
FLOOR_MM = 50.0
#: How far the films may lie from where anatomy puts them, mm, and how far their sizes may differ from it.
MOST_SHIFT_MM, MOST_LOG_SIZE = 80.0, 0.36
#: Steps of the size, and what a shift and a log size of one usual error cost, in agreement.
LOG_SIZE_STEP, USUAL_SHIFT_MM, USUAL_LOG_SIZE, COST = 0.03, 20.0, 0.14, 0.01


class HeightProfile(NamedTuple):
    """What a film shows of each height of the patient, summed along its rows.

    ``heights_mm``: (n,), increasing downwards. ``attenuation_mm``: (n,), line integral times mm.
    """

    heights_mm: Float[np.ndarray, " n"]
    attenuation_mm: Float[np.ndarray, " n"]


@dataclass(frozen=True)
class HeightMatch:
    """Where the second film lies best.

    Args:
        shift_mm: to be added to its heights, after its size.
        size: its heights are to be multiplied by this; 1 if it was known.
        agreement: correlation of what both films show, -1 to 1.
    """

    shift_mm: float
    size: float
    agreement: float


def height_profile(
    film: Float[Tensor, "rows cols"], mm_per_pixel: tuple[float, float], middle_row: float, first_row: int = 0
) -> HeightProfile:
    """The profile of a film, or of the part of it that shows something.

    Args:
        film: line integrals.
        mm_per_pixel: height and width of a pixel in the patient.
        middle_row: the row of height 0.
        first_row: the number of the first row that is given.
    """
    rows = np.arange(first_row, first_row + film.shape[0], dtype=np.float64)
    return HeightProfile((rows - middle_row) * mm_per_pixel[0], film.double().sum(1).numpy() * mm_per_pixel[1])


def field_heights(line_integrals: Float[Tensor, "rows cols"], placement: Mapping[str, Any]) -> HeightProfile | None:
    """What a calibrated film on the cascade's field shows of each height; None where it does not show the field.

    Args:
        line_integrals: over 320 x 320 mm.
        placement: of its record.
    """
    covered_mm = placement.get("covered_mm")
    if covered_mm is None:
        return None
    mm = [FIELD_MM / count for count in line_integrals.shape]
    rows, cols = (
        slice(*(round((edge / FIELD_MM + 0.5) * count) for edge in edges))
        for edges, count in zip(covered_mm, line_integrals.shape, strict=True)
    )
    return height_profile(line_integrals[rows, cols], (mm[0], mm[1]), (line_integrals.shape[0] - 1) / 2, rows.start)


def matched_heights(first: HeightProfile, second: HeightProfile, *, size_known: bool) -> HeightMatch | None:
    """The shift of the second film, and its size unless that is known, at which both show most alike; None without overlap."""
    sizes = [0.0] if size_known else np.arange(-MOST_LOG_SIZE, MOST_LOG_SIZE + 1e-9, LOG_SIZE_STEP).tolist()
    shifts = np.arange(-MOST_SHIFT_MM, MOST_SHIFT_MM + 1e-9, STEP_MM).tolist()
    best: tuple[float, HeightMatch] | None = None
    for log_size in sizes:
        for shift_mm in shifts:
            moved = HeightProfile(second.heights_mm * math.exp(log_size) + shift_mm, second.attenuation_mm)
            agreement = _agreement(first, moved)
            if agreement is None:
                continue
            merit = agreement - COST * ((shift_mm / USUAL_SHIFT_MM) ** 2 + (log_size / USUAL_LOG_SIZE) ** 2)
            if best is None or merit > best[0]:
                best = merit, HeightMatch(shift_mm, math.exp(log_size), agreement)
    return None if best is None else best[1]


def _agreement(first: HeightProfile, second: HeightProfile) -> float | None:
    top = max(first.heights_mm[0] + EDGE_MM, second.heights_mm[0] + EDGE_MM, SHOULDERS_MM)
    bottom = min(first.heights_mm[-1], second.heights_mm[-1]) - EDGE_MM
    if bottom - top < LEAST_COMMON_MM:
        return None
    heights_mm = np.arange(top, bottom, STEP_MM)
    a, b = (_detail(np.interp(heights_mm, one.heights_mm, one.attenuation_mm)) for one in (first, second))
    return float(np.corrcoef(a, b)[0, 1]) if a.std() > 0.0 and b.std() > 0.0 else None


def _detail(attenuation_mm: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    logarithm = np.log(attenuation_mm + FLOOR_MM)
    sigma, inside = COARSE_MM / STEP_MM, np.ones_like(logarithm)
    coarse = gaussian_filter1d(logarithm, sigma, mode="constant") / gaussian_filter1d(inside, sigma, mode="constant")
    return logarithm - coarse

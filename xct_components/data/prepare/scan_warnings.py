"""What a user should know about a CT before training on it: cut, thick, oblique, arms down, lungs outside the field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from xct_components.data.prepare.canonical_ct import CanonicalCt
from xct_components.data.prepare.chest_grid import FIELD_MM, Box, box_of
from xct_components.data.prepare.coarse_ct import CoarseCt
from xct_components.data.prepare.lungs import Lungs

#: Slices further apart than this blur the ribs and the diaphragm.
THICK_SLICES_MM = 3.0
#: A side of the field that the CT misses by more than this is worth a warning where the body goes on.
GAP_MM = 2.0
#: Area of the body's surface that the scan or its circle cuts off, from which on films miss part of the body wall.
CUT_CM2 = 20.0
#: Padding outside the scanner's circle is exactly this (HU), real air is noisy.
PADDING_HU = -1023.5
#: Arms beside the trunk: separate parts of at least this cross-section in this share of the levels of the lower lungs.
ARM_CM2, ARM_SHARE = 12.0, 0.25
#: Lung beyond the field, as a share.
LUNG_OUTSIDE = 0.005


def scan_warnings(
    ct: CanonicalCt, coarse: CoarseCt, body: np.ndarray, lungs: Lungs, center_hdw: Sequence[float], gaps: Mapping[str, float]
) -> list[str]:
    """Sentences; they hold no patient data."""
    box = box_of(lungs.both)
    found = [*_about_slices(ct), *_about_clipping(box, coarse), *_about_the_body(coarse, body, box)]
    if lungs.one_is_missing:
        found.append("one lung holds hardly any air: the field is centred on the body, not on the lungs")
    missing = [f"{side} {gap:.0f} mm" for side, gap in gaps.items() if gap > GAP_MM and side in ("superior", "inferior")]
    if missing:
        found.append(f"the CT ends inside the field: {', '.join(missing)} are air")
    outside = 1.0 - _share_inside(lungs.both, coarse, center_hdw, ct.grid.spacing_mm)
    if outside > LUNG_OUTSIDE:
        found.append(f"{outside:.1%} of the lungs lie outside the field of {FIELD_MM:g} mm")
    return found


def _about_slices(ct: CanonicalCt) -> list[str]:
    found = []
    if ct.grid.spacing_mm[0] > THICK_SLICES_MM:
        found.append(f"thick slices: {ct.grid.spacing_mm[0]:.2g} mm")
    if ct.oblique_degrees > 0.0:
        found.append(f"oblique or tilted by {ct.oblique_degrees:.1f} degrees: interpolated onto straight axes")
    return found


def _about_clipping(box: Box, coarse: CoarseCt) -> list[str]:
    (top, bottom), _, _ = box
    found = ["the apices are clipped: lung in the first slice"] if top == 0 else []
    return [*found, "the bases are clipped: lung in the last slice"] if bottom == coarse.hu.shape[0] else found


def _about_the_body(coarse: CoarseCt, body: np.ndarray, box: Box) -> list[str]:
    from scipy import ndimage

    (top, bottom), _, _ = box
    levels, hu = body[top:bottom], coarse.hu[top:bottom]
    dense = levels & (hu > -500.0)
    beside_padding = ndimage.maximum_filter(hu <= PADDING_HU, size=(1, 3, 3)) & dense
    h, d, w = coarse.spacing_mm
    rims_cm2 = h * w * (dense[:, 0].sum() + dense[:, -1].sum()) + h * d * (dense[:, :, 0].sum() + dense[:, :, -1].sum())
    cut_cm2 = float(beside_padding.sum() * h * (d + w) / 2 + rims_cm2) / 100.0
    found = [f"the field of view cuts the body at the level of the lungs ({cut_cm2:.0f} cm2)"] if cut_cm2 > CUT_CM2 else []
    lower = dense[len(dense) // 2 :]
    with_arms = [_has_arms(level, d * w / 100.0) for level in lower]
    if np.mean(with_arms) >= ARM_SHARE:
        found.append("arms beside the trunk: they overlie the film of a lateral view")
    return found


def _has_arms(level: np.ndarray, block_cm2: float) -> bool:
    from scipy import ndimage

    parts, _ = ndimage.label(ndimage.binary_fill_holes(level))
    sizes = np.sort(np.bincount(parts.ravel())[1:])[::-1] * block_cm2
    return len(sizes) > 1 and bool(sizes[1] >= ARM_CM2)


def _share_inside(mask: np.ndarray, coarse: CoarseCt, center_hdw: Sequence[float], spacing_mm: Sequence[float]) -> float:
    places = np.argwhere(mask)
    offsets_mm = ((places + 0.5) * coarse.steps - 0.5 - np.asarray(center_hdw)) * spacing_mm
    return float((np.abs(offsets_mm) <= FIELD_MM / 2).all(axis=1).mean())

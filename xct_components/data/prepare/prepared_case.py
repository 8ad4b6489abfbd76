"""One CT made ready for the cascade: the patient alone, centred, at 5, 2.5 and 1.25 mm, with what was found about it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from xct_components.data.prepare.body import body_mask
from xct_components.data.prepare.canonical_ct import CanonicalCt, canonical_ct
from xct_components.data.prepare.chest_grid import box_of, cascade_grid, full_grid, gaps_mm, thorax_center
from xct_components.data.prepare.coarse_ct import CoarseCt, coarse_ct, with_air_outside
from xct_components.data.prepare.lungs import Lungs, find_lungs
from xct_components.data.prepare.resampling import halved, resampled
from xct_components.data.prepare.scan_warnings import scan_warnings
from xct_components.failures import RefusedInput
from xct_components.geometry import VolumeGrid
from xct_components.physics.attenuation import AIR_HU


@dataclass(frozen=True)
class PreparedVolume:
    """A volume of the cascade.

    Args:
        hu: (D, H, W) int16.
        grid: where it lies, canonical orientation, in the CT's world.
    """

    hu: np.ndarray
    grid: VolumeGrid


@dataclass(frozen=True)
class PatientOnly:
    """A CT from which everything but the patient is removed, and where the field is centred in it.

    Args:
        ct: the CT; outside the body it is air (-1000 HU).
        center_hdw: middle of the field as an index of its voxels.
        facts: what the manifest says about it.
    """

    ct: CanonicalCt
    center_hdw: tuple[float, float, float]
    facts: dict[str, Any]


def patient_only(ct_hu: Float[Tensor, "1 1 s r c"], grid: VolumeGrid) -> PatientOnly:
    """Find the body, remove what is not, find the lungs, centre the field.

    Raises:
        RefusedInput: if there is no body, or less than 300 ml of aerated lung in it.
    """
    ct = canonical_ct(ct_hu, grid)
    coarse = coarse_ct(ct)
    body = body_mask(coarse)
    if not body.any():
        raise RefusedInput("no body in the CT: nothing thick is denser than -500 HU")
    lungs = find_lungs(coarse, body)
    if lungs is None:
        raise RefusedInput("no lungs in the CT: less than 300 ml of aerated lung inside the body; is it a chest CT in HU?")
    center = thorax_center(coarse, body, lungs)
    facts = _facts(ct, grid, coarse, body, lungs, center)
    return PatientOnly(replace(ct, hu=with_air_outside(ct.hu, body, coarse.steps, int(AIR_HU))), center, facts)


def prepared_volumes(patient: PatientOnly, *, full: bool = False) -> dict[str, PreparedVolume]:
    """The volumes by name: "256", "128", "64", and "full" if wanted.

    128 and 64 are the 2 x 2 x 2 means of the next finer one, so that a stage's target is the mean of the next stage's.
    """
    ct, center = patient.ct, patient.center_hdw
    grids = {size: cascade_grid(ct, center, size) for size in (256, 128, 64)}
    finest = resampled(ct, center, grids[256])
    middle = halved(finest)
    volumes = {
        "64": PreparedVolume(halved(middle), grids[64]),
        "128": PreparedVolume(middle, grids[128]),
        "256": PreparedVolume(finest, grids[256]),
    }
    if full:
        grid = full_grid(ct, center)
        volumes["full"] = PreparedVolume(resampled(ct, center, grid), grid)
    return volumes


def _facts(
    ct: CanonicalCt, stored: VolumeGrid, coarse: CoarseCt, body: np.ndarray, lungs: Lungs, center: tuple[float, float, float]
) -> dict[str, Any]:
    gaps = gaps_mm(ct, center)
    return {
        "voxels_sha256": ct.voxels_sha256,
        "source": {
            "shape": [int(n) for n in ct.hu.shape],
            "spacing_mm": [round(mm, 4) for mm in ct.grid.spacing_mm],
            "axes": "superior-inferior, anterior-posterior, right-left",
            "stored_axes": stored.axis_codes,
            "oblique_degrees": ct.oblique_degrees,
        },
        "center_mm": [round(mm, 3) for mm in cascade_grid(ct, center, 64).center_mm],
        "gaps_mm": gaps,
        "lungs": {
            "right_ml": round(float(lungs.right.sum()) * coarse.block_ml),
            "left_ml": round(float(lungs.left.sum()) * coarse.block_ml),
            "box_from_center_mm": _box_mm(lungs.both, coarse, center, ct.grid.spacing_mm),
        },
        "warnings": scan_warnings(ct, coarse, body, lungs, center, gaps),
    }


def _box_mm(mask: np.ndarray, coarse: CoarseCt, center: tuple[float, float, float], spacing_mm: Any) -> dict[str, float]:
    """Distance of each side of a mask's bounding box from the middle of the field."""
    box = {}
    for sides, axis in ((("superior", "inferior"), 0), (("anterior", "posterior"), 1), (("right", "left"), 2)):
        low, high = box_of(mask)[axis]
        middle = (center[axis] + 0.5) * spacing_mm[axis]
        block_mm = coarse.steps[axis] * spacing_mm[axis]
        box[sides[0]], box[sides[1]] = round(middle - low * block_mm, 1), round(high * block_mm - middle, 1)
    return box

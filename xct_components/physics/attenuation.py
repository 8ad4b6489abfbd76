"""CT numbers, linear attenuation and the two materials of a chest: water-like soft tissue and cortical bone.

HU is fixed by the CT's energy, not by the radiograph's. A 120 kVp CT sees the body as if its X-rays had about 70 keV, so that
``mu(70 keV) = mu_water(70 keV) (1 + HU/1000)`` holds for every tissue. Other energies need to know the material: up to 100 HU a
voxel is water of another density, from 100 HU to cortical bone (1.92 g/cm3, about 1560 HU) soft tissue mixed with bone, beyond
it denser bone. Each volume is thus two densities times two tabulated curves, and every map below is continuous, increasing
and piecewise linear in HU.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_right
from functools import cache
from importlib import resources
from typing import Any

import torch
from jaxtyping import Float, Real
from torch import Tensor

#: The monoenergetic CT that a 120 kVp scanner resembles: spectral CT offers its 70 keV images in place of 120 kVp ones.
#: Scanners differ: one phantom reads near 76 keV (Radiol Res Pract 2012:150980, table 1), where bone has 10 % fewer HU.
CT_ENERGY_KEV = 70.0
#: The single energy that best stands for a chest film: water attenuates here as 120 kVp energy does in 200 mm of water.
FILM_ENERGY_KEV = 60.0
#: CT number of vacuum; padding of -1024 or -2000 counts as this.
AIR_HU = -1000.0
#: Muscle and blood end here; what is denser contains calcium.
SOFT_TISSUE_HU = 100.0
#: End of the 12-bit scale of CT: metal saturates here, and is counted as bone of 1.59 times the cortical density.
METAL_HU = 3071.0

Knots = tuple[float, float, float, float]


@cache
def physics_tables() -> dict[str, Any]:
    """The shipped tables: ``provenance``, ``grid``, ``materials``, ``spectra``; read once, not to be changed."""
    text = resources.files(__package__).joinpath("physics_tables.json").read_text(encoding="utf-8")
    tables: dict[str, Any] = json.loads(text)
    return tables


@cache
def mass_attenuation_cm2_per_g(material: str, energy_kev: float) -> float:
    """Total mass attenuation coefficient (coherent scatter included), interpolated log-log in the shipped table.

    Args:
        material: "water", "soft_tissue", "adipose", "lung", "cortical_bone" (ICRU 44) or "cesium_iodide".
        energy_kev: photon energy, 10-150.

    Raises:
        ValueError: for an unknown material or an energy outside the table.
    """
    energies = physics_tables()["grid"]["energy_kev"]
    values = _material(material)["mass_attenuation_cm2_per_g"]
    if not energies[0] <= energy_kev <= energies[-1]:
        raise ValueError(
            f"energy_kev must lie within the table, {energies[0]:g}-{energies[-1]:g} keV, got {energy_kev}; "
            "a chest film has about 60"
        )
    after = min(bisect_right(energies, energy_kev), len(energies) - 1)
    before = after - 1
    share = math.log(energy_kev / energies[before]) / math.log(energies[after] / energies[before])
    return float(values[before] * (values[after] / values[before]) ** share)


def linear_attenuation_per_mm(material: str, energy_kev: float) -> float:
    """Attenuation per mm of a material at its usual density (lung: 0.26 g/cm3, filled with air)."""
    return mass_attenuation_cm2_per_g(material, energy_kev) * float(_material(material)["density_g_per_cm3"]) / 10.0


def water_mu_per_mm(energy_kev: float) -> float:
    """Attenuation of water per mm: 0.0206 at 60 keV, 0.0193 at 70 keV."""
    return linear_attenuation_per_mm("water", energy_kev)


def cortical_bone_hu() -> float:
    """CT number of cortical bone of 1.92 g/cm3 (about 1560)."""
    return 1000.0 * (linear_attenuation_per_mm("cortical_bone", CT_ENERGY_KEV) / water_mu_per_mm(CT_ENERGY_KEV) - 1.0)


def hu_to_materials(ct_hu: Real[Tensor, "*grid"]) -> tuple[Float[Tensor, "*grid"], Float[Tensor, "*grid"]]:
    """Split a CT into water-like tissue and cortical bone.

    ``soft * mu_water(E) + bone * mu_cortical_bone(E)`` is the attenuation at any energy. Project each of the two by itself and
    the films hold mm of water and mm of cortical bone: at full size two volumes then exist at a time, not the four that
    stacking them into channels takes. For small volumes ``torch.cat((soft, bone), dim=1)`` projects both at once.

    Args:
        ct_hu: CT numbers, float or integer; below -1000 is air, above 3071 is 3071.

    Returns:
        soft: density relative to water, 0-1.1, same shape; float32 for integers, otherwise the dtype of ``ct_hu``.
        bone: density relative to cortical bone, 0-1.59, likewise.
    """
    soft = _piecewise_linear(ct_hu, _hu_knots(), (0.0, 1.0 + SOFT_TISSUE_HU / 1000.0, 0.0, 0.0))
    soft = soft.clamp_min_(0.0)  # where bone begins the polyline returns to 0 only up to rounding
    bone = _piecewise_linear(ct_hu, _hu_knots(), (0.0, 0.0, 1.0, _metal_bone_density()))
    return soft, bone


def hu_to_mu_per_mm(ct_hu: Real[Tensor, "*grid"], energy_kev: float = FILM_ENERGY_KEV) -> Float[Tensor, "*grid"]:
    """Linear attenuation of a CT at the energy of a radiograph, without building the two materials.

    Differentiable, and the gradient is 0 below -1000 and above 3071 HU. NaN stays NaN.

    Args:
        ct_hu: CT numbers, float or integer; below -1000 is air (exactly 0), above 3071 is 3071.
        energy_kev: photon energy, 10-150.

    Returns:
        mu_per_mm >= 0, same shape; float32 for integers, otherwise the dtype of ``ct_hu``.

    Example:
        >>> hu_to_mu_per_mm(torch.tensor([-1024.0, 0.0, 1000.0])).mul(1e4).round()
        tensor([  0., 206., 460.])
    """
    return _piecewise_linear(ct_hu, _hu_knots(), _mu_knots_per_mm(energy_kev))


def mu_per_mm_to_hu(mu_per_mm: Float[Tensor, "*grid"], energy_kev: float = FILM_ENERGY_KEV) -> Float[Tensor, "*grid"]:
    """The inverse of ``hu_to_mu_per_mm`` at the same energy: CT numbers within [-1000, 3071], same shape."""
    return _piecewise_linear(mu_per_mm, _mu_knots_per_mm(energy_kev), _hu_knots())


def _material(name: str) -> dict[str, Any]:
    materials: dict[str, dict[str, Any]] = physics_tables()["materials"]
    if name not in materials:
        raise ValueError(f"material must be one of {', '.join(materials)}, got {name!r}")
    return materials[name]


def _hu_knots() -> Knots:
    """CT numbers between which every map is linear: air, end of soft tissue, cortical bone, metal."""
    return AIR_HU, SOFT_TISSUE_HU, cortical_bone_hu(), METAL_HU


def _metal_bone_density() -> float:
    """Cortical-bone density of METAL_HU."""
    return (1.0 + METAL_HU / 1000.0) / (1.0 + cortical_bone_hu() / 1000.0)


def _mu_knots_per_mm(energy_kev: float) -> Knots:
    """Attenuation at ``_hu_knots``, per mm."""
    bone_mu_per_mm = linear_attenuation_per_mm("cortical_bone", energy_kev)
    soft_mu_per_mm = (1.0 + SOFT_TISSUE_HU / 1000.0) * water_mu_per_mm(energy_kev)
    return 0.0, soft_mu_per_mm, bone_mu_per_mm, _metal_bone_density() * bone_mu_per_mm


def _piecewise_linear(x: Tensor, x_knots: Knots, y_knots: Knots) -> Tensor:
    """The polyline through the knots, constant outside them: y_0 + sum_i slope_i (clamp(x, x_i, x_i+1) - x_i).

    A full-size CT is 600 MB: the sum grows in place and needs one temporary of its size. The gradient at the outer knots is
    that of the inside, so that what starts as air can be optimised; exactly at an inner knot it is the sum of both sides.
    """
    # Half types cannot represent the knots: computed in float32, air stays exactly 0.
    wide = x if x.dtype in (torch.float32, torch.float64) else x.float()
    rises = zip(x_knots, x_knots[1:], y_knots, y_knots[1:], strict=False)
    slopes = [(x_low, x_high, (y_high - y_low) / (x_high - x_low)) for x_low, x_high, y_low, y_high in rises if y_high != y_low]
    x_low, x_high, slope = slopes[0]
    y = wide.clamp(x_low, x_high).sub_(x_low).mul_(slope)
    for x_low, x_high, slope in slopes[1:]:
        y.add_(wide.clamp(x_low, x_high).sub_(x_low), alpha=slope)
    if y_knots[0] != 0.0:
        y.add_(y_knots[0])
    return y.to(x.dtype if x.is_floating_point() else torch.float32)

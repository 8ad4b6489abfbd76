"""What lies under the diaphragm: liver, spleen, and the stomach with its bubble."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from xct_components.data.phantom.cage import Cage
from xct_components.data.phantom.parameters import ThoraxParameters
from xct_components.data.phantom.randomness import detail, normal
from xct_components.data.phantom.shapes import Ellipsoid, Points, ellipsoid_distance, smooth_max

#: Muscle of the diaphragm, mm (general knowledge: 2-4).
DIAPHRAGM_MM = 3.0
#: Height of the left dome at which spleen and stomach stand as written below, mm.
_USUAL_LEFT_DOME = -72.0
_STOMACH_WALL_MM = 4.0


@dataclass(frozen=True)
class Abdomen:
    """Spleen, stomach and gas of one person, reference mm; the liver fills the right dome."""

    spleen: Ellipsoid
    stomach: Ellipsoid
    gas: Ellipsoid
    liver_left_mm: float
    upright: bool


def build_abdomen(parameters: ThoraxParameters, cage: Cage, mean_scale: float) -> Abdomen:
    """Organs that hang on the left dome; the bubble lies in front when supine, on top when upright."""
    generator = detail(parameters.seed, "abdomen")
    drop = cage.dome_mm[1] - _USUAL_LEFT_DOME
    spleen = 1.0 + 0.10 * float(normal(generator))
    radius = max(4.0, (parameters.stomach_gas_ml * 1000.0 * 3.0 / (4.0 * math.pi)) ** (1 / 3)) / mean_scale
    flat = (1.5 * radius, 1.2 * radius, 0.85 * radius)
    bubble = (-56.0, 14.0, -86.0 + drop - 0.62 * radius) if parameters.upright else (-52.0, 52.0, -88.0 + drop - 0.5 * radius)
    sway = 5.0 * normal(generator, 2)
    return Abdomen(
        Ellipsoid((-92.0, -44.0, -104.0 + drop), (30.0 * spleen, 40.0 * spleen, 44.0 * spleen)),
        Ellipsoid((-56.0, 18.0, -112.0 + drop), (42.0, 46.0, 38.0)),
        Ellipsoid((bubble[0] + float(sway[0]), bubble[1] + float(sway[1]), bubble[2]), flat),
        liver_left_mm=-52.0 + 8.0 * float(normal(generator)),
        upright=parameters.upright,
    )


def liver_distance(abdomen: Abdomen, points: Points, inside: Tensor) -> Tensor:
    """Distance to the liver; ``inside`` is the distance to the abdominal cavity. Its left lobe lies in front only."""
    left_border = abdomen.liver_left_mm + 0.85 * (38.0 - points.y).clamp(0.0, 120.0)
    wedge = (left_border - points.x) * 0.76
    below = (-190.0 + 0.42 * (60.0 - points.x).clamp(0.0, 200.0) - points.z) * 0.85
    return smooth_max(smooth_max(inside + 1.0, wedge, 10.0), below, 8.0)


def stomach_distances(abdomen: Abdomen, points: Points, inside: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Distances to stomach wall, content and gas, mm."""
    _, y, z = (c - middle for c, middle in zip(points, abdomen.gas.center, strict=True))
    above_fluid = (0.25 * abdomen.gas.radii[2] + z) if abdomen.upright else (0.30 * abdomen.gas.radii[1] + y)
    gas = torch.maximum(torch.maximum(ellipsoid_distance(points, abdomen.gas), -above_fluid), inside + 3.0)
    stomach = torch.minimum(ellipsoid_distance(points, abdomen.stomach), gas - _STOMACH_WALL_MM)
    stomach = smooth_max(stomach, inside + 1.0, 6.0)
    return stomach, stomach + _STOMACH_WALL_MM, gas


def spleen_distance(abdomen: Abdomen, points: Points, inside: Tensor) -> Tensor:
    """Distance to the spleen, mm."""
    return smooth_max(ellipsoid_distance(points, abdomen.spleen), inside + 2.0, 8.0)

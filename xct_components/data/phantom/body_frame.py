"""From the person's millimetres to the reference body's: size, posture and place.

All anatomy is written down for one reference body (a man of 172 cm whose lungs hold ``REFERENCE_CAPACITY_ML``); a person is
that body scaled along three axes, bent, and centred on the lungs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from xct_components.data.phantom.parameters import ThoraxParameters
from xct_components.data.phantom.shapes import Points

#: Lungs of the reference body at full inspiration (measured from its own shape; a test repeats it).
REFERENCE_CAPACITY_ML = 4690.0
REFERENCE_HEIGHT_CM = 172.0
#: Cobb angle T1-T12 of the reference spine: 44.2 degrees is the mean of 80 adults (Harrison, J Spinal Disord Tech 2002;15:213).
REFERENCE_KYPHOSIS_DEG = 44.0
#: Half the length of the reference thoracic spine, mm.
HALF_SPINE_MM = 134.0
# The spine bends fully, the sternum hardly: share of the bend at y, and its fall per mm forwards.
_BEND_AT_ZERO, _BEND_PER_MM = 0.72, 1.0 / 200.0


@dataclass(frozen=True)
class BodyFrame:
    """World RAS mm <-> reference mm; both directions are exact.

    Args:
        scale: person over reference along x, y, z.
        bend_mm: how much further back than in the reference the mid-thoracic spine stands, reference mm.
        lateral_bend_mm: how far right of the midline it stands.
        origin_mm: reference point that lies at the world's origin.
    """

    scale: tuple[float, float, float]
    bend_mm: float
    lateral_bend_mm: float
    origin_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def reference_from_world(self, world: Points) -> Points:
        """Reference coordinates of world coordinates; broadcasts as its input does, but for the bends."""
        x, y, z = (c / s + o for c, s, o in zip(world, self.scale, self.origin_mm, strict=True))
        arch = _arch(z)
        if self.lateral_bend_mm:
            x = x - self.lateral_bend_mm * arch
        if self.bend_mm:
            back = -self.bend_mm * arch
            y = (y - _BEND_AT_ZERO * back) / (1.0 - _BEND_PER_MM * back)
        return Points(x, y, z)

    def world_from_reference(self, reference_mm: Tensor) -> Tensor:
        """(..., 3) reference mm -> (..., 3) world mm."""
        x, y, z = reference_mm.unbind(-1)
        arch = _arch(z)
        x = x + self.lateral_bend_mm * arch
        y = y - self.bend_mm * arch * (_BEND_AT_ZERO - _BEND_PER_MM * y)
        moved = torch.stack([x, y, z], dim=-1) - torch.tensor(self.origin_mm).to(reference_mm)
        return moved * torch.tensor(self.scale).to(reference_mm)

    def centred_at(self, world_mm: Tensor) -> BodyFrame:
        """The same body, moved so that ``world_mm`` comes to the origin."""
        steps = (world_mm / torch.tensor(self.scale, dtype=torch.float64)).tolist()
        x, y, z = (o + step for o, step in zip(self.origin_mm, steps, strict=True))
        return replace(self, origin_mm=(x, y, z))

    @property
    def mean_scale(self) -> float:
        """Person over reference, for what has no direction."""
        sx, sy, sz = self.scale
        return (sx * sy * sz) ** (1 / 3)


def body_frame(parameters: ThoraxParameters) -> BodyFrame:
    """The frame of a person, not centred yet."""
    volume = parameters.lung_capacity_ml / REFERENCE_CAPACITY_ML
    sz = volume**0.3 * (parameters.height_cm / REFERENCE_HEIGHT_CM) ** 0.4
    depth_times_width = volume / sz
    sx = (depth_times_width / parameters.chest_depth_ratio) ** 0.5
    bend = sagitta_mm(parameters.kyphosis_deg) - sagitta_mm(REFERENCE_KYPHOSIS_DEG)
    return BodyFrame((sx, depth_times_width / sx, sz), bend, parameters.lateral_bend_mm / sx)


def sagitta_mm(cobb_deg: float) -> float:
    """Depth of a circular arc of the spine's length that turns by the Cobb angle: length * angle / 8."""
    return 2 * HALF_SPINE_MM * cobb_deg * (torch.pi / 180.0) / 8.0


def _arch(z_mm: Tensor) -> Tensor:
    """1 at mid-thorax, 0 at T1 and T12, never far below 0."""
    return 1.0 - ((z_mm / HALF_SPINE_MM) ** 2).clamp(max=1.5)

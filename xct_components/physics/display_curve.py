"""From line integrals to the grey values of a displayed film."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

#: Offset of the power law: with gamma < 1 the slope at black is finite, and 0 and 1 stay where they are.
TOE = 1e-2


@dataclass(frozen=True)
class DisplayCurve:
    """A fixed window in line integrals, then an S-shaped and a power-law curve; never the film's own minimum and maximum.

    Args:
        window: line integrals shown as 0 (black) and 1 (white). Without scatter the brightest hundredth of frontal chest films
            begins at 4.3-6.3 (five CTs, 60 keV); scatter takes up to half of that.
        contrast: steepness of the S, 0 (none) to about 8. 4 is the SIGMOID VOI LUT function of DICOM (PS3.3 C.11.2.1.3),
            stretched so that the ends of the window are black and white.
        gamma: power law, 1 (none), typically 0.6-1.6; below 1 brightens.

    Raises:
        ValueError: if the window is empty, or a value is out of range or not finite.
    """

    window: tuple[float, float] = (0.0, 6.0)
    contrast: float = 0.0
    gamma: float = 1.0

    def __post_init__(self) -> None:
        window = tuple(float(edge) for edge in self.window)
        if len(window) != 2 or not all(map(math.isfinite, window)) or window[0] >= window[1]:
            raise ValueError(f"window must be (black, white) in line integrals with black < white, got {self.window}")
        object.__setattr__(self, "window", window)
        if not 0.0 <= self.contrast < math.inf:
            raise ValueError(f"contrast must be finite and >= 0, got {self.contrast}; 0 switches it off")
        if not 0.0 < self.gamma < math.inf:
            raise ValueError(f"gamma must be finite and > 0, got {self.gamma}; 1 switches it off")

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dictionary; ``from_json`` restores an equal curve."""
        return {**asdict(self), "window": list(self.window)}

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> DisplayCurve:
        """The curve that ``to_json`` described."""
        return cls(**{**fields, "window": tuple(fields["window"])})


def display(line_integral: Float[Tensor, "*film"], curve: DisplayCurve) -> Float[Tensor, "*film"]:
    """Grey values in [0, 1], larger = more attenuation = brighter, so that bones are white; increasing in ``line_integral``."""
    black, white = curve.window
    grey = ((line_integral - black) / (white - black)).clamp(0.0, 1.0)
    if curve.contrast > 0.0:
        end = 1.0 / (1.0 + math.exp(curve.contrast / 2.0))
        grey = ((torch.sigmoid(curve.contrast * (grey - 0.5)) - end) / (1.0 - 2.0 * end)).clamp(0.0, 1.0)
    if curve.gamma != 1.0:
        low, high = TOE**curve.gamma, (1.0 + TOE) ** curve.gamma
        grey = (((grey + TOE) ** curve.gamma - low) / (high - low)).clamp(0.0, 1.0)
    return grey

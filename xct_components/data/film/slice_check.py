"""Whether a picture of a chest is a slice of a CT rather than a film: a slice has two greys, lung and soft tissue.

On a film every pixel adds up a path: ribs over lung, the heart's thin edge, the chest wall seen on end. So greys halfway
between lung and mediastinum are common. A slice jumps from one to the other within two or three pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from xct_components.data.film.agreement import MeanFilm, shrunk
from xct_components.data.film.match import Pose, laid_over

#: Pixels of this size in the patient, over this square around the lungs, are looked at.
PIXEL_MM, FIELD_MM = 3.0, 240.0
#: Films are shrunk to this many pixels along the longer side first.
MEASURED_PIXELS = 256
#: Quantiles of the grey values that are black and white.
RANGE = (0.01, 0.99)
#: Halfway between the medians of the dark and of the bright pixels: from this share of their distance to that one.
HALFWAY = (0.3, 0.7)
#: Less than this share of halfway greys is a slice. Measured: coronal slices of ten CTs in three lung windows 0.03-0.08; films
#: of those CTs in four display curves 0.14-0.21, of 100 phantoms 0.11-0.25, and real ones 0.14-0.18.
LEAST_HALFWAY = 0.095
#: Dark pixels whose median is nearer to black than this are clipped, as lung is in a slice's soft-tissue window; films at hand:
#: 0.09-0.34.
CLIPPED = 0.01


@dataclass(frozen=True)
class TwoGreys:
    """How a picture's greys within the chest are spread.

    Args:
        halfway_share: share of pixels halfway between dark and bright, 0-1.
        dark_level: median of the dark pixels, 0 (black) to 1 (white).
    """

    halfway_share: float
    dark_level: float

    @property
    def is_slice(self) -> bool:
        """Whether the greys jump from lung to soft tissue as on a slice."""
        return self.halfway_share < LEAST_HALFWAY

    @property
    def lungs_are_black(self) -> bool:
        """Whether most of the lungs has no grey at all: a slice in a soft-tissue window, or a film in too narrow a window."""
        return self.dark_level < CLIPPED

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dictionary."""
        return {"halfway_share": round(self.halfway_share, 3), "dark_level": round(self.dark_level, 3)}


def two_greys(pixels: Float[Tensor, "rows cols"], pose: Pose) -> TwoGreys:
    """The spread of greys around the lungs.

    Args:
        pixels: an upright frontal picture, larger = more attenuation.
        pose: where the mean chest lies on it, not mirrored.
    """
    from skimage.filters import threshold_otsu

    small = shrunk(pixels, MEASURED_PIXELS)
    place = pose.scaled(max(small.shape) / max(pixels.shape))
    n = round(FIELD_MM / PIXEL_MM)
    values, covered = laid_over(
        small, MeanFilm(torch.zeros(n, n), torch.ones(n, n), PIXEL_MM), place.middle, place.mm_per_pixel
    )
    inside = values[covered > 0.5]
    low, high = (float(inside.quantile(share)) for share in RANGE) if inside.numel() else (0.0, 0.0)
    if not low < high:
        return TwoGreys(1.0, 1.0)
    grey = ((inside - low) / (high - low)).clamp(0.0, 1.0)
    threshold = float(threshold_otsu(grey.numpy()))
    dark, bright = (float(part.median()) for part in (grey[grey <= threshold], grey[grey > threshold]))
    share = (grey - dark) / max(bright - dark, 1e-6)
    return TwoGreys(float(((share > HALFWAY[0]) & (share < HALFWAY[1])).float().mean()), dark)

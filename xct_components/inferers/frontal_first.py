"""Consistency with two calibrated films: a frontal one that is trusted, and a lateral one that may only help."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from xct_components.geometry import Beam, VolumeGrid
from xct_components.physics.consistency import FilmScale, corrected_along_rays
from xct_components.physics.gain_and_offset import GUESS_ERROR, PAIR_GUESS_ERROR, believed_gain_offset
from xct_components.physics.projector import project


@dataclass(frozen=True)
class FrontalFirst:
    """Soft consistency in which the first film has the last word.

    Each film's gain and offset are estimated from the volume as it comes in. Then the others correct the volume, as far as they
    differ by more than their tolerance but never by more than ``most``, and last the first film: a lateral film that lies
    badly, or is another patient's, changes where along the frontal rays the attenuation lies, not how much there is.

    Args:
        tolerance: of the first film: line integral by which film and volume may differ without being corrected.
        other_tolerance: of the others.
        most: line integral by which the others may move a ray at once.
    """

    tolerance: float = 0.05
    other_tolerance: float = 0.3
    most: float = 1.0
    film_scale: ClassVar[FilmScale] = "calibrated"

    def __post_init__(self) -> None:
        for name in ("tolerance", "other_tolerance", "most"):
            if not getattr(self, name) >= 0.0:
                raise ValueError(f"{name} must be a line integral >= 0, got {getattr(self, name)}")

    def __call__(
        self,
        mu_per_mm: Float[Tensor, "b c d h w"],
        line_integrals: Float[Tensor, "b v c rows cols"],
        grid: VolumeGrid,
        beams: Sequence[Beam],
        *,
        out: Float[Tensor, "b c d h w"] | None = None,
    ) -> Float[Tensor, "b c d h w"]:
        """The corrected volume, >= 0, written to ``out`` if that is given."""
        mu = mu_per_mm.clamp_min(0.0) if out is None else torch.clamp_min(mu_per_mm, 0.0, out=out)
        projected = project(mu, grid, beams)
        gain, offset = believed_gain_offset(line_integrals, projected, PAIR_GUESS_ERROR if len(beams) > 1 else GUESS_ERROR)
        films = gain * line_integrals + offset
        near = projected + (films - projected).clamp(-self.most, self.most)
        for view in reversed(range(1, len(beams))):
            one = slice(view, view + 1)
            mu = corrected_along_rays(mu, near[:, one], grid, beams[one], tolerance=self.other_tolerance, out=out)
        return corrected_along_rays(mu, films[:, :1], grid, beams[:1], tolerance=self.tolerance, out=out)

"""What the cascade is given: films as line integrals, the beams that took them, and where the patient stood."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from xct_components.geometry import Beam, VolumeGrid
from xct_components.geometry.vectors import Vector3
from xct_components.inferers.frontal_first import FrontalFirst
from xct_components.inferers.stage_films import BODY_SHARE, resampled_film
from xct_components.networks.cascade_stage import CascadeStage
from xct_components.networks.deviation_factors import FilmsSeen
from xct_components.physics.consistency import Consistency, HardConsistency, SoftConsistency

#: What the record of a film says under "geometry_from" if its place and scale were estimated from the picture.
CALIBRATED = "calibration"


@dataclass(frozen=True)
class CascadeFilm:
    """The films of one patient.

    Args:
        line_integrals: (1, V, 1, rows, cols) float32, dimensionless.
        beams: V exposures, in the world frame (RAS mm) in which the CT shall lie.
        center_mm: middle of the cascade's field in that frame.
        exact: whether the films are exact line integrals at 60 keV (simulated ones), or estimates.
        record: every decision on the way here, JSON-ready.
        without: name of the patient whose own CT the stages must not bend, where his CT judges the result, as in training;
            None for films of somebody else than those whose CTs are held.
    """

    line_integrals: Float[Tensor, "1 v 1 rows cols"]
    beams: tuple[Beam, ...]
    center_mm: Vector3 = (0.0, 0.0, 0.0)
    exact: bool = False
    record: dict[str, Any] = field(default_factory=dict)
    without: str | None = None

    def __post_init__(self) -> None:
        shapes = {(beam.detector.rows, beam.detector.cols) for beam in self.beams}
        if len(self.beams) != self.line_integrals.shape[1] or shapes != {tuple(self.line_integrals.shape[-2:])}:
            raise ValueError(
                f"line_integrals must be one film per beam, with the rows and columns of its detector, got "
                f"{tuple(self.line_integrals.shape)} for detectors of {sorted(shapes)}; use beam.resampled(rows, cols)"
            )

    @property
    def believed(self) -> Consistency:
        """How far physics should believe the films: hard for exact ones, soft for estimates.

        Views are corrected in turn, each undoing a little of the other: two of them take a sweep more. Of two calibrated films
        the lateral one is believed less, and the frontal one has the last word.
        """
        if self.exact:
            return HardConsistency(sweeps=2 if len(self.beams) == 1 else 3)
        placed_by_eye = self.record.get("second_film", {}).get("geometry_from") == CALIBRATED
        return FrontalFirst() if placed_by_eye else SoftConsistency()

    @property
    def seen(self) -> FilmsSeen:
        """What the errors of a CT made from them depend on."""
        records = [one for one in (self.record, self.record.get("second_film")) if one is not None]
        sized = not self.exact and all(one.get("placement", {}).get("size_known", False) for one in records)
        return FilmsSeen(len(self.beams), calibrated=not self.exact, sized=sized)

    @property
    def body_share(self) -> float:
        """See ``stage_films``: on a film from a file the body goes on beside the field."""
        return BODY_SHARE if "file" in self.record else 0.0

    def field_of(self, stage: CascadeStage) -> VolumeGrid:
        """Where a stage's volume lies for this patient."""
        return VolumeGrid.chest(stage.field.shape, stage.field.spacing_mm, self.center_mm)

    def with_view(self, other: CascadeFilm) -> CascadeFilm:
        """These films and those of ``other``, read out with the rows and columns of these."""
        rows, cols = self.line_integrals.shape[-2:]
        beams = tuple(beam.resampled(rows, cols) for beam in other.beams)
        films = [
            resampled_film(film, beam, target)
            for film, beam, target in zip(other.line_integrals[0], other.beams, beams, strict=True)
        ]
        return replace(
            self,
            line_integrals=torch.cat([self.line_integrals, torch.stack(films)[None]], dim=1),
            beams=(*self.beams, *beams),
            exact=self.exact and other.exact,
            record={**self.record, "second_film": other.record},
        )

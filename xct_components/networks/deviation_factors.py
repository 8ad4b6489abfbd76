"""How many times as wide the errors of a stage are as what it states of them: measured on patients, kept with the weights."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

#: Under what name the JSON beside weights keeps them.
STD_FACTORS = "std_factors"
#: Steps of a deviation that bent CTs alone tell.
NO_SAMPLES = 0


@dataclass(frozen=True)
class MeasuredFactor:
    """What one measurement said.

    Args:
        steps: network evaluations of each sample; ``NO_SAMPLES`` if none were drawn.
        factor: errors are so many times as wide as the deviation, > 0.
        patients: how many it was measured on.

    Raises:
        ValueError: for anything else.
    """

    steps: int
    factor: float
    patients: int

    def __post_init__(self) -> None:
        if self.steps < NO_SAMPLES or self.patients < 1 or not 0.0 < self.factor < math.inf:
            raise ValueError(
                f"a deviation factor must be above 0, of 0 or more steps and 1 or more patients, got {self.factor} of "
                f"{self.steps} steps and {self.patients} patients"
            )


@dataclass(frozen=True)
class DeviationFactors:
    """The factors of one stage's weights; none unless they were measured.

    One for what bent CTs tell alone, one for each number of steps of samples beside them: few steps spread samples too little.
    See ``stated_deviation`` and docs/results.md, "How sure".

    Args:
        measured: one for each number of steps.

    Raises:
        ValueError: for two of the same steps.
    """

    measured: tuple[MeasuredFactor, ...] = ()

    def __post_init__(self) -> None:
        steps = [one.steps for one in self.measured]
        if len(set(steps)) < len(steps):
            raise ValueError(f"deviation factors must be of different steps, got {steps}; keep the newer one")

    def at(self, steps: int) -> float:
        """What to multiply the deviation by that bent CTs tell with samples of so many steps, or without.

        1 if nothing was measured; between measured steps linear in log(steps), beyond them the nearest.
        """
        known = self._known(steps)
        if not known:
            return 1.0
        if steps == NO_SAMPLES:
            return known[0].factor
        return float(np.interp(math.log(steps), [math.log(one.steps) for one in known], [one.factor for one in known]))

    def patients(self, steps: int) -> int:
        """How many patients say so at least; 0 if nothing was measured."""
        return min((one.patients for one in self._known(steps)), default=0)

    def with_factor(self, new: MeasuredFactor) -> DeviationFactors:
        """These and a new one, which replaces that of the same steps."""
        kept = [one for one in self.measured if one.steps != new.steps]
        return DeviationFactors(tuple(sorted([*kept, new], key=_steps)))

    def to_json(self) -> list[dict[str, Any]]:
        """Plain entries, for the JSON beside the weights."""
        return [{"steps": one.steps, "factor": round(one.factor, 4), "patients": one.patients} for one in self.measured]

    @classmethod
    def from_json(cls, entries: Any) -> DeviationFactors:
        """What ``to_json`` wrote.

        Raises:
            ValueError: if it wrote something else.
        """
        try:
            measured = [MeasuredFactor(int(one["steps"]), float(one["factor"]), int(one["patients"])) for one in entries]
        except (KeyError, TypeError) as error:
            raise ValueError(f"deviation factors must be a list of steps, factor and patients, got {entries!r}") from error
        return cls(tuple(measured))

    def _known(self, steps: int) -> list[MeasuredFactor]:
        """What was measured with samples, or without."""
        return sorted((one for one in self.measured if (one.steps == NO_SAMPLES) == (steps == NO_SAMPLES)), key=_steps)


def steps_drawn(samples: int, steps: int) -> int:
    """The steps whose factor holds: a single sample, or none, tells nothing of the deviation."""
    return steps if samples > 1 else NO_SAMPLES


def _steps(measured: MeasuredFactor) -> int:
    return measured.steps

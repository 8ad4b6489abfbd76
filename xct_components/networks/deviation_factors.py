"""How many times as wide the errors of a stage are as its samples' deviation: measured on patients, kept with the weights."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class MeasuredFactor:
    """What one measurement said.

    Args:
        steps: network evaluations of each sample, from 1 on.
        factor: errors are so many times as wide as the deviation, > 0.
        patients: how many it was measured on.

    Raises:
        ValueError: for anything else.
    """

    steps: int
    factor: float
    patients: int

    def __post_init__(self) -> None:
        if self.steps < 1 or self.patients < 1 or not 0.0 < self.factor < math.inf:
            raise ValueError(
                f"a deviation factor must be above 0, of 1 or more steps and patients, got {self.factor} of {self.steps} steps "
                f"and {self.patients} patients"
            )


@dataclass(frozen=True)
class DeviationFactors:
    """The factors of one stage's weights; none unless they were measured.

    What all samples have in common, a network that has seen few patients above all, is not in their deviation; and few steps
    spread them too little. One factor for each number of steps mends both: see docs/results.md, "How sure".

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
        """What to multiply the deviation of samples of so many steps by.

        1 if nothing was measured; between measured steps linear in log(steps), beyond them the nearest.
        """
        if not self.measured:
            return 1.0
        known = sorted(self.measured, key=lambda one: one.steps)
        return float(np.interp(math.log(steps), [math.log(one.steps) for one in known], [one.factor for one in known]))

    def with_factor(self, new: MeasuredFactor) -> DeviationFactors:
        """These and a new one, which replaces that of the same steps."""
        kept = [one for one in self.measured if one.steps != new.steps]
        return DeviationFactors(tuple(sorted([*kept, new], key=lambda one: one.steps)))

    def described(self, steps: int) -> dict[str, Any]:
        """What a result's record says of its deviation."""
        return {"factor": round(self.at(steps), 4), "measured": self.to_json()}

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

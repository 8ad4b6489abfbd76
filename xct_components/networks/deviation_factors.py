"""How many times as wide the errors of a stage are as what it states of them: measured on patients, kept with the weights."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

#: Under what name the JSON beside weights keeps them.
STD_FACTORS = "std_factors"
#: Steps of a deviation that bent CTs alone tell.
NO_SAMPLES = 0


class FilmsSeen(NamedTuple):
    """What errors depend on beside the patient: ``views``, and what a display has lost of the films.

    ``calibrated``: line integrals were estimated from what a display shows; otherwise they are exact. ``sized``: of calibrated
    films, that the size of their pixels is known.
    """

    views: int = 1
    calibrated: bool = False
    sized: bool = False

    def simpler(self) -> FilmsSeen | None:
        """The films to be taken for these where nothing was measured with these; None for one exact film."""
        if self.sized:
            return self._replace(sized=False)
        if self.views > 1:
            return self._replace(views=self.views - 1)
        return FilmsSeen(1) if self.calibrated else None


#: What factors are of unless they say otherwise.
ONE_EXACT_FILM = FilmsSeen()


@dataclass(frozen=True)
class MeasuredFactor:
    """What one measurement said.

    Args:
        steps: network evaluations of each sample; ``NO_SAMPLES`` if none were drawn.
        factor: errors are so many times as wide as the deviation, > 0.
        patients: how many it was measured on.
        films: what was seen of them.

    Raises:
        ValueError: for anything else.
    """

    steps: int
    factor: float
    patients: int
    films: FilmsSeen = ONE_EXACT_FILM

    def __post_init__(self) -> None:
        known = self.steps >= NO_SAMPLES and self.patients >= 1 and self.films.views >= 1
        if not known or not 0.0 < self.factor < math.inf:
            raise ValueError(
                f"a deviation factor must be above 0, of 0 or more steps and 1 or more patients and views, got {self.factor} "
                f"of {self.steps} steps, {self.patients} patients and {self.films.views} views"
            )


@dataclass(frozen=True)
class DeviationFactors:
    """The factors of one stage's weights; none unless they were measured.

    One for what bent CTs tell alone, one for each number of steps of samples beside them (few steps spread samples too little),
    for each kind of films. See ``stated_deviation`` and docs/results.md, "How sure".

    Args:
        measured: one for each number of steps and kind of films.

    Raises:
        ValueError: for two of the same.
    """

    measured: tuple[MeasuredFactor, ...] = ()

    def __post_init__(self) -> None:
        kinds = [(one.steps, tuple(one.films)) for one in self.measured]
        if len(set(kinds)) < len(kinds):
            raise ValueError(f"deviation factors must be of different steps or films, got {kinds}; keep the newer one")

    def at(self, steps: int, films: FilmsSeen = ONE_EXACT_FILM) -> float:
        """What to multiply the deviation by that bent CTs tell with samples of so many steps, or without.

        1 if nothing was measured; between measured steps linear in log(steps), beyond them the nearest. Where nothing was
        measured with such films it is that of simpler ones, times what such films are worth without samples.
        """
        known = self._known(steps, films)
        if known and steps == NO_SAMPLES:
            return known[0].factor
        if known:
            return float(np.interp(math.log(steps), [math.log(one.steps) for one in known], [one.factor for one in known]))
        simpler = films.simpler()
        if simpler is None:
            return 1.0
        worth = self.at(NO_SAMPLES, films) / self.at(NO_SAMPLES, simpler) if steps != NO_SAMPLES else 1.0
        return worth * self.at(steps, simpler)

    def patients(self, steps: int, films: FilmsSeen = ONE_EXACT_FILM) -> int:
        """How many patients say so at least; 0 if nothing was measured with such films."""
        return min((one.patients for one in self._known(steps, films) or self._known(NO_SAMPLES, films)), default=0)

    def with_factor(self, new: MeasuredFactor) -> DeviationFactors:
        """These and a new one, which replaces that of the same steps and films."""
        kept = [one for one in self.measured if (one.steps, one.films) != (new.steps, new.films)]
        return DeviationFactors(tuple(sorted([*kept, new], key=_order)))

    def to_json(self) -> list[dict[str, Any]]:
        """Plain entries, for the JSON beside the weights."""
        return [
            {"steps": one.steps, **one.films._asdict(), "factor": round(one.factor, 4), "patients": one.patients}
            for one in self.measured
        ]

    @classmethod
    def from_json(cls, entries: Any) -> DeviationFactors:
        """What ``to_json`` wrote; without ``views``, ``calibrated`` and ``sized`` one exact film was seen.

        Raises:
            ValueError: if it wrote something else.
        """
        try:
            measured = [
                MeasuredFactor(
                    int(one["steps"]),
                    float(one["factor"]),
                    int(one["patients"]),
                    FilmsSeen(int(one.get("views", 1)), *(bool(one.get(name, False)) for name in ("calibrated", "sized"))),
                )
                for one in entries
            ]
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"deviation factors must be a list of steps, factor and patients, got {entries!r}") from error
        return cls(tuple(measured))

    def _known(self, steps: int, films: FilmsSeen) -> list[MeasuredFactor]:
        """What was measured with such films, with samples or without."""
        same = (one for one in self.measured if one.films == films and (one.steps == NO_SAMPLES) == (steps == NO_SAMPLES))
        return sorted(same, key=_order)


def steps_drawn(samples: int, steps: int) -> int:
    """The steps whose factor holds: a single sample, or none, tells nothing of the deviation."""
    return steps if samples > 1 else NO_SAMPLES


def _order(measured: MeasuredFactor) -> tuple[FilmsSeen, int]:
    return measured.films, measured.steps

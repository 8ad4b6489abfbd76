"""What a training was made of: what must be the same where it goes on, and what is written beside its weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from xct_components import __version__
from xct_components.data.cases.cases import TrainingCases

#: Digits of a SHA-256 that are told.
DIGITS = 12


@runtime_checkable
class LoadedWeights(Protocol):
    """What remembers the weights it has loaded: ``bundle_io.stage_weights.StageWeights``."""

    records: list[dict[str, str]]


class TrainingRecord:
    """The cases, the weights of the stages before, and settings that a training cannot change on its way.

    Args:
        cases: what is trained on.
        weights: what loaded the stages before; None where there are none.
        settings: seed, batch size, learning rate, by name; JSON-ready.
    """

    def __init__(
        self, cases: TrainingCases, weights: LoadedWeights | None = None, settings: Mapping[str, Any] | None = None
    ) -> None:
        self.cases, self.weights, self.settings = cases, weights, dict(settings or {})

    def same(self) -> dict[str, Any]:
        """By name what must be alike in a run that goes on; short enough to be shown."""
        stages = [f"{one['bundle']} {one['sha256'][:DIGITS]}" for one in self._stages()]
        return {**self.settings, "earlier stages": stages, "data": self.cases.fingerprint(), "cases": len(self.cases)}

    def to_json(self) -> dict[str, Any]:
        """For the JSON beside the weights."""
        data = {"fingerprint": self.cases.fingerprint(), "cases": len(self.cases)}
        return {"xct-components": __version__, **self.settings, "earlier_stages": self._stages(), "data": data}

    def _stages(self) -> list[dict[str, str]]:
        return [] if self.weights is None else list(self.weights.records)

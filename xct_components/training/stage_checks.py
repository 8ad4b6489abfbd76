"""Whether a stage does what it is there for: each check with its number, its bar, and PASS or FAIL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from xct_components.training.case_picture import CasePicture

#: Largest relative error of the film that the prediction throws before consistency mends it; the goal of the design.
MOST_FILM_ERROR = 0.1
#: Letters: what is written after a verdict stands in one column.
WIDEST_VERDICT = len("not checked")


@dataclass(frozen=True)
class CheckedCase:
    """A held-out case.

    Args:
        name: of the case.
        figures: as ``MeanOfBatch`` gives them; those of the depth are NaN without depth lifting.
        depth: share of the attenuation per depth bin, "predicted", "atlas" and "true"; empty without depth lifting.
        depth_mm: of all bins together.
        picture: what a person looks at.
    """

    name: str
    figures: dict[str, float]
    depth: dict[str, list[float]] = field(default_factory=dict)
    depth_mm: float = 0.0
    picture: CasePicture | None = None


@dataclass(frozen=True)
class Check:
    """One check.

    Args:
        name: what is checked.
        value: the number.
        bar: it passes below this.
        unit: of both.
        detail: what the number is.
        passed: None where it could not be checked; ``detail`` says why.
    """

    name: str
    value: float | None
    bar: float | None
    unit: str
    detail: str
    passed: bool | None

    @property
    def verdict(self) -> str:
        """PASS, FAIL or "not checked"."""
        return {True: "PASS", False: "FAIL", None: "not checked"}[self.passed]

    def in_words(self) -> str:
        """One line."""
        if self.value is None or self.bar is None:
            return f"{self.verdict:<{WIDEST_VERDICT}}  {self.name}: {self.detail}"
        digits = 3 if self.unit == "" else 2
        numbers = f"{self.value:.{digits}f} {self.unit}".strip()
        return f"{self.verdict:<{WIDEST_VERDICT}}  {self.name}: {numbers} (must be below {self.bar:.{digits}f}); {self.detail}"

    def to_json(self) -> dict[str, Any]:
        """As the sheet's JSON has it; ``passed`` is null where it could not be checked."""
        numbers = {"value": self.value, "below": self.bar, "unit": self.unit}
        return {"check": self.name, "passed": self.passed, **numbers, "detail": self.detail}


def checks_of(
    cases: Sequence[CheckedCase], log: Sequence[Mapping[str, Any]] | None, *, trains_depth: bool = True
) -> list[Check]:
    """All checks of a stage.

    Args:
        cases: held out; at least one.
        log: of its training, from ``read_log``; None if there is none.
        trains_depth: whether the stage's loss holds its depth distribution to the true one.
    """
    return [
        loss_falls(log),
        film_is_explained(cases),
        depth_is_learned(cases, trains_depth=trains_depth),
        prior_is_beaten(cases),
    ]


def loss_falls(log: Sequence[Mapping[str, Any]] | None) -> Check:
    """The mean loss of the last quarter of the epochs against that of the first quarter (at least one epoch each)."""
    name = "loss falls"
    losses = [one["train_loss"] for one in log or [] if one.get("train_loss") is not None]
    if len(losses) < 2:
        no_log = "no log of its training lies beside the weights (released weights come without)"
        reason = no_log if log is None else f"the log has the loss of {len(losses)} epochs, two are needed"
        return Check(name, None, None, "", reason, None)
    quarter = max(1, len(losses) // 4)
    first, last = (sum(part) / quarter for part in (losses[:quarter], losses[-quarter:]))
    return Check(name, last, first, "", f"last and first {quarter} of {len(losses)} epochs", last < first)


def film_is_explained(cases: Sequence[CheckedCase]) -> Check:
    """The film of the prediction before consistency."""
    error = _mean(cases, "film_error")
    worst = max(case.figures["film_error"] for case in cases)
    detail = f"relative error before consistency, mean of {len(cases)} cases, the worst {worst:.3f}"
    return Check("film is explained", error, MOST_FILM_ERROR, "", detail, error < MOST_FILM_ERROR)


def depth_is_learned(cases: Sequence[CheckedCase], *, trains_depth: bool) -> Check:
    """The depth distribution is nearer to the true one than the atlas' is."""
    name = "depth is learned"
    if not cases[0].depth:
        return Check(name, None, None, "mm", "the stage has no depth lifting", None)
    error, atlas = _mean(cases, "depth_error_mm"), _mean(cases, "atlas_depth_error_mm")
    if not trains_depth:
        found = f"this stage's loss has no depth prior ({error:.1f} mm, the atlas {atlas:.1f} mm)"
        return Check(name, None, None, "mm", found, None)
    better = sum(case.figures["depth_error_mm"] < case.figures["atlas_depth_error_mm"] for case in cases)
    detail = f"distance from the true depths, the bar is the atlas'; better in {better} of {len(cases)} cases"
    return Check(name, error, atlas, "mm", detail, error < atlas)


def prior_is_beaten(cases: Sequence[CheckedCase]) -> Check:
    """The volume is nearer to the CT than what the stage starts from."""
    error, prior = _mean(cases, "rmse_hu"), _mean(cases, "prior_rmse_hu")
    better = sum(case.figures["rmse_hu"] < case.figures["prior_rmse_hu"] for case in cases)
    detail = f"RMSE, the bar is that of the volume it starts from; better in {better} of {len(cases)} cases"
    return Check("prior is beaten", error, prior, "HU", detail, error < prior)


def _mean(cases: Sequence[CheckedCase], figure: str) -> float:
    return sum(case.figures[figure] for case in cases) / len(cases)

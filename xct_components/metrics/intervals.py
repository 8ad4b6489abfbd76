"""What a mean over a few patients is worth: its bootstrap interval, and how many patients there were."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

CONFIDENCE, RESAMPLES, SEED = 0.95, 9999, 0


@dataclass(frozen=True)
class PatientMean:
    """A mean over patients.

    Args:
        mean: over the patients.
        low: lower end of the 95 % interval; NaN where there is none.
        high: upper end.
        n: how many patients.
    """

    mean: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        if math.isnan(self.low):
            return f"{self.mean:.4g} (n={self.n})"
        return f"{self.mean:.4g} [{self.low:.4g}, {self.high:.4g}] (n={self.n})"

    def to_json(self) -> dict[str, Any]:
        """JSON-ready; an interval that there is not is null."""
        ends = [None if math.isnan(end) else end for end in (self.low, self.high)]
        return {"mean": self.mean, "low": ends[0], "high": ends[1], "n": self.n}


def patient_mean(values: Sequence[float]) -> PatientMean:
    """The mean of one value per patient with its 95 % bootstrap interval (percentiles of 9999 resamples, seed 0).

    Percentiles, as the corrections of BCa are not defined for two patients or for equal values. With fewer than ten patients
    the interval is too narrow, with one there is none; n stands beside it for that.

    Raises:
        ValueError: for no patients.
    """
    from scipy.stats import bootstrap

    if len(values) == 0:
        raise ValueError("values must hold one number per patient, got none")
    data = np.asarray(values, dtype=np.float64)
    mean = float(data.mean())
    if len(data) < 2 or not np.isfinite(data).all():
        return PatientMean(mean, math.nan, math.nan, len(data))
    result = bootstrap(
        (data,),
        np.mean,
        confidence_level=CONFIDENCE,
        n_resamples=RESAMPLES,
        method="percentile",
        random_state=np.random.default_rng(SEED),
    ).confidence_interval
    return PatientMean(mean, float(result.low), float(result.high), len(data))

"""What the stated standard deviation tells of the error, on CTs that nothing was trained on; and the factor it asks for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from xct_components.cascade import UnifiedHybridViTCascade
from xct_components.data.atomic_files import written_together
from xct_components.data.file_hash import file_sha256
from xct_components.data.readable_json import readable_json
from xct_components.evaluation.held_out_case import HeldOutCase
from xct_components.failures import UsageFailure, WeightsFailure
from xct_components.metrics.regions import chest_regions
from xct_components.metrics.uncertainty import coverage_90, error_correlation, width_ratio_90
from xct_components.networks.deviation_factors import STD_FACTORS, DeviationFactors, FilmsSeen, MeasuredFactor, steps_drawn


@dataclass(frozen=True)
class DeviationCheck:
    """One patient at one stage, inside the body.

    Args:
        case: the patient.
        size: voxels a side.
        steps: network evaluations of each sample; ``NO_SAMPLES`` if bent CTs alone told the deviation.
        coverage_90: share of the voxels within 1.645 stated deviations of the mean; 0.9 is right.
        error_correlation: Spearman's, of the deviation with the error.
        factor: errors are so many times as wide as what bent CTs and samples tell, whatever factor was in use.
        films: what was seen of the patient.
    """

    case: str
    size: int
    steps: int
    coverage_90: float
    error_correlation: float
    factor: float
    films: FilmsSeen


def deviation_check(
    cascade: UnifiedHybridViTCascade, case: HeldOutCase, stage: int, samples: int = 1, steps: int = 4
) -> DeviationCheck:
    """Hold what is stated of one patient at a stage (from 1) against the error of the one-step mean.

    Raises:
        UsageFailure: if neither bent CTs nor two or more samples tell a deviation.
    """
    ct = cascade.generate(case.film, stage, samples=samples, steps=steps)
    if ct.std is None:
        raise UsageFailure("samples must be 2 or more where weights hold no CTs, got 1; or put CTs in with xct hold-cts")
    size, used = cascade.stages[stage - 1].field.shape[0], ct.record["deviation"]["factor"]
    truth = _array(case.truth_hu[size][0])
    body = chest_regions(truth, case.fields[size]).body_on(case.fields[size].shape)
    volumes = _array(ct.volume), _array(ct.std), truth
    ratio = used * width_ratio_90(*volumes, body)
    drawn = steps_drawn(samples, steps)
    told = coverage_90(*volumes, body), error_correlation(*volumes, body)
    return DeviationCheck(case.name, size, drawn, *told, ratio, case.film.seen)


def measured_factor(checks: Sequence[DeviationCheck]) -> MeasuredFactor:
    """The mean factor of all patients of one size, number of steps and kind of films."""
    return MeasuredFactor(checks[0].steps, float(np.mean([one.factor for one in checks])), len(checks), checks[0].films)


def keep_factor(weights: Path, new: MeasuredFactor) -> None:
    """Write a factor into the JSON beside a weights file, whole or not at all; what else it says stays.

    Args:
        weights: model.pt.
        new: replaces the factor of the same steps and films.

    Raises:
        WeightsFailure: if that JSON describes other weights, or is no JSON.
        CannotWrite: if the folder is not writable.
    """
    document, sha256 = _document(weights.with_suffix(".json")), file_sha256(weights)
    if document.get("sha256") not in (None, sha256):
        raise WeightsFailure(f"{weights} is not the file that {weights.stem}.json describes: copy both again")
    factors = DeviationFactors.from_json(document.get(STD_FACTORS, ())).with_factor(new)
    _write(weights, {"sha256": sha256, **document, STD_FACTORS: factors.to_json()})


def forget_factors(weights: Path) -> bool:
    """Take the factors out of the JSON beside a weights file: what they were measured with has changed.

    Args:
        weights: model.pt.

    Returns:
        Whether there were any.

    Raises:
        WeightsFailure: if that JSON is none.
        CannotWrite: if the folder is not writable.
    """
    document = _document(weights.with_suffix(".json"))
    if STD_FACTORS not in document:
        return False
    _write(weights, {name: value for name, value in document.items() if name != STD_FACTORS})
    return True


def _document(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise WeightsFailure(f"{path} cannot be read as JSON; copy it again, or remove it") from error
    if not isinstance(document, dict):
        raise WeightsFailure(f"{path} must hold one JSON object; copy it again, or remove it")
    return document


def _write(weights: Path, document: dict[str, Any]) -> None:
    with written_together(weights.with_suffix(".json")) as (draft,):
        draft.write_text(readable_json(document), encoding="utf-8")


def _array(volume: Tensor) -> np.ndarray:
    array: np.ndarray = volume[0].as_subclass(Tensor).float().numpy()
    return array

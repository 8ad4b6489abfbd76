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
from xct_components.failures import WeightsFailure
from xct_components.metrics.regions import chest_regions
from xct_components.metrics.uncertainty import coverage_90, error_correlation, width_ratio_90
from xct_components.networks.deviation_factors import DeviationFactors, MeasuredFactor


@dataclass(frozen=True)
class DeviationCheck:
    """One patient at one stage, inside the body.

    Args:
        case: the patient.
        size: voxels a side.
        coverage_90: share of the voxels within 1.645 stated deviations of the mean; 0.9 is right.
        error_correlation: Spearman's, of the deviation with the error.
        factor: errors are so many times as wide as the deviation *of the samples*, whatever factor was in use.
    """

    case: str
    size: int
    coverage_90: float
    error_correlation: float
    factor: float


def deviation_check(
    cascade: UnifiedHybridViTCascade, case: HeldOutCase, stage: int, samples: int, steps: int
) -> DeviationCheck:
    """Draw samples of one patient up to a stage (from 1), and hold their deviation against the error of the one-step mean."""
    ct = cascade.generate(case.film, stage, samples=samples, steps=steps)
    if ct.std is None:
        raise ValueError(f"samples must be 2 or more, got {samples}; one has no deviation")
    size = cascade.stages[stage - 1].field.shape[0]
    truth = _array(case.truth_hu[size][0])
    body = chest_regions(truth, case.fields[size]).body_on(case.fields[size].shape)
    volumes = _array(ct.volume), _array(ct.std), truth
    used = cascade.stages[stage - 1].deviation_factors.at(steps)
    ratio = used * width_ratio_90(*volumes, body)
    return DeviationCheck(case.name, size, coverage_90(*volumes, body), error_correlation(*volumes, body), ratio)


def measured_factor(checks: Sequence[DeviationCheck], steps: int) -> MeasuredFactor:
    """The mean factor of all patients of one size."""
    return MeasuredFactor(steps, float(np.mean([one.factor for one in checks])), len(checks))


def keep_factor(weights: Path, new: MeasuredFactor) -> None:
    """Write a factor into the JSON beside a weights file, whole or not at all; what else it says stays.

    Args:
        weights: model.pt.
        new: replaces the factor of the same steps.

    Raises:
        WeightsFailure: if that JSON describes other weights, or is no JSON.
        CannotWrite: if the folder is not writable.
    """
    document, sha256 = _document(weights.with_suffix(".json")), file_sha256(weights)
    if document.get("sha256") not in (None, sha256):
        raise WeightsFailure(f"{weights} is not the file that {weights.stem}.json describes: copy both again")
    factors = DeviationFactors.from_json(document.get("deviation_factors", ())).with_factor(new)
    document = {"sha256": sha256, **document, "deviation_factors": factors.to_json()}
    with written_together(weights.with_suffix(".json")) as (draft,):
        draft.write_text(readable_json(document), encoding="utf-8")


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


def _array(volume: Tensor) -> np.ndarray:
    array: np.ndarray = volume[0].as_subclass(Tensor).float().numpy()
    return array

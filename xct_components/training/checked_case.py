"""A held-out case through a stage: its figures, its depth distribution, its picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from xct_components.networks.cascade_stage import CascadeStage
from xct_components.training.case_picture import case_picture
from xct_components.training.depth_profile import depth_profiles
from xct_components.training.stage_checks import CheckedCase
from xct_components.training.validation import MeanOfBatch, PrepareValidation
from xct_components.training.validation_pictures import in_words


@torch.no_grad()
def checked_case(
    stage: CascadeStage, prepare: PrepareValidation, case: Mapping[str, Any], device: str | torch.device = "cpu"
) -> CheckedCase:
    """What ``stage_checks`` and the check sheet need of a case.

    Args:
        stage: with its weights.
        prepare: makes the batch, with the stages before.
        case: from ``TrainingCases`` without chance.
        device: of the stage.
    """
    batch, _ = prepare([case], device)
    validated = MeanOfBatch()(batch, stage)
    figures = {name: float(values[0]) for name, values in validated.figures.items()}
    depth: dict[str, list[float]] = {}
    profiles = depth_profiles(stage.atlas, stage.condition(batch.film, batch.fields, batch.beams, batch.prior_hu), batch)
    if profiles is not None:
        figures["atlas_depth_error_mm"] = float(profiles.atlas_error_mm[0])
        named = {"predicted": profiles.predicted, "atlas": profiles.atlas, "true": profiles.true}
        depth = {name: profile[0].tolist() for name, profile in named.items()}
    picture = case_picture(case["case"], batch, validated.volume_hu, 0, in_words(validated.figures, 0))
    return CheckedCase(case["case"], figures, depth, picture)

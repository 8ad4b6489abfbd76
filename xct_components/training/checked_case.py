"""A held-out case through a stage: its figures, its depth distribution, its picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from xct_components.networks.cascade_stage import CascadeStage
from xct_components.training.case_picture import case_picture
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
    profiles = validated.depths[0].profiles if validated.depths else {}
    depth_mm = validated.depths[0].depth_mm if validated.depths else 0.0
    picture = case_picture(case["case"], batch, validated.volume_hu, 0, in_words(validated.figures, 0))
    return CheckedCase(case["case"], figures, profiles, depth_mm, picture)

"""Patients whose own CTs the weights hold: they are no held-out patients, whatever side of a split they stand on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from xct_components.failures import RefusedInput
from xct_components.networks.cascade_stage import CascadeStage
from xct_components.networks.multi_atlas import NO_ONE, UNPACKED, MultiAtlas, as_held, key_of

#: Of the same CT, rounded again or clipped elsewhere, at most this share of the voxels differs by more than a step.
OTHER_VOXELS = 1e-3
#: What is said of such patients.
HELD_NOTE = (
    "held by the weights; his own CT was left out of those that his film bends, but the network may have been trained on him: "
    "such a case is not held out"
)


def held_cases(stages: Sequence[CascadeStage], cases: Iterable[str]) -> list[str]:
    """Those of the cases whose CT, or its detail, the stages hold; the weights know patients by the names of their cases."""
    held = [part.key for stage in stages for part in (stage.multi_atlas, stage.detail) if part is not None]
    keys = {key for part in held for key in part.tolist()}
    return [case for case in cases if key_of(case) in keys]


def require_no_other_name(stages: Sequence[CascadeStage], case: str, ct_hu: Tensor) -> None:
    """Refuse a patient whose CT the first stage holds under another name: it would be bent to its own film.

    Args:
        stages: those that will run.
        case: his name.
        ct_hu: (1, 1, D, H, W) of the first stage's size.

    Raises:
        RefusedInput: if it does.
    """
    held = stages[0].multi_atlas
    if held is not None and _holds(held, ct_hu, key_of(case)):
        raise RefusedInput(
            f"{case}: stage 1 holds this very CT under another name, so that it cannot be left out; give the case the name "
            "that it had when the weights were made, or judge other patients"
        )


def _holds(held: MultiAtlas, ct_hu: Tensor, own_key: int) -> bool:
    """Whether one of the CTs that are not known as his is his."""
    own = as_held(ct_hu.float(), held.ct.shape[1:])[0].to(held.ct.device)
    others = held.ct[(held.key != own_key) & (held.key != NO_ONE)]
    shares = [((some - own).abs() > 1.0).float().mean(dim=(1, 2, 3)) for some in others.split(UNPACKED)]
    return bool((torch.cat([torch.ones(1, device=own.device), *shares]) < OTHER_VOXELS).any())

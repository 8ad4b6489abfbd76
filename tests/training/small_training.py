"""Two phantoms of 16³ voxels, as training cases and as batches."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from monai.data import Dataset

from xct_components.data.cases.cases import TrainingCases, load_case, phantom_items


@functools.cache
def _loaded(count: int, first_seed: int) -> tuple[dict[str, Any], ...]:
    return tuple(load_case(item) for item in phantom_items(count, 16, first_seed))


def phantoms(count: int = 2, *, first_seed: int = 0, **chance: Any) -> TrainingCases:
    """Training cases over 320 mm; ``chance`` as ``TrainingCases`` takes it."""
    return TrainingCases(Dataset(list(_loaded(count, first_seed))), **chance)


def drawn(cases: TrainingCases, epoch: int = 0) -> Sequence[dict[str, Any]]:
    """All cases of an epoch."""
    cases.set_epoch(epoch)
    return [cases[i] for i in range(len(cases))]

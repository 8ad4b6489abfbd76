"""Regressions that have not seen the case they are asked about: what training starts its priors from.

A regression explains the patients it was measured on far better than others (165 instead of 255 HU with eight CTs). A network
that learned on such priors would take a new patient's for as good. So the cases are dealt into folds, and the prior of each is
made by a regression on the other folds (cross-fitting).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from xct_components.networks.atlas_regression import FilmToScores
from xct_components.training.regression_fit import film_to_scores


class CrossFit:
    """One map from films to scores for each fold of the cases.

    Args:
        folds: how many; a patient lies in one of them, however often it comes.
    """

    def __init__(self, folds: int = 4) -> None:
        if folds < 2:
            raise ValueError(f"folds must be at least 2, got {folds}: a case is judged by the cases of the other folds")
        self.folds = folds
        self.fold_of: dict[str, int] = {}
        self.maps: list[FilmToScores] = []

    @property
    def is_fitted(self) -> bool:
        """Whether there are maps."""
        return bool(self.maps)

    def fit(self, names: Sequence[str], features: Tensor, scores: Tensor) -> None:
        """Measure the maps; arguments as for ``film_to_scores``."""
        self.fold_of = {name: number % self.folds for number, name in enumerate(sorted(set(names)))}
        inside = [self.fold_of[name] for name in names]
        others = [[i for i, fold in enumerate(inside) if fold != left_out] for left_out in range(self.folds)]
        self.maps = [film_to_scores(features, scores, chosen) for chosen in others] if all(others) else []

    def without(self, case: str) -> FilmToScores | None:
        """The map measured without this case; None, for the stage's own, if that has not seen it either."""
        fold = self.fold_of.get(case)
        return None if fold is None or not self.maps else self.maps[fold]

    def state_dict(self) -> dict[str, Any]:
        """Names and tensors: a training that goes on does not measure again."""
        return {
            "fold_of": dict(self.fold_of),
            "coefficient": torch.stack([one.coefficient for one in self.maps]) if self.maps else torch.zeros(0),
            "bias": torch.stack([one.bias for one in self.maps]) if self.maps else torch.zeros(0),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """What ``state_dict`` gave."""
        self.fold_of = dict(state["fold_of"])
        self.maps = [FilmToScores(*pair) for pair in zip(state["coefficient"], state["bias"], strict=True)]

"""Measuring an atlas regression: principal components of the chests, and ridge regression of their scores on the films."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from xct_components.data.cases.cases import TrainingBatch
from xct_components.networks.atlas import Atlas
from xct_components.networks.atlas_regression import KINDS, AtlasRegression, FilmToScores, film_features
from xct_components.physics.attenuation import FILM_ENERGY_KEV, hu_to_mu_per_mm, water_mu_per_mm
from xct_components.physics.consistency import Consistency, HardConsistency, SoftConsistency

#: Ridge per case, in units of the features' variance. On the two held-out CTs and 700 training cases RMSE with one film falls
#: from 296 HU at a tenth of this to 286 HU, and with two films has its least here (233 HU).
RIDGE = 1.5
#: Keeps what has no variance at all from dividing by zero.
TINY = 1e-12
#: How the films of each of ``KINDS`` are believed, and how many they are.
READINGS: tuple[tuple[Consistency, int], ...] = (
    (HardConsistency(), 1),
    (HardConsistency(), 2),
    (SoftConsistency(), 1),
    (SoftConsistency(), 2),
)


@dataclass
class RegressionCases:
    """What the regression is measured on, case by case.

    Args:
        names: of the cases; a patient who comes again, differently augmented, has one name.
        changes: chests less the atlas, each (voxels,) float16 in units of water's attenuation.
        features: each (kinds, features).
    """

    names: list[str] = field(default_factory=list)
    changes: list[Tensor] = field(default_factory=list)
    features: list[Tensor] = field(default_factory=list)

    def add(self, names: Sequence[str], rendered: TrainingBatch, atlas: Atlas, size: Sequence[int]) -> None:
        """A batch whose films are a frontal and a lateral one."""
        whole = atlas.mu_per_mm(rendered.grids[0].shape)
        change = (hu_to_mu_per_mm(rendered.ct_hu) - whole) / water_mu_per_mm(FILM_ENERGY_KEV)
        self.names += names
        self.changes += list(F.interpolate(change, size=list(size), mode="area").flatten(1).half().cpu())
        for i in range(len(rendered.grids)):
            self.features.append(torch.stack([_read(rendered, i, whole, size, *reading) for reading in READINGS]).cpu())


def _read(rendered: TrainingBatch, i: int, atlas: Tensor, size: Sequence[int], how: Consistency, views: int) -> Tensor:
    """The films of one case as one of ``KINDS`` has them: (features,)."""
    films = rendered.line_integrals if how.film_scale == "exact" else rendered.film
    return film_features(atlas, films[i, :views], rendered.grids[i], rendered.beams[i][:views], how, size)


def fit_regression(regression: AtlasRegression, cases: RegressionCases) -> None:
    """Put components and map of all cases into ``regression``.

    Of fewer than twice as many cases as components half as many components are taken as there are cases; the others stay zero.
    """
    rank = min(len(regression.component), len(cases.names) // 2)
    changes = torch.stack(cases.changes).float()
    variances, directions = torch.linalg.eigh(changes.double() @ changes.double().T)  # fewer cases than voxels
    order = variances.argsort(descending=True)[:rank]
    weights = directions[:, order] / variances[order].clamp_min(TINY).sqrt()
    component = weights.T.float() @ changes * changes.shape[1] ** 0.5  # each of mean square 1
    regression.component.zero_()
    regression.component[:rank] = component.view(rank, *regression.size).to(regression.component)
    fitted = film_to_scores(torch.stack(cases.features), scores_of(regression, cases), list(range(len(cases.names))))
    regression.coefficient.copy_(fitted.coefficient)
    regression.bias.copy_(fitted.bias)


def scores_of(regression: AtlasRegression, cases: RegressionCases) -> Tensor:
    """(cases, rank) how far each chest lies along each component."""
    component = regression.component.flatten(1).float().cpu()
    return (torch.stack(cases.changes).float() @ component.T / component.shape[1]).double()


def film_to_scores(features: Tensor, scores: Tensor, chosen: Sequence[int]) -> FilmToScores:
    """Ridge regression on the chosen cases, kind by kind.

    Args:
        features: (cases, kinds, features).
        scores: (cases, rank).
        chosen: indices of the cases.
    """
    mean = scores[chosen].mean(0)
    coefficients, biases = [], []
    for kind in range(len(KINDS)):
        seen = features[chosen, kind].double()
        middle = seen.mean(0)
        centred = seen - middle
        ridge = RIDGE * len(chosen) * centred.square().mean()
        gram = centred @ centred.T  # fewer cases than features: the dual form
        gram.diagonal().add_(ridge.clamp_min(TINY))
        coefficient = (centred.T @ torch.linalg.solve(gram, scores[chosen] - mean)).T
        coefficients.append(coefficient)
        biases.append(mean - coefficient @ middle)
    return FilmToScores(torch.stack(coefficients).float(), torch.stack(biases).float())

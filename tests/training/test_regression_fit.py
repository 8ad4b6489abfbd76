"""Measuring the regression: components beside an SVD, the map beside least squares in primal form, folds beside refits."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.networks.small_stages import small_stage
from tests.training.small_training import drawn, phantoms
from xct_components.networks.atlas_regression import KINDS, AtlasRegression, feature_count
from xct_components.training.cross_fit import CrossFit
from xct_components.training.prepare_batch import PrepareStageBatch
from xct_components.training.regression_fit import (
    RIDGE,
    RegressionCases,
    film_to_scores,
    fit_regression,
    scores_of,
)
from xct_components.training.statistics import measure_statistics

SIZE, CASES, RANK = (4, 3, 5), 24, 3
#: Changes are kept in half precision.
HALF = 2e-3


def made_cases(count: int = CASES, seed: int = 0) -> RegressionCases:
    """Chests that vary along three directions, which the films show with some noise."""
    generator = torch.Generator().manual_seed(seed)
    directions = torch.randn((RANK, SIZE[0] * SIZE[1] * SIZE[2]), generator=generator)
    shown = torch.randn((RANK, len(KINDS), feature_count(SIZE)), generator=generator)
    scores = torch.randn((count, RANK), generator=generator) * torch.tensor([3.0, 2.0, 1.0])
    noise = 0.1 * torch.randn((count, len(KINDS), feature_count(SIZE)), generator=generator)
    features = torch.einsum("nk,kqf->nqf", scores, shown) + noise
    names = [f"patient-{number % 8}" for number in range(count)]
    return RegressionCases(names, list((0.1 * scores @ directions).half()), list(features))


def test_components_span_what_the_largest_singular_vectors_span() -> None:
    cases, regression = made_cases(), AtlasRegression(RANK, SIZE)
    fit_regression(regression, cases)
    component = regression.component.flatten(1)
    torch.testing.assert_close(component @ component.T / component.shape[1], torch.eye(RANK), rtol=0, atol=HALF)
    vectors = torch.linalg.svd(torch.stack(cases.changes).float(), full_matrices=False).Vh[:RANK]
    unit = component / component.norm(dim=1, keepdim=True)
    assert float(torch.linalg.svdvals(unit @ vectors.T).amin()) > 1.0 - HALF


def test_the_map_is_the_least_squares_solution_of_the_primal_form() -> None:
    cases = made_cases()
    regression = AtlasRegression(RANK, SIZE)
    fit_regression(regression, cases)
    scores, features = scores_of(regression, cases), torch.stack(cases.features).double()
    for kind in range(len(KINDS)):
        centred = features[:, kind] - features[:, kind].mean(0)
        ridge = (RIDGE * CASES * centred.square().mean()).sqrt() * torch.eye(centred.shape[1], dtype=torch.float64)
        tall = torch.cat([centred, ridge])
        wanted = torch.cat([scores - scores.mean(0), torch.zeros(len(ridge), RANK, dtype=torch.float64)])
        primal = torch.linalg.lstsq(tall, wanted).solution.T
        torch.testing.assert_close(regression.coefficient[kind].double(), primal, rtol=1e-4, atol=1e-7)
        told = regression.film_to_scores.scores(features[:, kind].mean(0).float(), kind)
        torch.testing.assert_close(told.double(), scores.mean(0), rtol=1e-3, atol=1e-4)


def test_a_new_chest_of_the_same_kind_is_told_from_its_film() -> None:
    regression = AtlasRegression(RANK, SIZE)
    fit_regression(regression, made_cases(200))
    new = made_cases(40)  # the same directions and films, as the seed is the same; the chests are among the first
    truth, features = scores_of(regression, new), torch.stack(new.features)
    told = torch.stack([regression.film_to_scores.scores(one[0], 0) for one in features])
    assert float((told - truth).norm() / truth.norm()) < 0.15  # the ridge shrinks, the films are noisy


def test_fewer_cases_than_components_leave_the_others_zero() -> None:
    regression = AtlasRegression(10, SIZE)
    fit_regression(regression, made_cases(6))
    assert [bool(one.any()) for one in regression.component] == [True] * 3 + [False] * 7
    assert bool(torch.isfinite(regression.coefficient).all())


def test_each_fold_is_the_fit_without_its_patients() -> None:
    cases, regression = made_cases(), AtlasRegression(RANK, SIZE)
    fit_regression(regression, cases)
    scores, features = scores_of(regression, cases), torch.stack(cases.features)
    folds = CrossFit(folds=4)
    folds.fit(cases.names, features, scores)
    inside = {
        name: {i for i, one in enumerate(cases.names) if folds.fold_of[one] == folds.fold_of[name]} for name in cases.names
    }
    for name in set(cases.names):
        others = [i for i in range(CASES) if i not in inside[name]]
        assert not {cases.names[i] for i in others} & {name}
        expected = film_to_scores(features, scores, others)
        unseen = folds.without(name)
        assert unseen is not None
        assert torch.equal(unseen.coefficient, expected.coefficient)
    assert folds.without("somebody else") is None


def test_folds_survive_a_checkpoint() -> None:
    folds, cases = CrossFit(), made_cases()
    assert not folds.is_fitted
    folds.fit(cases.names, torch.stack(cases.features), torch.randn(CASES, RANK, dtype=torch.float64))
    again = CrossFit()
    again.load_state_dict(folds.state_dict())
    for name in set(cases.names):
        one, other = folds.without(name), again.without(name)
        assert one is not None
        assert other is not None
        assert torch.equal(one.coefficient, other.coefficient)
        assert torch.equal(one.bias, other.bias)
    empty = CrossFit()
    empty.load_state_dict(CrossFit().state_dict())
    assert not empty.is_fitted


def test_one_fold_is_refused() -> None:
    with pytest.raises(ValueError, match="folds must be at least 2, got 1"):
        CrossFit(folds=1)


def test_training_priors_come_from_regressions_that_have_not_seen_the_case() -> None:
    stage, folds = small_stage(regression_rank=2), CrossFit(folds=2)
    stage.atlas.tissue.zero_()
    prepare, cases = PrepareStageBatch(stage, cross_fit=folds), drawn(phantoms(4, seed=1))
    measure_statistics(prepare, [cases[:2], cases[2:]])
    assert folds.is_fitted
    assert stage.regression is not None
    assert bool(stage.regression.component.any())
    unseen = prepare.batch(cases).prior_hu
    own = PrepareStageBatch(stage).batch(cases).prior_hu
    assert float((unseen - own).abs().amax()) > 10.0
    assert _rmse(own, prepare.batch(cases).truth_hu) < _rmse(unseen, prepare.batch(cases).truth_hu)


def _rmse(a: Tensor, b: Tensor) -> float:
    return float((a - b).square().mean().sqrt())

"""Weights by place: beside the normal equations one by one, and where each of two patients is right in one place."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from xct_components.networks.film_fusion import LEAST_VARIANCE, RIDGE, SURROUNDINGS_MM, film_weights

ROWS, COLS = 12, 10
PIXEL_MM = (20.0, 30.0)


def films(count: int, seed: int = 0) -> Tensor:
    return 5.0 * torch.rand(count, ROWS, COLS, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def surroundings(row: int, col: int) -> Tensor:
    """(ROWS, COLS) of a Gaussian around a pixel; a film that goes on beyond its edges as it is there."""
    far, found = 60, torch.zeros(ROWS, COLS, dtype=torch.float64)
    for i in range(-far, ROWS + far):
        for j in range(-far, COLS + far):
            squared = ((i - row) * PIXEL_MM[0]) ** 2 + ((j - col) * PIXEL_MM[1]) ** 2
            found[min(max(i, 0), ROWS - 1), min(max(j, 0), COLS - 1)] += torch.tensor(-0.5 * squared / SURROUNDINGS_MM**2).exp()
    return found / found.sum()


def test_weights_solve_the_normal_equations_of_their_place() -> None:
    shown, missing = films(3), films(2, seed=1) - 2.5
    found = film_weights(shown, missing, PIXEL_MM)
    assert found.shape == (2, 3, ROWS, COLS)
    apart = shown - shown.mean(0)
    alike = {}
    for row in range(ROWS):
        for col in range(COLS):
            alike[row, col] = torch.einsum("kij,lij,ij->kl", apart, apart, surroundings(row, col))
    ridge = RIDGE * sum(float(one.diagonal().mean()) for one in alike.values()) / len(alike) + LEAST_VARIANCE
    for place in ((0, 0), (5, 4), (11, 9)):
        for moved in range(2):
            wanted = torch.einsum("kij,ij,ij->k", apart, missing[moved], surroundings(*place))
            expected = torch.linalg.solve(alike[place] + ridge * torch.eye(3, dtype=torch.float64), wanted)
            # the weights of the surroundings are computed in float32
            torch.testing.assert_close(found[moved, :, place[0], place[1]], expected, rtol=1e-4, atol=1e-7)


def test_weights_sum_to_nothing() -> None:
    (found,) = film_weights(films(4), films(1, seed=1) - 2.5, PIXEL_MM)
    torch.testing.assert_close(found.sum(0), torch.zeros(ROWS, COLS, dtype=torch.float64), rtol=0.0, atol=1e-9)
    assert float(found.abs().max()) > 0.01


def test_each_of_two_patients_counts_more_where_the_film_is_like_his() -> None:
    one, other = torch.full((32, 32), 2.0), torch.full((32, 32), 4.0)
    given = torch.where(torch.arange(32) < 16, one, other)
    ((mine, his),) = film_weights(torch.stack([one, other]), (given - 3.0)[None], (10.0, 10.0))
    assert float(mine[:, :8].min()) > 0.05
    assert float(his[:, -8:].min()) > 0.05
    torch.testing.assert_close(mine, mine.flip(1).neg(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("count", [1, 3])
def test_patients_who_look_alike_count_alike(count: int) -> None:
    found = film_weights(films(1).float().expand(count, -1, -1), films(1, seed=1).float(), PIXEL_MM)
    # three equal films differ from their mean by its rounding, 1e-7 of 5, which counts beside the least variance
    assert float(found.abs().max()) < 0.01


def test_where_nothing_is_missing_nothing_is_moved() -> None:
    assert not film_weights(films(3), torch.zeros(1, ROWS, COLS, dtype=torch.float64), PIXEL_MM).any()

from __future__ import annotations

import pytest
import torch

from xct_components.data.film.side_by_side import one_thread_each


@pytest.fixture(params=[1, 2])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_results_come_in_the_order_of_the_items(threads):
    with one_thread_each() as spread:
        squares = list(spread(lambda n: float(torch.full((n, n), float(n)).mean()) ** 2, range(1, 30)))
    assert squares == [float(n * n) for n in range(1, 30)]


def test_torch_takes_one_thread_for_each_item_and_its_own_number_afterwards(threads):
    with one_thread_each() as spread:
        inside = list(spread(lambda _: torch.get_num_threads(), range(4)))
    assert inside == [1, 1, 1, 1]
    assert torch.get_num_threads() == threads


def test_a_failure_reaches_the_caller_and_leaves_the_threads_as_they_were(threads):
    def fail(item):
        raise ValueError(f"item {item}")

    with pytest.raises(ValueError, match="item 7"), one_thread_each() as spread:
        list(spread(fail, [7]))
    assert torch.get_num_threads() == threads

"""The order of the cases: shuffled, shared out, and taken up anywhere."""

from __future__ import annotations

import pytest
import torch

from xct_components.training.case_order import CaseOrder, CaseShare

CASES = range(13)


def test_every_epoch_meets_every_case_once_in_another_order() -> None:
    order = CaseOrder(CASES, seed=1)
    passes = []
    for epoch in range(3):
        order.set_epoch(epoch)
        passes.append(list(order))
        assert sorted(passes[-1]) == list(CASES)
    assert passes[0] != passes[1] != passes[2]


def test_the_order_is_known_from_seed_and_epoch_alone() -> None:
    first, second, other = CaseOrder(CASES, seed=1), CaseOrder(CASES, seed=1), CaseOrder(CASES, seed=2)
    list(first)  # a pass before changes nothing
    torch.manual_seed(99)
    for order in (first, second, other):
        order.set_epoch(5)
    assert list(first) == list(second) != list(other)


@pytest.mark.parametrize(("processes", "batch"), [(2, 3), (3, 2), (4, 1)])
def test_several_processes_meet_step_by_step_what_one_meets_in_larger_batches(processes: int, batch: int) -> None:
    alone = list(CaseOrder(CASES, seed=3, rank=0, processes=1))
    shares = [list(CaseOrder(CASES, seed=3, rank=rank, processes=processes)) for rank in range(processes)]
    assert {len(share) for share in shares} == {len(CASES) // processes}
    for step in range(len(shares[0]) // batch):
        together = {case for share in shares for case in share[step * batch : (step + 1) * batch]}
        assert together == set(alone[step * batch * processes : (step + 1) * batch * processes])


def test_one_pass_can_begin_in_the_middle_and_the_next_is_whole() -> None:
    order, whole = CaseOrder(CASES, seed=4), list(CaseOrder(CASES, seed=4))
    order.begin_at(5)
    assert list(order) == whole[5:]
    assert list(order) == whole
    assert len(order) == len(CASES)


@pytest.mark.parametrize(("rank", "processes"), [(2, 2), (-1, 2), (0, 14)])
def test_a_process_that_cannot_be_is_refused(rank: int, processes: int) -> None:
    with pytest.raises(ValueError, match="rank must lie between 0 and processes - 1, and there must be a case for each"):
        CaseOrder(CASES, rank=rank, processes=processes)


@pytest.mark.parametrize("processes", [1, 2, 5, 13])
def test_processes_share_what_is_validated_and_nobody_is_idle(processes: int) -> None:
    shares = [CaseShare(CASES, rank=rank, processes=processes) for rank in range(processes)]
    assert sorted(case for share in shares for case in share) == list(CASES)
    assert all(len(share) == len(list(share)) >= 1 for share in shares)


def test_of_fewer_cases_than_processes_every_process_validates_all() -> None:
    """A process without a case could not validate."""
    assert [list(CaseShare(range(2), rank=rank, processes=3)) for rank in range(3)] == [[0, 1]] * 3

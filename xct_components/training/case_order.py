"""The order in which a training meets its cases: known from seed, epoch and place alone, so it can be taken up anywhere."""

from __future__ import annotations

from collections.abc import Iterator, Sized

import torch
from torch.utils.data import Sampler

from xct_components.data.cases.random_draws import case_generator
from xct_components.training.processes import place_among_processes

#: Keeps the order's chance apart from that of the cases, which are drawn from (seed, epoch, index).
ORDER_STREAM = 0x5EED


class CaseOrder(Sampler[int]):
    """All cases of an epoch, shuffled by (seed, epoch); each of several processes gets every so manyeth.

    N processes with batches of B meet, step by step, the cases that one process meets with batches of N * B.

    Args:
        cases: what is ordered.
        seed: of the training.
        rank: number of this process; None asks torch.distributed, 0 where it is not in use.
        processes: how many there are; None asks likewise.

    Raises:
        ValueError: if there are fewer cases than processes, or no such process.
    """

    def __init__(self, cases: Sized, seed: int = 0, *, rank: int | None = None, processes: int | None = None) -> None:
        own_rank, together = place_among_processes()
        self.rank, self.processes = own_rank if rank is None else rank, together if processes is None else processes
        if not 0 <= self.rank < self.processes <= len(cases):
            raise ValueError(
                f"rank must lie between 0 and processes - 1, and there must be a case for each process, got rank {self.rank}, "
                f"{self.processes} processes and {len(cases)} cases"
            )
        self.cases, self.seed, self.epoch, self.begin = cases, seed, 0, 0

    def __len__(self) -> int:
        """Cases of this process in a whole epoch."""
        return len(self.cases) // self.processes

    def __iter__(self) -> Iterator[int]:
        """The indices of this process; after ``begin_at`` the first pass leaves out those before."""
        order = torch.randperm(len(self.cases), generator=case_generator(self.seed, self.epoch, ORDER_STREAM)).tolist()
        own = order[self.rank : len(self) * self.processes : self.processes][self.begin :]
        self.begin = 0
        return iter(own)

    def set_epoch(self, epoch: int) -> None:
        """Shuffle anew for another epoch."""
        self.epoch = epoch

    def begin_at(self, case: int) -> None:
        """Leave out the first ``case`` cases of this process in the next pass, and in that one alone."""
        self.begin = case


class CaseShare(Sampler[int]):
    """What one of several processes validates: every so manyeth case, in order; all, where there are fewer than processes.

    Ignite's metrics are those of all processes together.

    Args:
        cases: what is shared out.
        rank: number of this process; None asks torch.distributed, 0 where it is not in use.
        processes: how many there are; None asks likewise.
    """

    def __init__(self, cases: Sized, *, rank: int | None = None, processes: int | None = None) -> None:
        own_rank, together = place_among_processes()
        rank, processes = own_rank if rank is None else rank, together if processes is None else processes
        self._own = range(rank, len(cases), processes) if processes <= len(cases) else range(len(cases))

    def __len__(self) -> int:
        """Cases of this process."""
        return len(self._own)

    def __iter__(self) -> Iterator[int]:
        """Their indices."""
        return iter(self._own)

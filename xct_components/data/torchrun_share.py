"""Which share of the studies is this process's, where ``torchrun`` or a job scheduler has started several."""

from __future__ import annotations

import os

from xct_components.failures import UsageFailure


def place_in_job() -> tuple[int, int]:
    """(rank of this process, how many there are) as RANK and WORLD_SIZE say; (0, 1) where they are not set.

    Study i belongs to the process of rank i modulo their number.

    Raises:
        UsageFailure: if they are no whole numbers, or there is no such rank.
    """
    texts = os.environ.get("RANK", "0"), os.environ.get("WORLD_SIZE", "1")
    try:
        rank, processes = int(texts[0]), int(texts[1])
    except ValueError as error:
        raise UsageFailure(f"RANK and WORLD_SIZE must be whole numbers, as torchrun sets them: {error}") from error
    if not 0 <= rank < processes:
        raise UsageFailure(f"RANK must lie from 0 to WORLD_SIZE - 1, got {rank} of {processes}; torchrun sets both")
    return rank, processes

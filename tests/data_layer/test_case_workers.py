"""A worker that dies costs its job and nothing else."""

from __future__ import annotations

import pytest

from tests.data_layer.odd_jobs import do
from xct_components.data.prepare.case_workers import WorkerDied, run_in_workers


def test_jobs_of_dead_workers_fail_alone_and_the_others_are_done():
    jobs = [("squares", 2), ("killed", 0), ("squares", 3), ("exits", 0), ("hangs", 0), ("squares", 4)]
    results = dict(run_in_workers(do, jobs, 2, timeout_s=8.0))
    assert {i: results[i] for i in (0, 2, 5)} == {0: 4, 2: 9, 5: 16}
    assert results[1] == WorkerDied("its process was killed, as the system does when memory is short")
    assert results[3] == WorkerDied("its process ended with code 7")
    assert results[4] == WorkerDied("stopped: it took too long")


def test_no_job_needs_no_worker():
    assert list(run_in_workers(do, [], 4)) == []


def test_less_than_one_worker_is_refused():
    with pytest.raises(ValueError, match="workers must be at least 1"):
        list(run_in_workers(do, [("squares", 1)], 0))

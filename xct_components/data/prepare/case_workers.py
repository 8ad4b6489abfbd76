"""Jobs in processes of their own: one that crashes, hangs or runs out of memory costs its job, not the batch."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import connection
from typing import Any, cast

#: Each worker computes with one thread; more workers are faster than more threads.
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")


#: Workers are looked at this often for jobs over their time; idle ones get this long to end.
POLL_S, GOODBYE_S = 0.5, 5.0


@dataclass(frozen=True)
class WorkerDied:
    """What became of a job whose process ended before it had a result.

    Args:
        reason: in words.
    """

    reason: str


@dataclass(eq=False)
class _Worker:
    process: Any
    pipe: connection.Connection
    job: int | None = None
    until: float = field(default=float("inf"))


def run_in_workers(
    function: Callable[[Any], Any], jobs: Sequence[Any], workers: int, *, timeout_s: float = 1800.0
) -> Iterator[tuple[int, Any]]:
    """(index of the job, result of ``function(job)`` or ``WorkerDied``), in the order in which they end.

    Args:
        function: importable by name; what it raises ends its worker, so it should return failures as values.
        jobs: picklable arguments.
        workers: processes; each takes the next job when it is done.
        timeout_s: longest time for a job; a worker that needs longer is killed.

    Raises:
        ValueError: for less than one worker.
    """
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}; give the number of processor cores")
    waiting = deque(range(len(jobs)))
    team = [_hired(function) for _ in range(min(workers, len(jobs)))]
    try:
        while waiting or any(worker.job is not None for worker in team):
            for worker in team:
                if worker.job is None and waiting:
                    _assign(worker, waiting.popleft(), jobs, timeout_s)
            for worker in _ended(team):
                job, result = cast(int, worker.job), _result(worker)
                worker.job = None
                if isinstance(result, WorkerDied):
                    worker.process.kill()
                    _dismiss(worker)
                    team[team.index(worker)] = _hired(function)
                yield job, result
    finally:
        for worker in team:
            _dismiss(worker)


def _hired(function: Callable[[Any], Any]) -> _Worker:
    context = multiprocessing.get_context("spawn")  # a fork would copy locks of torch's threads
    ours, theirs = context.Pipe()
    with _single_threaded():
        process = context.Process(target=_serve, args=(theirs, function), daemon=True)
        process.start()
    theirs.close()
    return _Worker(process, ours)


def _assign(worker: _Worker, job: int, jobs: Sequence[Any], timeout_s: float) -> None:
    worker.job, worker.until = job, time.monotonic() + timeout_s
    try:
        worker.pipe.send(jobs[job])
    except (BrokenPipeError, ConnectionError):  # it died while idle: found when its result is read
        return


def _ended(team: Sequence[_Worker]) -> list[_Worker]:
    """Wait until any busy worker has something to say, has died or is over its time; the ones that do."""
    busy = [worker for worker in team if worker.job is not None]
    ready = connection.wait([*(w.pipe for w in busy), *(w.process.sentinel for w in busy)], timeout=POLL_S)
    now = time.monotonic()
    return [w for w in busy if w.pipe in ready or w.process.sentinel in ready or now > w.until]


def _result(worker: _Worker) -> Any:
    try:
        if worker.pipe.poll():
            return worker.pipe.recv()
    except (EOFError, OSError):  # its end of the pipe is closed: it has ended, or is about to
        worker.process.join(GOODBYE_S)
    if time.monotonic() > worker.until:
        return WorkerDied("stopped: it took too long")
    worker.process.join(GOODBYE_S)
    code = worker.process.exitcode
    if code == -signal.SIGKILL:
        return WorkerDied("its process was killed, as the system does when memory is short")
    return WorkerDied(f"its process ended by signal {-code}" if code and code < 0 else f"its process ended with code {code}")


def _dismiss(worker: _Worker) -> None:
    """Let an idle worker end by itself, so that it clears up after itself; kill a busy one."""
    worker.pipe.close()
    if worker.job is None:
        worker.process.join(GOODBYE_S)
    worker.process.kill()
    worker.process.join()


def _serve(pipe: connection.Connection, function: Callable[[Any], Any]) -> None:
    """Do jobs until the pipe closes; end with the parent, also when that is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    while True:
        try:
            job = pipe.recv()
        except EOFError:
            return
        pipe.send(function(job))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextmanager
def _single_threaded() -> Iterator[None]:
    """Settings that a child process reads when it loads its libraries."""
    kept = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, "1"))
    try:
        yield
    finally:
        for name, value in kept.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value

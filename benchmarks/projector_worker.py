"""One method at one size, in a process of its own: `python -m benchmarks.projector_worker JOB` prints one JSON object a line.

Each line holds the figures known so far, so that a parent which ends this process after a time limit keeps what was measured.
"""

from __future__ import annotations

import json
import resource
import sys
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks.measure import MIB, Cost, cost_of, meter_of
from benchmarks.projection_problem import GaussianBlob, ProjectionProblem, problem_of_size
from benchmarks.projector_accuracy import accuracy_of, relative_l2, true_film
from benchmarks.projector_peers import METHODS, Method, import_method

#: Code is loaded and threads are started on a problem of this size before the memory baseline is taken.
WARM_UP_SIZE = "32"


@dataclass(frozen=True)
class Job:
    """What a worker is asked for.

    Args:
        kind: "speed" or "accuracy".
        method: a name in ``METHODS``.
        size: as in ``problem_of_size``.
        device: "cpu" or "cuda".
        threads: CPU threads of torch.
        repeats: least number of calls per figure.
        memory_limit_mib: private memory this process may take before an allocation fails; 0 for no limit.
    """

    kind: str
    method: str
    size: str
    device: str
    threads: int
    repeats: int
    memory_limit_mib: int


def figures_of_cost(prefix: str, cost: Cost) -> dict[str, Any]:
    """A cost as flat table columns: fwd_wall_s, fwd_cpu_s, fwd_peak_mib, fwd_calls."""
    return {f"{prefix}_{name}": value for name, value in asdict(cost).items()}


def measure_speed(method: Method, problem: ProjectionProblem, job: Job) -> None:
    """Print the error on the blob and the cost of the forward call, then that of forward and backward."""
    volume = GaussianBlob().volume(problem.grid).to(job.device)
    _warm_up(method, job.device)
    meter = meter_of(job.device)
    films: list[Tensor] = []

    def forward() -> None:
        with torch.no_grad():
            films[:] = [render()]

    def forward_and_backward() -> None:
        film = differentiable()
        torch.autograd.grad(film, volume, torch.ones_like(film))

    render = method.bind(problem, volume)
    cost = cost_of(forward, meter, job.repeats)
    error = relative_l2(films.pop(), true_film(GaussianBlob(), method, problem))
    _print_figures({"blob_l2": error, **figures_of_cost("fwd", cost)})
    if method.differentiable:
        differentiable = method.bind(problem, volume.requires_grad_())
        cost = cost_of(forward_and_backward, meter, job.repeats)
        _print_figures({**figures_of_cost("fb", cost), "gradient_mib": volume.numel() * volume.element_size() / MIB})


def main(arguments: list[str]) -> None:
    """Run the job described by one JSON argument."""
    job = Job(**json.loads(arguments[0]))
    if job.memory_limit_mib:
        resource.setrlimit(resource.RLIMIT_DATA, (job.memory_limit_mib * MIB, job.memory_limit_mib * MIB))
    torch.set_num_threads(job.threads)
    method, problem = METHODS[job.method], problem_of_size(job.size)
    try:
        import_method(method)
    except ImportError as missing:
        _print_figures({"note": str(missing), "absent": True})
        return
    try:
        if job.kind == "accuracy":
            _print_figures(accuracy_of(method, problem, job.device))
        else:
            measure_speed(method, problem, job)
    except (RuntimeError, MemoryError) as failure:
        _print_figures({"note": _words_for(failure, job)})


def _words_for(failure: Exception, job: Job) -> str:
    """One line; torch and itk report a refused allocation as RuntimeError."""
    text = str(failure).strip()
    if isinstance(failure, MemoryError) or "allocate" in text or "out of memory" in text:
        return f"out of memory (limit {job.memory_limit_mib} MiB)" if job.memory_limit_mib else "out of memory"
    return text.splitlines()[0][:120] if text else type(failure).__name__


def _warm_up(method: Method, device: str) -> None:
    problem = problem_of_size(WARM_UP_SIZE)
    volume = GaussianBlob().volume(problem.grid).to(device).requires_grad_(method.differentiable)
    film = method.bind(problem, volume)()
    if method.differentiable:
        torch.autograd.grad(film, volume, torch.ones_like(film))


def _print_figures(figures: dict[str, Any]) -> None:
    print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])

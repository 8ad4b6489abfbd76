"""Training one model in several processes, as ``torchrun`` starts them: one per GPU, or on CPUs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed
import torch.distributed.nn.functional  # imported later, its default arguments would keep the group of the processes for ever
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from xct_components.data.torchrun_share import place_in_job
from xct_components.failures import UsageFailure

#: The overlay that makes processes share each step.
OVERLAY = "multi_gpu_train.json"


def begin_processes(device: torch.device) -> int:
    """Let the processes find each other, by NCCL on GPUs and by gloo on CPUs.

    Returns:
        The rank of this process, 0 to number - 1.

    Raises:
        UsageFailure: outside ``torchrun``, which tells every process its place.
    """
    if not torch.distributed.is_torchelastic_launched():
        raise UsageFailure(f"{OVERLAY} must be run by torchrun, got a single process; leave it out, or use torchrun")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return torch.distributed.get_rank()


def across_processes(module: nn.Module, device: torch.device) -> DistributedDataParallel:
    """The module with gradients that are the mean over all processes; every parameter must take part in every step."""
    return DistributedDataParallel(module, device_ids=[device] if device.type == "cuda" else None)


def require_shared_steps(network: nn.Module) -> None:
    """Refuse processes that would each train by themselves, and overwrite each other's weights.

    Args:
        network: what the trainer calls.

    Raises:
        UsageFailure: if there are several processes, and the network is not from ``across_processes``.
    """
    processes = max(place_in_job()[1], place_among_processes()[1])
    if processes > 1 and not isinstance(network, DistributedDataParallel):
        raise UsageFailure(
            f"{processes} processes would each train by themselves; add {OVERLAY}, which lies beside train.json, to the list "
            "of --config_file, or start one process"
        )


def place_among_processes() -> tuple[int, int]:
    """(rank of this process, how many there are); (0, 1) for a process by itself. The first one writes the files."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return 0, 1
    return torch.distributed.get_rank(), torch.distributed.get_world_size()


def summed_over_processes(values: Sequence[float]) -> list[float]:
    """The sums of the values of all processes, in every process; the values themselves where there is only one."""
    if place_among_processes()[1] == 1:
        return list(values)
    device = "cuda" if torch.distributed.get_backend() == "nccl" else "cpu"
    sums = torch.tensor(values, dtype=torch.float64, device=device)
    torch.distributed.all_reduce(sums)
    return sums.tolist()


def end_processes(step: DistributedDataParallel) -> None:
    """Let the processes go their ways.

    The group lives, and so do its threads, as long as the step knows it. A thread of gloo that is late, on a busy machine, in
    letting a tensor go would do so while Python ends, and abort a process whose training went well (PyTorch's issue 190489).

    Args:
        step: what ``across_processes`` gave; its gradients are its own from now on.
    """
    torch.distributed.destroy_process_group()
    for name in ("logger", "reducer", "process_group"):
        step.__dict__.pop(name, None)

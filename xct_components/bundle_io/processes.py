"""Training one model in several processes, as ``torchrun`` starts them: one per GPU, or on CPUs."""

from __future__ import annotations

from collections.abc import Sized

import torch
import torch.distributed
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import Dataset, DistributedSampler


def begin_processes(device: torch.device) -> int:
    """Let the processes find each other, by NCCL on GPUs and by gloo on CPUs.

    Returns:
        The rank of this process, 0 to number - 1.

    Raises:
        ValueError: outside ``torchrun``, which tells every process its place.
    """
    if not torch.distributed.is_torchelastic_launched():
        raise ValueError("multi_gpu_train.json must be run by torchrun, got a single process; leave it out, or use torchrun")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return torch.distributed.get_rank()


def across_processes(module: nn.Module, device: torch.device) -> DistributedDataParallel:
    """The module with gradients that are the mean over all processes; every parameter must take part in every step."""
    return DistributedDataParallel(module, device_ids=[device] if device.type == "cuda" else None)


def shared_sampler(dataset: Dataset[object], seed: int = 0) -> DistributedSampler[object]:
    """This process's share of the cases, shuffled anew in every epoch if ``set_epoch`` is called."""
    if not isinstance(dataset, Sized):
        raise ValueError(f"dataset must have a length, got {type(dataset).__name__}")
    return DistributedSampler(dataset, seed=seed, drop_last=True)


def end_processes() -> None:
    """Let the processes go their ways."""
    torch.distributed.destroy_process_group()

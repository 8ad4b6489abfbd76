"""The device a process of a bundle computes on."""

from __future__ import annotations

import os

import torch


def best_device() -> torch.device:
    """The GPU of this process (its number under ``torchrun``, else the first), or the CPU where there is none."""
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device("cpu")

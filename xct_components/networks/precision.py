"""In which floating point a network computes."""

from __future__ import annotations

from typing import Literal

import torch

Precision = Literal["auto", "bf16", "fp32"]


def network_autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """The context a network runs in: bfloat16 where it pays, float32 otherwise; "auto" lets the device decide."""
    half = computes_bf16(device) if precision == "auto" else precision == "bf16"
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=half)


def computes_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 in hardware."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())

"""What is noted of every stage on the way: size, how well it explains the film, memory."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from xct_components.geometry import VolumeGrid
from xct_components.inferers.stage import StageResult

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class StageNotes:
    """An ``on_stage`` of the cascade that keeps numbers, not volumes.

    Args:
        then: called with the same arguments, for previews.
        before: stages that are not run, as their volume was given.
    """

    def __init__(self, then: Callable[[int, StageResult, VolumeGrid], None] | None = None, before: int = 0) -> None:
        self._then, self._before, self._stages = then, before, list[dict[str, Any]]()
        restart_peak_memory()

    def __call__(self, number: int, result: StageResult, field: VolumeGrid) -> None:
        """Note a finished stage."""
        number += self._before
        self._stages.append(
            {
                "stage": number,
                "voxels": list(result.volume_hu.shape[-3:]),
                "spacing_mm": [round(mm, 4) for mm in field.spacing_mm],
                "film_error": [round(float(error), 6) for error in result.film_error[0]],
                "prior_to_volume_hu": round(float((result.volume_hu - result.prior_hu).abs().mean()), 2),
                "peak_memory_mib": peak_memory_bytes(result.volume_hu.device) >> 20,
            }
        )
        restart_peak_memory()
        if self._then is not None:
            self._then(number, result, field)

    def described(self, seconds: Sequence[float]) -> list[dict[str, Any]]:
        """The notes with the seconds of each stage, JSON-ready."""
        return [{**stage, "seconds": round(time_s, 2)} for stage, time_s in zip(self._stages, seconds, strict=False)]


def peak_memory_bytes(device: torch.device) -> int:
    """Most memory since ``restart_peak_memory``: of the device, or of the process where that is the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        (line,) = (line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) << 10
    except (OSError, ValueError):
        import resource  # where there is no /proc; counts from the start of the process

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak << 10


def restart_peak_memory() -> None:
    """Count peaks from here on, where the system can."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()
    try:
        _CLEAR.write_text("5")  # proc(5): resets VmHWM to the memory in use
    except OSError:
        return

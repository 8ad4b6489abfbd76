"""What one call costs: wall seconds, process-CPU seconds, and peak memory above what was there before."""

from __future__ import annotations

import ctypes
import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

MIB = 2**20

#: A result is the best of at least this much timing, so that a call of 2 ms is repeated a hundred times ...
MIN_TOTAL_S = 0.3
#: ... and a call of a minute is not repeated at all.
MAX_TOTAL_S = 20.0
#: Memory of a settled call is the median of this many, because threads overlap differently each time.
MEMORY_CALLS = 3


@dataclass(frozen=True)
class Cost:
    """The price of a call.

    Args:
        wall_s: shortest wall time.
        cpu_s: least CPU time of the process, user and system over all threads.
        first_peak_mib: most memory at any moment of the first call, above the meter's baseline, so with whatever a method
            builds once for a geometry; None where it cannot be read.
        peak_mib: the same for a later call, with whatever the method keeps between calls; None likewise.
        calls: how many calls the times are the best of.
    """

    wall_s: float
    cpu_s: float
    first_peak_mib: float | None
    peak_mib: float | None
    calls: int


class Meter(Protocol):
    """Reads time and memory of one device; its baseline is the memory in use when it was made."""

    def seconds(self, call: Callable[[], Any]) -> tuple[float, float]:
        """(wall, process-CPU) seconds of one call; its result is dropped."""

    def restart_peak(self) -> None:
        """Forget the memory peak so far."""

    def peak_mib(self) -> float | None:
        """Peak since the last restart, above the baseline, in MiB."""


class HostMeter:
    """Main memory from the kernel's own peak counter (Linux), clocks of the process."""

    def __init__(self) -> None:
        _release_freed_memory()
        self._baseline = _status_bytes("VmRSS")

    def seconds(self, call: Callable[[], Any]) -> tuple[float, float]:
        """(wall, process-CPU) seconds of one call."""
        wall, cpu = time.perf_counter(), time.process_time()
        call()
        return time.perf_counter() - wall, time.process_time() - cpu

    def restart_peak(self) -> None:
        """Return freed memory to the system and set VmHWM back to VmRSS."""
        _release_freed_memory()
        if self._baseline is not None:
            Path("/proc/self/clear_refs").write_text("5")

    def peak_mib(self) -> float | None:
        """VmHWM above the baseline, in MiB; None without /proc."""
        if self._baseline is None:
            return None
        return max((_status_bytes("VmHWM") or 0) - self._baseline, 0) / MIB


class CudaMeter:
    """Device memory from torch's allocator, wall time from CUDA events."""

    def __init__(self) -> None:
        gc.collect()
        torch.cuda.synchronize()
        self._baseline = torch.cuda.memory_allocated()

    def seconds(self, call: Callable[[], Any]) -> tuple[float, float]:
        """(device, process-CPU) seconds of one call, from the event before it to the event after it."""
        before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        cpu = time.process_time()
        before.record()
        call()
        after.record()
        torch.cuda.synchronize()
        return before.elapsed_time(after) / 1000.0, time.process_time() - cpu

    def restart_peak(self) -> None:
        """Set the allocator's peak back to what is in use."""
        gc.collect()
        torch.cuda.reset_peak_memory_stats()

    def peak_mib(self) -> float | None:
        """Peak of the allocator above the baseline, in MiB."""
        return (torch.cuda.max_memory_allocated() - self._baseline) / MIB


def meter_of(device: str) -> Meter:
    """The meter of "cpu" or "cuda"; make it once the inputs exist and the code is warm."""
    return CudaMeter() if device == "cuda" else HostMeter()


def cost_of(call: Callable[[], Any], meter: Meter, repeats: int) -> Cost:
    """Call until the best time is settled: at least ``repeats`` calls and ``MIN_TOTAL_S``, unless ``MAX_TOTAL_S`` is reached.

    Memory is read in the calls after the first; one too slow to be made again has the first call's peak for both peaks.
    """
    seconds, first_peak_mib = _seconds_and_peak(call, meter)
    peaks: list[float | None] = []
    samples, total = [seconds], seconds[0]
    while total < MAX_TOTAL_S and (len(samples) < max(repeats, 1 + MEMORY_CALLS) or total < MIN_TOTAL_S):
        if len(peaks) < MEMORY_CALLS:
            seconds, peak_mib = _seconds_and_peak(call, meter)
            peaks.append(peak_mib)
        else:
            seconds = meter.seconds(call)
        samples.append(seconds)
        total += seconds[0]
    wall_s, cpu_s = (min(sample[i] for sample in samples) for i in range(2))
    known = [peak for peak in peaks or [first_peak_mib] if peak is not None]
    return Cost(wall_s, cpu_s, first_peak_mib, statistics.median(known) if known else None, len(samples))


def _seconds_and_peak(call: Callable[[], Any], meter: Meter) -> tuple[tuple[float, float], float | None]:
    meter.restart_peak()
    seconds = meter.seconds(call)
    return seconds, meter.peak_mib()


def _release_freed_memory() -> None:
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (OSError, AttributeError, TypeError):  # not glibc: freed pages may stay and hide part of a later peak
        return


def _status_bytes(field: str) -> int | None:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(field + ":")), None)

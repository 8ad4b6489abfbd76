"""Whether a run fits into memory, asked before it starts: measured bytes per voxel against what the machine has left."""

from __future__ import annotations

import resource
from collections.abc import Sequence
from pathlib import Path

import torch

from xct_components.inferers.stage import UNTILED_VOXELS, Mode

#: The process with its libraries, and the earlier stages.
PROCESS_BYTES = 700 << 20
#: Peak bytes per voxel of the last stage's volume beyond that, for the mean and for samples; `python -m benchmarks.sampling`
#: measures it with the released configurations. In one piece at 256³ (measured before consistency ran in slabs: an upper
#: bound). In columns at 512 x 604 x 512, an upper bound too: on one machine the whole process reached 3861 MiB for the mean and
#: 5217 MiB for a sample, on another 3088 and 3161 MiB (`xct generate --full_size True`). A tenth is added for the command line.
BYTES_PER_VOXEL = {("mean", "whole"): 64, ("sample", "whole"): 92, ("mean", "columns"): 23, ("sample", "columns"): 38}
#: The running mean and deviation of several samples, and the one-step mean beside them.
STATISTICS_BYTES_PER_VOXEL = 12
#: The mean and its deviation, which wait while members are made; each member once it is made.
MEAN_BYTES_PER_VOXEL, MEMBER_BYTES_PER_VOXEL = 8, 2
#: The detail of one CT while it is unpacked, bent and added: measured 364 MiB at 256³.
DETAIL_BYTES_PER_VOXEL = 23

_MEMINFO, _CGROUP = Path("/proc/meminfo"), Path("/sys/fs/cgroup")


def needed_bytes(shape: Sequence[int], mode: Mode, samples: int, members: int = 0, column: int | None = None) -> int:
    """What a run to a volume of this shape takes at its peak, from ``BYTES_PER_VOXEL``; the column as for ``StageInferer``."""
    voxels = shape[0] * shape[1] * shape[2]
    drawn = "sample" if samples > 1 or mode == "sample" else "mean"
    whole = voxels <= UNTILED_VOXELS if column is None else column >= max(shape[1:])
    per_voxel = BYTES_PER_VOXEL[drawn, "whole" if whole else "columns"]
    per_voxel += (STATISTICS_BYTES_PER_VOXEL if samples > 1 else 0) + (MEAN_BYTES_PER_VOXEL if members else 0)
    per_voxel += DETAIL_BYTES_PER_VOXEL if members or mode == "member" else 0
    return PROCESS_BYTES + voxels * (per_voxel + members * MEMBER_BYTES_PER_VOXEL)


def available_bytes(device: torch.device) -> int | None:
    """Memory that this process may still take on the device, itself included; None where nothing says so."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0]) + torch.cuda.memory_reserved(device)
    known = [one for one in (_free_bytes(), _group_bytes(), _process_limit_bytes()) if one is not None]
    return min(known) + _resident_bytes() if known else None


def _free_bytes() -> int | None:
    try:
        lines = dict(line.split(":", 1) for line in _MEMINFO.read_text().splitlines())
        return int(lines["MemAvailable"].split()[0]) << 10
    except (OSError, ValueError, KeyError):
        return None


def _group_bytes() -> int | None:
    """What the container may still take; file caches are given back on demand."""
    try:
        limit = int((_CGROUP / "memory.max").read_text())
        cached = dict(line.split() for line in (_CGROUP / "memory.stat").read_text().splitlines())
        return limit - int((_CGROUP / "memory.current").read_text()) + int(cached["inactive_file"])
    except (OSError, ValueError, KeyError):
        return None


def _process_limit_bytes() -> int | None:
    """What ``ulimit -v`` leaves."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return None
    return limit - _pages(0)


def _resident_bytes() -> int:
    return _pages(1)


def _pages(field: int) -> int:
    """Bytes of the address space (0) or in memory (1)."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[field]) * resource.getpagesize()
    except (OSError, ValueError):
        return 0

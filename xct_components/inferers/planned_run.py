"""A run of the cascade before it begins: the memory it takes, and what of it would fit where that is too much."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch

from xct_components.data.readable_bytes import readable_bytes
from xct_components.failures import OutOfResources
from xct_components.inferers.memory_needed import available_bytes, needed_bytes
from xct_components.inferers.stage import Mode

Shape = tuple[int, int, int]
#: How a user asks for fewer stages, on the command line and in Python.
FEWER_STAGES = "with stages {}"


@dataclass(frozen=True)
class PlannedRun:
    """What decides how much memory a run takes.

    Args:
        stages: voxels of each stage's own volume, coarsest first; where a coarse volume is given, the last stage alone.
        full_shape: voxels of the last volume where it is not the stage's own; None where it is.
        mode: as for ``StageInferer``.
        samples: likewise.
        members: as for ``CascadeInferer``.
        column: likewise.
    """

    stages: tuple[Shape, ...]
    full_shape: Shape | None = None
    mode: Mode = "mean"
    samples: int = 1
    members: int = 0
    column: int | None = None

    @property
    def shape(self) -> Shape:
        """Voxels of the largest volume, the last one."""
        return self.full_shape or self.stages[-1]

    @property
    def peak_bytes(self) -> int:
        """What it takes at most, as ``needed_bytes`` estimates it."""
        return needed_bytes(self.shape, self.mode, self.samples, self.members, self.column)

    def smaller(self) -> tuple[list[PlannedRun], ...]:
        """Runs that ask less of one setting each, by setting: members, then what is drawn, then size; the largest first."""
        sizes = [self.stages[:count] for count in range(len(self.stages) - (self.full_shape is None), 0, -1)]
        drawn: list[tuple[Mode, int]] = [(self.mode, 1)] if self.samples > 1 else []
        drawn += [("mean", 1)] if self.mode != "mean" else []
        return (
            [replace(self, members=count) for count in range(self.members - 1, -1, -1)],
            [replace(self, mode=mode, samples=samples) for mode, samples in drawn],
            [replace(self, stages=stages, full_shape=None) for stages in sizes],
        )


def require_memory(
    run: PlannedRun,
    device: torch.device,
    fewer_stages: str = FEWER_STAGES,
    available: Callable[[torch.device], int | None] = available_bytes,
) -> None:
    """Refuse a run that cannot end well before it begins.

    Args:
        run: what is asked for.
        device: where it would run.
        fewer_stages: how its user asks for fewer stages; {} is their number.
        available: tells the bytes that the device has left, or None where nobody knows.

    Raises:
        OutOfResources: with what it needs, what is there, and what would fit.
    """
    free = available(device)
    if free is None or run.peak_bytes <= free:
        return
    needs = f"{' x '.join(map(str, run.shape))} voxels need about {readable_bytes(run.peak_bytes)} of memory"
    fitting = _fitting(run, free)
    ways = [f"{_difference(run, one, fewer_stages)} ({readable_bytes(one.peak_bytes)})" for one in fitting]
    way_out = f"it fits {' or '.join(ways)}" if ways else "nothing smaller fits: use a larger machine"
    raise OutOfResources(f"{needs}, {readable_bytes(free)} are available; {way_out}")


def _fitting(run: PlannedRun, free: int) -> list[PlannedRun]:
    """Of each setting that helps by itself the largest run that fits; if none does, one run that asks less of several."""
    firsts = (next((one for one in smaller if one.peak_bytes <= free), None) for smaller in run.smaller())
    return [one for one in firsts if one is not None] or list(itertools.islice(_smaller_in_all(run, free), 1))


def _smaller_in_all(run: PlannedRun, free: int) -> Iterator[PlannedRun]:
    """Runs that fit, of every combination of settings; members are given up first, size last."""
    members, drawn, sizes = run.smaller()
    for size, draw, member in itertools.product([run, *sizes], [run, *drawn], [run, *members]):
        one = replace(size, mode=draw.mode, samples=draw.samples, members=member.members)
        if one.peak_bytes <= free:
            yield one


def _difference(asked: PlannedRun, smaller: PlannedRun, fewer_stages: str) -> str:
    """What to ask for instead, in words."""
    said = []
    if smaller.full_shape != asked.full_shape:
        said.append("without full_size")
    if len(smaller.stages) != len(asked.stages):
        said.append(fewer_stages.format(len(smaller.stages)))
    if smaller.samples != asked.samples:
        said.append("with samples 1")
    if smaller.mode != asked.mode:
        said.append("in mode mean")
    if smaller.members != asked.members:
        said.append(f"with members {smaller.members}" if smaller.members else "without members")
    return " and ".join(said)

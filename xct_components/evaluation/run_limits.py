"""What commands that judge the cascade, or change its weights, refuse before they begin."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from xct_components.failures import CannotWrite, UsageFailure

MOST_STAGES, MOST_SAMPLES, MOST_STEPS = 3, 1000, 1000


def require_between(name: str, count: int | float, least: int, most: int) -> None:
    """Refuse a number outside its limits.

    Raises:
        UsageFailure: if it lies outside.
    """
    if not least <= count <= most:
        raise UsageFailure(f"{name} must lie between {least} and {most}, got {count}")


def require_stages_and_steps(stages: int, steps: int) -> None:
    """Refuse what no cascade has or nobody waits for.

    Raises:
        UsageFailure: likewise.
    """
    require_between("stages", stages, 1, MOST_STAGES)
    require_between("steps", steps, 1, MOST_STEPS)


def require_writable(folders: Sequence[Path]) -> None:
    """Refuse folders of bundles that cannot be written into, before the work, which takes long.

    Raises:
        CannotWrite: if one cannot.
    """
    for folder in folders:
        if not os.access(folder, os.W_OK):
            raise CannotWrite(f"cannot write into {folder}; copy the bundles to a folder of yours, or add --dry_run")

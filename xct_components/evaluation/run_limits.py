"""How often and how far the cascade may be run by a command that judges it."""

from __future__ import annotations

from xct_components.failures import UsageFailure

MOST_STAGES, MOST_SAMPLES, MOST_STEPS = 3, 1000, 1000


def require_between(name: str, count: int, least: int, most: int) -> None:
    """Refuse a count outside its limits.

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

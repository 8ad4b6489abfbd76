"""Switches of a training as people write them: MONAI's command line reads True, but hands on "true" as text."""

from __future__ import annotations


def switched_on(name: str, value: bool | str) -> bool:
    """Whether a setting is on.

    Raises:
        ValueError: if it is neither true nor false.
    """
    text = str(value).strip().lower()
    if text not in ("true", "false"):
        raise ValueError(f"{name} must be true or false, got {value!r}")
    return text == "true"

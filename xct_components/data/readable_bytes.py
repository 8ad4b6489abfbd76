"""A count of bytes as a person reads it."""

from __future__ import annotations


def readable_bytes(count: int) -> str:
    """GiB from a tenth on, below that MiB, with one digit.

    Example:
        >>> readable_bytes(3 << 30)
        '3.0 GiB'
    """
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 / 10 else f"{count / 2**20:.1f} MiB"

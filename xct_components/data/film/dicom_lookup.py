"""The numbers and look-up tables of DICOM tags (PS3.3 C.11.1.1.1 and C.11.2.1.1)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np


def float_tag(dataset: Any, keyword: str) -> float | None:
    """The first finite number of a tag, or None."""
    value = dataset.get(keyword)
    numbers: list[Any] = list(value) if value is not None and not isinstance(value, str | bytes | int | float) else [value]
    try:
        number = float(numbers[0])
    except (TypeError, ValueError, IndexError):
        return None
    return number if math.isfinite(number) else None


def most_of_table(table: Any) -> float:
    """The largest value that a table's own bit depth can hold: not that of the pixels, and not what it happens to hold.

    Raises:
        ValueError: for a depth that no table has.
    """
    bits = int(table.LUTDescriptor[2])
    if not 1 <= bits <= 16:
        raise ValueError(f"a look-up table has 1 to 16 bits, got {bits}")
    return float((1 << bits) - 1)


def looked_up(table: Any, dataset: Any, values: np.ndarray) -> np.ndarray:
    """Float32 entries of a table for whole numbers; what lies before or behind it takes its first or last entry.

    Args:
        table: an item of ModalityLUTSequence or VOILUTSequence. (pydicom's own tables of 8 bits wrap round at 256.)
        dataset: the film, which knows the byte order.
        values: whole numbers.

    Raises:
        ValueError: if the table is shorter than it says.
    """
    count, first = int(table.LUTDescriptor[0]) or 1 << 16, int(table.LUTDescriptor[1])
    if first > np.iinfo(np.int16).max and np.issubdtype(values.dtype, np.signedinteger) and values.min() < 0:
        first -= 1 << 16  # written as unsigned beside signed pixels
    entries = _entries(table, dataset, count)
    return entries[np.clip(values.astype(np.int64) - first, 0, count - 1)].astype(np.float32)


def _entries(table: Any, dataset: Any, count: int) -> np.ndarray:
    """The entries as whole numbers, whether pydicom made numbers of them or left the bytes."""
    data = table.LUTData
    if not isinstance(data, bytes):
        entries = np.atleast_1d(np.asarray(data, dtype=np.int64)) & 0xFFFF
    elif len(data) < 2 * count:  # one byte per entry, as older devices pack 8 bits
        entries = np.frombuffer(data, np.uint8)
    else:
        entries = np.frombuffer(data[: 2 * count], "<u2" if dataset.original_encoding[1] is not False else ">u2")
    if len(entries) < count:
        raise ValueError(f"the look-up table of {count} entries holds {len(entries)}")
    return entries

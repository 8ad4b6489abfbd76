"""Fields of the JSON documents in which geometry travels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def required(fields: Mapping[str, Any], *names: str) -> list[Any]:
    """The values of ``names``, in that order.

    Raises:
        ValueError: naming the fields that are missing.
    """
    missing = [name for name in names if name not in fields]
    if missing:
        raise ValueError(f"fields must hold {', '.join(names)}, got no {', '.join(missing)}; write the document with to_json()")
    return [fields[name] for name in names]

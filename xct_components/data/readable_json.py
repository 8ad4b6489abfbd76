"""JSON that people read: indented, with each list of numbers on one line."""

from __future__ import annotations

import json
import re
from typing import Any

_NUMBERS = re.compile(r"\[([-+.\deE,\s]+)\]")


def readable_json(document: dict[str, Any]) -> str:
    """The document as text that ends in a newline."""
    return _NUMBERS.sub(lambda found: f"[{' '.join(found[1].split())}]", json.dumps(document, indent=2)) + "\n"

"""UIDs as they come from users and servers: digits and dots, before they become part of a URL."""

from __future__ import annotations

import re

from xct_components.failures import Failure, UsageFailure

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
MOST_CHARACTERS = 64


def require_uid(text: object, what: str, kind: type[Failure] = UsageFailure) -> str:
    """The UID; leading zeros pass, as some archives hold them.

    Args:
        text: what should be one.
        what: its name in a message, which never quotes it.
        kind: of the failure.

    Raises:
        Failure: of the given kind.

    Example:
        >>> require_uid("1.2.840.10008.1.1", "study")
        '1.2.840.10008.1.1'
    """
    if not isinstance(text, str) or len(text) > MOST_CHARACTERS or not _UID.fullmatch(text):
        raise kind(f"{what} must be a UID, digits and dots, at most {MOST_CHARACTERS} characters")
    return text

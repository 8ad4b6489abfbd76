"""A handler that a bundle defines by name, as an entry of the trainer's list of handlers."""

from __future__ import annotations

from typing import TypeVar

Handler = TypeVar("Handler")


def named_handler(handler: Handler) -> Handler:
    """The handler itself.

    A bare "@train::loss" in the list would run, too, but MONAI's ``check_properties`` reads the ``_target_`` of every entry.
    """
    return handler

"""Errors out of processes that load data: torch passes on their text, a traceback; here they are errors again."""

from __future__ import annotations

import re
from collections.abc import Iterator

from xct_components.failures import Failure

#: How torch begins the message of an error that a worker of a DataLoader has raised; the worker's traceback follows.
_OF_A_WORKER = re.compile(r"Caught \w+ in DataLoader worker process \d+")
#: An error in a traceback: its class and its message, up to the next error of the chain. All else there is indented.
_ERROR = re.compile(
    r"^([\w.]+)(?:: (.*?))?\s*(?=\n\n(?:The above exception|During handling of the above exception)|\Z)",
    re.DOTALL | re.MULTILINE,
)
#: A want of memory by the names of its classes: Python's own, and NumPy's, which is one.
_MEMORY_ERRORS = {"MemoryError", "numpy._core._exceptions._ArrayMemoryError", "numpy.core._exceptions._ArrayMemoryError"}


def error_of_worker(error: BaseException) -> Failure | MemoryError | None:
    """The failure or the want of memory that a worker's error tells of, outermost first; None if there is none.

    Python's chain of causes ends at the border of a process, so that an error which MONAI wrapped there is known by its text
    alone.
    """
    text = str(error)
    if not _OF_A_WORKER.match(text):
        return None
    return next(_told(text), None)


def _told(text: str) -> Iterator[Failure | MemoryError]:
    kinds = {f"{kind.__module__}.{kind.__qualname__}": kind for kind in _kinds_of(Failure)}
    for name, message in reversed(_ERROR.findall(text)):
        if name in kinds:
            yield kinds[name](message)
        elif name in _MEMORY_ERRORS:
            yield MemoryError(message)


def _kinds_of(kind: type[Failure]) -> Iterator[type[Failure]]:
    yield kind
    for narrower in kind.__subclasses__():
        yield from _kinds_of(narrower)

"""Failures a user can act on, each with the exit code of the command line. Belongs to no layer and imports nothing of ours."""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum


class ExitCode(IntEnum):
    """What ``xct`` returns to the shell."""

    OK = 0
    UNEXPECTED = 1
    USAGE = 2
    UNREADABLE = 3
    REFUSED = 4
    WEIGHTS = 5
    OUT_OF_RESOURCES = 6
    CANNOT_WRITE = 7
    PARTIAL = 8
    INTERRUPTED = 130


#: What each code means, in a few words; docs/conventions.md says more.
MEANINGS = {
    ExitCode.OK: "done",
    ExitCode.UNEXPECTED: "unexpected error: please report it",
    ExitCode.USAGE: "usage: an option or argument that cannot be meant",
    ExitCode.UNREADABLE: "input unreadable: missing, empty, truncated or corrupt",
    ExitCode.REFUSED: "input refused: not what the command takes",
    ExitCode.WEIGHTS: "weights missing or not the expected ones",
    ExitCode.OUT_OF_RESOURCES: "out of memory, or the device is not available",
    ExitCode.CANNOT_WRITE: "output cannot be written",
    ExitCode.PARTIAL: "some of many inputs failed, each is named",
    ExitCode.INTERRUPTED: "interrupted",
}

#: What an interrupted user is told: every output is written aside and takes its name when it is whole.
INTERRUPTED = "interrupted; what was finished stays, nothing is half-written"


class Failure(Exception):
    """A failure whose message is written for the user: one or two lines, no traceback needed."""

    exit_code = ExitCode.UNEXPECTED


class UsageFailure(Failure, ValueError):
    """An option or argument that cannot be meant."""

    exit_code = ExitCode.USAGE


class UnreadableInput(Failure, OSError):
    """An input that is missing, empty, truncated or damaged."""

    exit_code = ExitCode.UNREADABLE


class RefusedInput(Failure, ValueError):
    """An input that can be read, but is not what the command works on."""

    exit_code = ExitCode.REFUSED


class WeightsFailure(Failure, OSError):
    """Weights that are missing, or not the expected ones."""

    exit_code = ExitCode.WEIGHTS


class OutOfResources(Failure, MemoryError):
    """Work that does not fit into memory or onto the device."""

    exit_code = ExitCode.OUT_OF_RESOURCES


class CannotWrite(Failure, OSError):
    """An output that cannot be written, or would replace something."""

    exit_code = ExitCode.CANNOT_WRITE


class InputWarning(UserWarning):
    """Something about an input that the user should know although the work goes on; it holds no patient data."""


#: How torch and the system say that memory is short.
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory", "not enough memory")


def causes(error: BaseException) -> Iterator[BaseException]:
    """The error, what it was raised from, what that was raised from, and so on."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        yield cause
        seen.add(id(cause))
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error, or what it was raised from, says that memory is short, on the processor or a GPU."""
    return any(
        isinstance(cause, MemoryError) or any(words in str(cause).lower() for words in _OUT_OF_MEMORY)
        for cause in causes(error)
    )


def first_line(error: BaseException) -> str:
    """The first line that an error says, or its kind: what fits into one line for the user."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__

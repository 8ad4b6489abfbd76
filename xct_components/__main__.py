"""The command line ``xct``, or ``python -m xct_components``: how a command ends. Which there are, ``command_line.py`` knows.

Every failure is one line on stderr and an exit code of ``ExitCode``; XCT_TRACEBACK=1 adds the traceback. Commands are loaded
within ``main``, so that an interruption is a line from the first moment.
"""

import gc
import os
import sys
import warnings
from collections.abc import Sequence

from xct_components.failures import INTERRUPTED, ExitCode, Failure, InputWarning, first_line, is_out_of_memory
from xct_components.interruption import Interruption

#: What makes a command take less memory.
LESS_MEMORY = {
    "calibrate-deviation": "ask for fewer --stages or leave out --samples",
    "demo": "ask for fewer --stages",
    "evaluate": "ask for fewer --stages or leave out --samples",
    "film": "ask for fewer --rows and --cols",
    "generate": "ask for fewer --stages, or leave out --full_size, --members or --samples",
    "pacs": "ask for fewer --stages, or leave out --full_size or --samples",
    "prepare": "ask for fewer --workers, crop or resample the CTs",
    "simulate": "crop or resample the CT",
}

#: Objects made before garbage is searched for cycles. Loading torch and MONAI makes a million that stay: 700 cost 0.5 s.
OBJECTS_BETWEEN_COLLECTIONS = 50_000

#: Has torch ask Linux for huge pages: volumes come and go in every step, and mapping them by 4 KiB cost a tenth of the time.
HUGE_PAGES_VARIABLE = "THP_MEM_ALLOC_ENABLE"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; by default the one of the process.

    Args:
        arguments: what follows ``xct`` on the command line.

    Returns:
        An ``ExitCode``.
    """
    os.environ.setdefault(HUGE_PAGES_VARIABLE, "1")  # read at torch's first large allocation
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS, *gc.get_threshold()[1:])
    given = list(sys.argv[1:] if arguments is None else arguments)
    interruption = Interruption()
    try:
        with interruption:
            _run(given)
    except KeyboardInterrupt:
        return _complaint(INTERRUPTED, ExitCode.INTERRUPTED)
    except Failure as failure:
        return _complaint(str(failure), failure.exit_code)
    except Exception as error:
        if interruption.was_heard:
            return _complaint(INTERRUPTED, ExitCode.INTERRUPTED)
        if is_out_of_memory(error):
            less = "".join(f"{LESS_MEMORY[name]}, or " for name in given[:1] if name in LESS_MEMORY)
            return _complaint(f"out of memory; {less}use a larger machine", ExitCode.OUT_OF_RESOURCES)
        return _complaint(
            f"unexpected {type(error).__name__}: {first_line(error)} (XCT_TRACEBACK=1 shows where)", ExitCode.UNEXPECTED
        )
    return ExitCode.OK


def _run(arguments: list[str]) -> None:
    """Run a command; then say what was noticed on stderr, and what was written on stdout."""
    from xct_components.command_line import command_of

    command = command_of(arguments)
    with warnings.catch_warnings(record=True) as noticed:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", InputWarning)
        lines = command()
    for message in dict.fromkeys(str(warning.message) for warning in noticed):
        print(f"xct: warning: {message}", file=sys.stderr)
    _print(lines)


def _print(lines: Sequence[object]) -> None:
    """On stdout; a reader that has seen enough, such as head, ends it in peace."""
    try:
        for line in lines:
            print(line)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python flushes at its end


def _complaint(message: str, code: ExitCode) -> int:
    if os.environ.get("XCT_TRACEBACK"):
        import traceback

        traceback.print_exc()
    print(f"xct: {' '.join(message.split())}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())

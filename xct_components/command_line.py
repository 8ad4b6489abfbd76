"""What the arguments of ``xct`` ask for: one of ``COMMANDS``, its options read as they are annotated, or help."""

import contextlib
import difflib
import functools
import inspect
import io
import keyword
import re
from collections.abc import Callable, Sequence
from typing import Any

from fire import Fire, decorators
from fire.core import FireExit
from fire.helptext import HelpText
from fire.trace import FireTrace

from xct_components import __version__
from xct_components.calibrate_deviation_command import calibrate_deviation
from xct_components.demo import demo
from xct_components.evaluate_command import evaluate
from xct_components.failures import MEANINGS, UsageFailure
from xct_components.film_command import film
from xct_components.generate_command import generate
from xct_components.hold_cts_command import hold_cts
from xct_components.info_command import info
from xct_components.join_stages_command import join_stages
from xct_components.pacs_command import pacs
from xct_components.prepare_command import prepare
from xct_components.simulate_command import simulate
from xct_components.validate_stage_command import validate_stage

#: A command whose arguments are known; what it returns goes to stdout, line by line.
Command = Callable[[], Sequence[object]]

COMMANDS: dict[str, Callable[..., Sequence[object]]] = {
    "calibrate-deviation": calibrate_deviation,
    "demo": demo,
    "evaluate": evaluate,
    "film": film,
    "generate": generate,
    "hold-cts": hold_cts,
    "info": info,
    "join-stages": join_stages,
    "pacs": pacs,
    "prepare": prepare,
    "simulate": simulate,
    "validate-stage": validate_stage,
}
#: A parameter whose name Python keeps for itself, as PEP 8 spells it: ``from_`` is the option --from.
_RESERVED = re.compile(rf"\b({'|'.join(keyword.kwlist)})_\b", re.IGNORECASE)
_MEANINGS: dict[object, str] = {int: "a whole number", float: "a number", bool: "True or False"}


def command_of(arguments: list[str]) -> Command:
    """What the arguments ask for, not yet run: fire finds misspelt options only after it has called a command.

    Raises:
        UsageFailure: for an unknown command or option, or a missing one.
    """
    if arguments == ["--version"]:
        return lambda: [f"xct {__version__}"]
    if not arguments or {"-h", "--help"} & set(arguments):
        return lambda: [_help(arguments)]
    chosen: list[Command] = []
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            Fire({name: _postponed(command, chosen) for name, command in COMMANDS.items()}, _spelt(arguments), name="xct")
    except FireExit as exit_:
        if exit_.code:
            raise UsageFailure(_usage_error(exit_.trace, arguments)) from exit_
    if len(chosen) != 1:
        raise UsageFailure(f"no command among {' '.join(arguments)!r}; `xct --help` lists them")
    return chosen[0]


def _spelt(arguments: list[str]) -> list[str]:
    """The arguments with reserved names as their parameters have them."""
    return [re.sub(rf"^--({'|'.join(keyword.kwlist)})(?==|$)", r"--\1_", argument) for argument in arguments]


def _postponed(command: Callable[..., Sequence[object]], chosen: list[Command]) -> Callable[..., None]:
    @functools.wraps(command)
    def choose(*args: Any, **kwargs: Any) -> None:
        chosen.append(functools.partial(command, *args, **kwargs))

    parsers = {name: _parser(parameter) for name, parameter in inspect.signature(command).parameters.items()}
    return decorators.SetParseFns(**{name: parser for name, parser in parsers.items() if parser})(choose)


def _parser(parameter: inspect.Parameter) -> Callable[[str], object] | None:
    """How to read an option as what its annotation says; None leaves it to fire, which guesses: 2024 a number, a,b a tuple."""
    kind, what = parameter.annotation, _MEANINGS.get(parameter.annotation)
    if kind in (str, str | None):
        return str

    def read(text: str) -> object:
        try:
            return {"True": True, "False": False}[text] if kind is bool else kind(text)
        except (KeyError, ValueError) as error:
            raise UsageFailure(f"{parameter.name} must be {what}, got {text!r}") from error

    return read if what else None


def _usage_error(trace: FireTrace, arguments: list[str]) -> str:
    reason = trace.elements[-1].ErrorAsStr()
    command = COMMANDS.get(arguments[0])
    if command is None:
        return f"unknown command {arguments[0]!r}; `xct --help` lists the commands"
    unknown = reason.removeprefix("Could not consume arg: ").lstrip("-").partition("=")[0].replace("-", "_")
    close = difflib.get_close_matches(unknown, inspect.signature(command).parameters, n=1)
    hint = f"did you mean --{close[0]}? " if close and reason.startswith("Could not") else ""
    return _RESERVED.sub(r"\1", f"{reason}; {hint}`xct {arguments[0]} --help` lists the options")


def _help(arguments: list[str]) -> str:
    trace = FireTrace(COMMANDS, name="xct")
    command = COMMANDS.get(arguments[0]) if arguments else None
    if command is None:
        codes = "\n".join(f"    {code.value:>3}  {meaning}" for code, meaning in MEANINGS.items())
        return f"{HelpText(COMMANDS, trace=trace)}\n\nEXIT CODES\n{codes}"
    trace.AddAccessedProperty(command, arguments[0], [arguments[0]], None, None)
    return _RESERVED.sub(r"\1", str(HelpText(command, trace=trace)))

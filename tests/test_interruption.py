"""Ctrl-C is a line and an exit code also while a command is still being loaded, and where a library swallows it."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading

import pytest

from tests.generate_runs import REAL_FILM
from tests.limited_process import ROOT
from xct_components.failures import INTERRUPTED, ExitCode
from xct_components.interruption import Interruption

#: The command line as by ``python -m``; Ctrl-C is pressed when a certain module is looked for.
SCRIPT = """
import runpy, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs inherit a deaf ear to it
moment = sys.argv.pop(1)
class Finger:
    def find_spec(self, name, path=None, target=None):
        if name == moment:
            sys.meta_path.remove(self)
            signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, Finger())
runpy.run_module("xct_components", run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize(
    "moment",
    [
        "xct_components.command_line",
        "fire",
        "xct_components.generate_command",
        "torch",
        "numpy.exceptions",  # swallowed by NumPy's compiled part, which is no module from then on
        "numpy._core._dtype",  # swallowed likewise; it lacks something later
    ],
)
def test_ctrl_c_while_a_command_is_being_loaded_is_one_line(moment, tmp_path):
    arguments = ["generate", str(REAL_FILM), "--output", str(tmp_path / "out"), "--stages", "1"]
    command = [sys.executable, "-c", SCRIPT, moment, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (ExitCode.INTERRUPTED, "", f"xct: {INTERRUPTED}\n")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def hearing():
    """SIGINT as Python itself handles it, whatever the shell of the tests has made of it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interruption_is_raised_and_remembered_and_the_handler_is_put_back(hearing):
    interruption = Interruption()
    with pytest.raises(KeyboardInterrupt), interruption:
        signal.raise_signal(signal.SIGINT)
    assert interruption.was_heard
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_without_an_interruption_nothing_is_heard(hearing):
    interruption = Interruption()
    with interruption:
        pass
    assert not interruption.was_heard
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_who_handles_the_signal_already_goes_on_doing_so(hearing):
    interruption, numbers = Interruption(), []
    signal.signal(signal.SIGINT, lambda number, _: numbers.append(number))
    with interruption:
        signal.raise_signal(signal.SIGINT)
    assert (numbers, interruption.was_heard) == ([signal.SIGINT], False)


def test_another_thread_leaves_the_handler_alone(hearing):
    handlers = []

    def work() -> None:
        with Interruption():
            handlers.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert handlers == [signal.default_int_handler]

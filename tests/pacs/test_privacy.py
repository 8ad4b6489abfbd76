"""What is on its way is for this user's eyes alone, is gone at the end, and no library writes a log of it."""

from __future__ import annotations

import logging
import os
import signal
import stat
from pathlib import Path

import pytest

from xct_components.pacs.private_folder import private_folder
from xct_components.pacs.quiet_libraries import LOGGERS, quiet_libraries


def test_the_folder_is_private_and_goes_with_all_it_holds():
    with private_folder() as folder:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        (folder / "inner").mkdir()
        (folder / "inner" / "film.dcm").write_bytes(b"DICM")
    assert not folder.exists()


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt])
def test_it_goes_after_a_failure_too(failure):
    held: list[Path] = []

    def fail() -> None:
        with private_folder() as folder:
            held.append(folder)
            (folder / "film.dcm").write_bytes(b"DICM")
            raise failure

    with pytest.raises(failure):
        fail()
    assert not held[0].exists()


def test_it_goes_when_a_service_manager_ends_the_process_and_signals_mean_afterwards_what_they_meant():
    before = signal.getsignal(signal.SIGTERM)
    held: list[Path] = []

    def be_stopped() -> None:
        with private_folder() as folder:
            held.append(folder)
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt):
        be_stopped()
    assert not held[0].exists()
    assert signal.getsignal(signal.SIGTERM) is before


def test_libraries_are_silent_within_the_block_and_speak_again_after_it(capfd):
    loggers = [logging.getLogger(name) for name in ("dicomweb_client.web", "pynetdicom.assoc", "urllib3.connectionpool")]
    assert {logger.name.split(".")[0] for logger in loggers} <= set(LOGGERS)
    with quiet_libraries():
        for logger in loggers:
            logger.error("Doe^Jane")
    assert capfd.readouterr().err == ""
    assert not any(logger.disabled for logger in loggers)

"""Silence of libraries that write UIDs, URLs and patient names into their logs and warnings."""

from __future__ import annotations

import importlib
import logging
import warnings as python_warnings
from collections.abc import Iterator
from contextlib import contextmanager

#: Python prints warnings of a logger without handlers on stderr: a retry alone would print the study's URL.
LOGGERS = ("dicomweb_client", "pydicom", "pynetdicom", "requests", "urllib3", "retrying")


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Nothing of these libraries is logged or warned of within the block."""
    kept = {name: logging.getLogger(name).disabled for name in _all_loggers()}
    for name in kept:
        logging.getLogger(name).disabled = True
    try:
        with python_warnings.catch_warnings():
            python_warnings.simplefilter("ignore")
            yield
    finally:
        for name, disabled in kept.items():
            logging.getLogger(name).disabled = disabled


def _all_loggers() -> list[str]:
    """The loggers and those below them that exist."""
    for name in ("dicomweb_client.web", "pynetdicom"):
        importlib.import_module(name)  # their loggers exist from then on
    return [name for name in logging.root.manager.loggerDict if name.split(".")[0] in LOGGERS]

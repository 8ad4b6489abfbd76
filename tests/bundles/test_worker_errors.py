"""What a process that loads data could not do is told as if there were no such process."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

import numpy as np
import pytest
import torch
from monai.data import Dataset
from monai.transforms import Lambda
from torch.utils.data import DataLoader

from xct_components.bundle_io.plain_failures import ending_of
from xct_components.bundle_io.worker_errors import error_of_worker
from xct_components.failures import ExitCode, RefusedInput, UnreadableInput


def refuse(item: int) -> NoReturn:
    raise RefusedInput(f"case {item} is refused: it is no chest.\nreason: none\n\nLeave it out")


def cannot_read(item: int) -> NoReturn:
    try:
        raise EOFError("ended before its end")
    except EOFError as error:
        raise UnreadableInput(f"case {item} cannot be read") from error


def refuse_while_reading_fails(item: int) -> NoReturn:
    try:
        cannot_read(item)
    except UnreadableInput:
        refuse(item)


def stumble_over_a_failure(item: int) -> NoReturn:
    try:
        refuse(item)
    except RefusedInput:
        raise KeyError(item) from None


def stumble(item: int) -> NoReturn:
    raise KeyError(f"{item}: RefusedInput: of the program")


def ask_python_for_too_much(item: int) -> bytes:
    return bytes(1 << 62)


def ask_numpy_for_too_much(item: int) -> object:
    return np.empty(1 << 60, np.uint8)


def ask_torch_for_too_much(item: int) -> torch.Tensor:
    return torch.empty(1 << 50)


WAYS_TO_FAIL = {
    refuse: ExitCode.REFUSED,
    cannot_read: ExitCode.UNREADABLE,
    refuse_while_reading_fails: ExitCode.REFUSED,
    stumble_over_a_failure: None,
    stumble: None,
    ask_python_for_too_much: ExitCode.OUT_OF_RESOURCES,
    ask_numpy_for_too_much: ExitCode.OUT_OF_RESOURCES,
    ask_torch_for_too_much: ExitCode.OUT_OF_RESOURCES,
}


def error_of(load: Callable[[int], object], workers: int) -> Exception:
    """What a loader raises whose cases MONAI loads, and cannot."""
    loader = DataLoader(Dataset([7], Lambda(load)), num_workers=workers, collate_fn=list)
    with pytest.raises((RuntimeError, MemoryError)) as caught:
        next(iter(loader))
    return caught.value


@pytest.mark.parametrize("load", WAYS_TO_FAIL, ids=lambda load: load.__name__)
def test_the_error_of_a_worker_ends_a_run_as_the_same_error_without_workers(load):
    alone, of_worker = error_of(load, workers=0), error_of(load, workers=1)
    assert "Traceback" in str(of_worker)
    assert "Traceback" not in str(alone)
    ending = ending_of(of_worker)
    assert ending == ending_of(alone)
    assert (ending and ending.exit_code) == WAYS_TO_FAIL[load]


def test_an_error_that_came_from_no_worker_is_not_read_as_one():
    text = str(error_of(refuse, workers=1))
    assert isinstance(error_of_worker(RuntimeError(text)), RefusedInput)
    assert error_of_worker(RuntimeError(text.partition("\n")[2])) is None

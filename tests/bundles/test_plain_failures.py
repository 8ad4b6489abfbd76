"""What ends a bundle's run is told in a line, with the documented exit code."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.bundles.tiny_bundles import copied_bundles
from xct_components.bundle_io.parent_stages import WEIGHTS
from xct_components.bundle_io.plain_failures import failure_behind
from xct_components.failures import ExitCode, UsageFailure, WeightsFailure


def ended(bundle, *settings: str) -> tuple[int, list[str]]:
    """Exit code and last lines on stderr of an inference."""
    config = str(bundle / "configs" / "inference.json")
    command = [sys.executable, "-m", "monai.bundle", "run", "--config_file", config, "--bundle_root", str(bundle), *settings]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""}, check=False)
    return done.returncode, done.stderr.strip().splitlines()


@pytest.mark.parametrize(
    ("settings", "code", "message"),
    [
        (["--stpes", "4"], ExitCode.USAGE, "inference.json has no such setting: stpes"),
        (
            ["--accept", "true"],
            ExitCode.USAGE,
            "True and False are written with a capital letter; else MONAI takes a text: accept",
        ),
        (["--ckpt_path", "nowhere.pt"], ExitCode.WEIGHTS, "no weights: nowhere.pt cannot be read"),
    ],
)
def test_a_failure_ends_the_run_in_one_line(settings, code, message, tmp_path):
    bundle = copied_bundles(tmp_path) / "stage1"
    returned, lines = ended(bundle, *settings, "--input", str(bundle / WEIGHTS))
    assert returned == code
    assert lines[-1].startswith(f"xct: {message}")
    assert not any("Traceback" in line for line in lines)


def test_the_failure_behind_an_error_is_found_however_deep():
    failure = WeightsFailure("no weights")
    try:
        try:
            raise failure
        except WeightsFailure as error:
            raise RuntimeError("Failed to instantiate component") from error
    except RuntimeError as error:
        wrapped = error
    outer = ValueError("outer")
    outer.__context__ = wrapped
    assert failure_behind(outer) is failure
    assert failure_behind(UsageFailure("x")) is not None
    assert failure_behind(RuntimeError("a fault of the program")) is None

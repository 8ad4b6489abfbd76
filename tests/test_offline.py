"""The whole command line without any network, not even loopback: in a network namespace of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.inferers.tiny_stages import write_bundles
from tests.network_namespace import own_network
from xct_components.failures import ExitCode

ROOT = Path(__file__).parent.parent
CT = ROOT / "tests" / "data" / "cip-ct-64.nrrd"
#: All commands in one process: the libraries load once.
SCRIPT = """
import socket, sys
from xct_components.__main__ import main
try:
    socket.create_connection(("127.0.0.1", 9), timeout=1)
except OSError as error:
    print("network:", error.strerror)
for line in sys.argv[1:]:
    print("code:", main(line.split("|")), line.split("|")[0])
"""


def test_every_command_of_a_hospital_works_without_a_network(tmp_path):
    apart = own_network()
    if apart is None:
        pytest.skip("no network namespaces here: unshare -n and unshare -rn both fail")
    bundles, films = write_bundles(tmp_path / "bundles"), tmp_path / "films"
    films.mkdir()
    film = films / "film.nii.gz"
    lines = (
        f"info|--bundles|{bundles}",
        f"simulate|{CT}|--output|{film}|--rows|96|--cols|96",
        f"film|{ROOT / 'tests' / 'data' / 'films' / '00000001_000.png'}|--output|{tmp_path / 'calibrated.nii.gz'}",
        f"generate|{films}|--output|{tmp_path / 'out'}|--bundles|{bundles}|--stages|3|--format|nifti,dicom,png|--accept",
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    command = [*apart, sys.executable, "-c", SCRIPT, *lines]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert "network: Network is unreachable" in done.stdout, done.stderr
    codes = [line for line in done.stdout.splitlines() if line.startswith("code: ")]
    assert codes == [f"code: {int(ExitCode.OK)} {name}" for name in ("info", "simulate", "film", "generate")], done.stderr
    assert (tmp_path / "out" / "film.nii.gz" / "dicom" / "IM0001.dcm").is_file()


def test_loopback_is_there_outside():
    """So that the test above means something."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        socket.create_connection(server.getsockname(), timeout=5).close()

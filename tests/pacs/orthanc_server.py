"""A real Orthanc on loopback, for tests that run in a network namespace of their own: it listens on every address it finds."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: Debian's packages orthanc and orthanc-dicomweb.
PROGRAM = "Orthanc"
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
WEB_PORT, DICOM_PORT, AE_TITLE = 18042, 14242, "ARCHIVE"
USER, PASSWORD = "imaging", "correct-horse"
URL = f"http://127.0.0.1:{WEB_PORT}/dicom-web"
STARTS_WITHIN_S = 30.0


def is_installed() -> bool:
    return shutil.which(PROGRAM) is not None and PLUGIN.exists()


@contextmanager
def orthanc(folder: Path) -> Iterator[None]:
    """The server with an empty archive in ``folder``, until the block ends."""
    configuration = {
        "Name": "test",
        "StorageDirectory": str(folder / "archive"),
        "IndexDirectory": str(folder / "archive"),
        "Plugins": [str(PLUGIN)],
        "HttpPort": WEB_PORT,
        "DicomPort": DICOM_PORT,
        "DicomAet": AE_TITLE,
        "DicomCheckCalledAet": True,
        "RemoteAccessAllowed": True,
        "AuthenticationEnabled": True,
        "RegisteredUsers": {USER: PASSWORD},
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    (folder / "orthanc.json").write_text(json.dumps(configuration))
    with (folder / "orthanc.log").open("w") as log:
        server = subprocess.Popen([PROGRAM, str(folder / "orthanc.json")], stdout=log, stderr=log)
        try:
            _await_ports(server)
            yield
        finally:
            server.terminate()
            server.wait(timeout=STARTS_WITHIN_S)


def _await_ports(server: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + STARTS_WITHIN_S
    for port in (WEB_PORT, DICOM_PORT):
        while time.monotonic() < end and server.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        else:
            raise TimeoutError("Orthanc did not start; orthanc.log says why")

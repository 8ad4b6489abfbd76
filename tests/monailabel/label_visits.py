"""Where the label server's tests get their answers: one visit each, made in a network with nothing but loopback."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.monailabel.visit import REALM, REALM_PORT
from tests.network_namespace import own_network

ROOT = Path(__file__).parent.parent.parent
LABEL_PYTHON = ROOT / ".venv-label" / "bin" / "python"
PORT = 18732


@dataclass(frozen=True)
class Visit:
    """What came of a visit.

    Args:
        folder: of the answers, by name of their request; server.log, studies, app and home are there too.
        statuses: HTTP status by name of the request.
    """

    folder: Path
    statuses: dict[str, int]

    def json(self, name: str) -> Any:
        """An answer that is JSON."""
        return json.loads((self.folder / name).read_bytes())


def visit(
    folder: Path,
    studies: str,
    requests: list[dict[str, Any]],
    *,
    films: Sequence[Path] = (),
    conf: dict[str, str],
    environment: dict[str, str] | None = None,
    login: bool = False,
) -> Visit:
    """Send requests to a server of its own; the test is skipped where there can be none.

    Args:
        folder: for everything that is written, the server's home included.
        studies: a folder, or the address of a DICOMweb server.
        requests: see ``tests.monailabel.visit``.
        films: for an Orthanc beside it.
        conf: of the app; its "python" is this one.
        environment: of the server.
        login: whether clients have to log in.
    """
    network = own_network()
    if not LABEL_PYTHON.exists():
        pytest.skip("the label server's environment is missing: make label-test builds it (8 GB) and runs this")
    if network is None:
        pytest.skip("no network namespaces here: unshare -n and unshare -rn both fail")
    for name in ("home", "tmp"):
        (folder / name).mkdir()
    shutil.copytree(ROOT / "monailabel", folder / "app", ignore=shutil.ignore_patterns("model", "logs", "bin"))
    server = [str(LABEL_PYTHON), str(folder / "app" / "serve.py"), "start_server", "--app", str(folder / "app")]
    server += ["--studies", studies]
    server += ["--host", "127.0.0.1", "--port", str(PORT)]
    for name, value in {"python": sys.executable, **conf}.items():
        server += ["--conf", name, value]
    realm = [str(LABEL_PYTHON), str(Path(__file__).parent / "realm.py"), str(REALM_PORT)] if login else []
    plan: dict[str, Any] = {"folder": str(folder), "server": server, "port": PORT, "realm": realm}
    plan |= {"requests": requests, "films": [str(film) for film in films]}
    plan["environment"] = {"HOME": str(folder / "home"), "TMPDIR": str(folder / "tmp"), **(environment or {})}
    if login:
        plan["environment"] |= {"MONAI_LABEL_AUTH_ENABLE": "true", "MONAI_LABEL_AUTH_REALM_URI": REALM}
    (folder / "plan.json").write_text(json.dumps(plan))
    command = [*network, sys.executable, "-m", "tests.monailabel.visit", str(folder / "plan.json")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    log = (folder / "server.log").read_text(errors="replace") if (folder / "server.log").exists() else ""
    assert done.returncode == 0, f"{done.stderr}\n{log[-3000:]}"
    return Visit(folder, json.loads((folder / "statuses.json").read_text()))


def infer(name: str, model: str, image: str = "", files: dict[str, str] | None = None, **settings: Any) -> dict[str, Any]:
    """A request for a volume; made-up chests have to be accepted."""
    fields = {"params": json.dumps({"accept": True, **settings})}
    path = f"/infer/{model}?{urlencode({'image': image, 'output': 'image'})}"
    return {"name": name, "method": "POST", "path": path, "fields": fields, "files": files or {}}


def train(name: str, **settings: Any) -> dict[str, Any]:
    """A request to train the first stage, answered when it is over."""
    return {"name": name, "method": "POST", "path": "/train/xct_stage1?run_sync=true", "json": settings}


def put_label(name: str, image: str, volume: str) -> dict[str, Any]:
    """A request to keep a volume as what an image really shows."""
    path = f"/datastore/label?{urlencode({'image': image, 'tag': 'final'})}"
    return {"name": name, "method": "PUT", "path": path, "files": {"label": volume}}

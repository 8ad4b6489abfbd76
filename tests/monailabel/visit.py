"""A client's visit to the label server: starts the real server on loopback, sends requests, keeps the answers.

``unshare -n python -m tests.monailabel.visit PLAN.json``; a program, as a test cannot enter a network namespace halfway. The
plan: "folder" for the answers, "server" (a command), "port", "environment", "films" (DICOM files for an Orthanc, which is
only started if there are any), "realm" (a command, or nothing) and "requests": {"name", "method", "path", "fields", "files",
"json", "headers", "who"}. The answer to a request
is the file NAME; statuses.json holds the HTTP status of each.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.network_namespace import bring_loopback_up
from tests.pacs.orthanc_server import PASSWORD, USER, WEB_PORT, orthanc

STARTS_WITHIN_S, ANSWERS_WITHIN_S = 180.0, 300.0
REALM_PORT = 18733
REALM = f"http://127.0.0.1:{REALM_PORT}/realm"
BOUNDARY = "between-the-parts-of-a-form"


def main(plan: dict[str, Any]) -> None:
    bring_loopback_up()
    folder, statuses = Path(plan["folder"]), {}
    with ExitStack() as opened:
        if plan["films"]:
            opened.enter_context(orthanc(folder))
            for film in plan["films"]:
                store(Path(film))
        realm = opened.enter_context(running(plan, "realm")) if plan["realm"] else None
        server = opened.enter_context(running(plan, "server"))
        if realm:
            await_answer(realm, REALM)
        await_answer(server, f"http://127.0.0.1:{plan['port']}/openapi.json")
        for request in plan["requests"]:
            if realm:
                request["headers"] = login(request.get("who", "user"))
            status, content = answer(f"http://127.0.0.1:{plan['port']}{request['path']}", request["method"], *body_of(request))
            (folder / request["name"]).write_bytes(content)
            statuses[request["name"]] = status
    (folder / "statuses.json").write_text(json.dumps(statuses))


def store(film: Path) -> None:
    login = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    headers = {"Authorization": f"Basic {login}", "Content-Type": "application/dicom"}
    request = urllib.request.Request(f"http://127.0.0.1:{WEB_PORT}/instances", film.read_bytes(), headers)
    urllib.request.urlopen(request, timeout=ANSWERS_WITHIN_S).close()


def login(who: str) -> dict[str, str]:
    """The header of a token; none for nobody."""
    if who == "nobody":
        return {}
    with urllib.request.urlopen(f"{REALM}/token/{who}", timeout=ANSWERS_WITHIN_S) as response:
        return {"Authorization": f"Bearer {json.loads(response.read())['token']}"}


@contextmanager
def running(plan: dict[str, Any], name: str) -> Iterator[subprocess.Popen[bytes]]:
    """One of the plan's commands, until the block ends."""
    with (Path(plan["folder"]) / f"{name}.log").open("wb") as log:
        environment = {**os.environ, **plan["environment"]}
        how: dict[str, Any] = {"stdout": log, "stderr": log, "env": environment, "cwd": plan["folder"]}
        process = subprocess.Popen(plan[name], **how)
        try:
            yield process
        finally:
            process.terminate()
            process.wait(timeout=STARTS_WITHIN_S)


def await_answer(server: subprocess.Popen[bytes], url: str) -> None:
    end = time.monotonic() + STARTS_WITHIN_S
    while time.monotonic() < end and server.poll() is None:
        if answers(url):
            return
        time.sleep(0.2)
    raise SystemExit("a server did not start; its log says why")


def answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=STARTS_WITHIN_S).close()
    except OSError:
        return False
    return True


def answer(url: str, method: str, body: bytes | None, headers: dict[str, str]) -> tuple[int, bytes]:
    """Status and content, whatever the status."""
    request = urllib.request.Request(url, body, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=ANSWERS_WITHIN_S) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def body_of(request: dict[str, Any]) -> tuple[bytes | None, dict[str, str]]:
    """The body with its headers: JSON, a form with texts and files, or nothing."""
    headers = dict(request.get("headers", {}))
    if "json" in request:
        return json.dumps(request["json"]).encode(), {**headers, "Content-Type": "application/json"}
    parts = []
    for name, text in request.get("fields", {}).items():
        parts.append(f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n'.encode())
    for name, path in request.get("files", {}).items():
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"; filename="{Path(path).name}"\r\n\r\n'
        parts += [head.encode(), Path(path).read_bytes(), b"\r\n"]
    if not parts:
        return None, headers
    return b"".join([*parts, f"--{BOUNDARY}--\r\n".encode()]), {
        **headers,
        "Content-Type": f"multipart/form-data; boundary={BOUNDARY}",
    }


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))

"""An HTTP server on loopback that answers as it is told: what a DICOMweb service says when things go wrong."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom

BOUNDARY = "between"
JSON = "application/dicom+json"
MULTIPART = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'


@dataclass(frozen=True)
class Answer:
    status: int = 200
    body: bytes = b""
    kind: str = JSON
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class WebServer:
    """Answers by method and end of the path; of a list each once, the last one for ever. Requests are kept."""

    answers: dict[str, list[Answer]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    authorizations: list[str | None] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    port: int = 0

    def url(self, scheme: str = "http") -> str:
        return f"{scheme}://127.0.0.1:{self.port}/dicom-web"

    def answer(self, method: str, path: str) -> Answer:
        key = next((key for key in self.answers if key.split()[0] == method and path.endswith(key.split()[1])), None)
        if key is None:
            return Answer(404)
        answers = self.answers[key]
        return answers.pop(0) if len(answers) > 1 else answers[0]


@contextmanager
def web_server(answers: dict[str, Answer | list[Answer]], certificate: Path | None = None) -> Iterator[WebServer]:
    """The server, with TLS if ``certificate`` (with its key) is given."""
    served = WebServer({key: one if isinstance(one, list) else [one] for key, one in answers.items()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(served))
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    served.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(served: WebServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            served.requests.append(f"{self.command} {self.path}")
            served.authorizations.append(self.headers.get("Authorization"))
            served.bodies.append(body)
            answer = served.answer(self.command, self.path.partition("?")[0])
            self.send_response(answer.status)
            for name, value in {"Content-Type": answer.kind, "Content-Length": str(len(answer.body)), **answer.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body)

        do_GET = do_POST = do_OPTIONS = _any

        def log_message(self, *_: Any) -> None:
            pass

    return Handler


def as_json(*datasets: pydicom.Dataset) -> Answer:
    return Answer(body=json.dumps([one.to_json_dict(bulk_data_threshold=1 << 40) for one in datasets]).encode())


def as_parts(*datasets: pydicom.Dataset) -> Answer:
    body = b""
    for one in datasets:
        buffer = BytesIO()
        pydicom.dcmwrite(buffer, one, enforce_file_format=True)
        body += f"\r\n--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode() + buffer.getvalue()
    return Answer(body=body + f"\r\n--{BOUNDARY}--".encode(), kind=MULTIPART)

"""A realm that signs tokens, as Keycloak would; run by the label server's Python, which alone has the libraries.

``python realm.py PORT``: /realm tells the public key; /realm/token/user, stranger and forged give a token: of a user, of
someone without a role, and one that another key has signed.
"""

from __future__ import annotations

import base64
import importlib
import json
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

ROLES = {"user": ["monailabel-user", "monailabel-admin", "monailabel-annotator"], "stranger": [], "forged": ["monailabel-user"]}


class Realm:
    """Two keys: its own, and one that is nobody's."""

    def __init__(self) -> None:
        rsa = importlib.import_module("cryptography.hazmat.primitives.asymmetric.rsa")
        self._key, self._other_key = (rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2))

    def public_key(self) -> str:
        forms = importlib.import_module("cryptography.hazmat.primitives.serialization")
        der = self._key.public_key().public_bytes(forms.Encoding.DER, forms.PublicFormat.SubjectPublicKeyInfo)
        return base64.b64encode(der).decode()

    def token(self, who: str) -> str:
        claims: dict[str, Any] = {"preferred_username": who, "email": "", "name": who, "realm_access": {"roles": ROLES[who]}}
        claims["exp"] = int(time.time()) + 3600
        key = self._other_key if who == "forged" else self._key
        return str(importlib.import_module("jwt").encode(claims, key, algorithm="RS256"))


def serve(port: int) -> None:
    realm = Realm()

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            *_, kind, last = self.path.split("/")
            answer = {"token": realm.token(last)} if kind == "token" else {"public_key": realm.public_key()}
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *_: Any) -> None:
            """Tokens are not logged."""

    HTTPServer(("127.0.0.1", port), Answers).serve_forever()


if __name__ == "__main__":
    serve(int(sys.argv[1]))

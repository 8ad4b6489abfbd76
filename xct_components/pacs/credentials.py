"""Who we are to a DICOMweb service, and whom we trust: from the environment or ~/.netrc, never from the command line.

``XCT_PACS_USER`` with ``XCT_PACS_PASSWORD``, or ``XCT_PACS_TOKEN`` (a bearer token); else the server's entry in ~/.netrc (or
the file that NETRC names). No message holds any of it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from xct_components.failures import UsageFailure

if TYPE_CHECKING:
    from requests import PreparedRequest
    from requests.auth import AuthBase

    from xct_components.pacs.address import WebAddress

#: Names of the environment: of the server that films come from, and of another one that results go to.
SOURCE, TARGET = "XCT_PACS", "XCT_PACS_TO"
#: The certificates (PEM) of a hospital's own authority.
CA_VARIABLE = "XCT_PACS_CA_BUNDLE"


def credentials(address: WebAddress, prefix: str) -> AuthBase | None:
    """What to show to a server; None: nothing.

    Args:
        address: the service; its host is looked up in ~/.netrc.
        prefix: ``SOURCE`` or ``TARGET``: a password of one server is not sent to another.

    Raises:
        UsageFailure: if the environment holds half of a pair, both kinds, or a token that cannot be one.
    """
    from requests.auth import HTTPBasicAuth
    from requests.utils import get_netrc_auth

    user, password, token = (os.environ.get(f"{prefix}_{what}") for what in ("USER", "PASSWORD", "TOKEN"))
    if (user is None) != (password is None) or (token and user is not None):
        raise UsageFailure(f"set {prefix}_USER and {prefix}_PASSWORD, or {prefix}_TOKEN alone, in the environment")
    if token:
        if not token.isascii() or not token.isprintable() or " " in token:
            raise UsageFailure(f"{prefix}_TOKEN must be one word of printable ASCII; is there a line break at its end?")
        return _bearer(token)
    found = (user, password) if user is not None and password is not None else get_netrc_auth(address.url)
    return HTTPBasicAuth(found[0].encode(), found[1].encode()) if found else None


def trusted_certificates() -> str | None:
    """The file of ``CA_VARIABLE``; None: the usual public authorities.

    Raises:
        UsageFailure: if it is missing or holds no certificate.
    """
    import ssl

    path = os.environ.get(CA_VARIABLE)
    if not path:
        return None
    try:
        ssl.create_default_context(cafile=str(Path(path).expanduser()))
    except OSError as error:  # ssl.SSLError is one
        raise UsageFailure(f"{CA_VARIABLE} must name a readable file of certificates (PEM)") from error
    return str(Path(path).expanduser())


def _bearer(token: str) -> AuthBase:
    from requests.auth import AuthBase

    class Bearer(AuthBase):
        def __call__(self, request: PreparedRequest) -> PreparedRequest:
            request.headers["Authorization"] = f"Bearer {token}"
            return request

    return Bearer()

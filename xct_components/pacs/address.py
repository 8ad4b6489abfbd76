"""Where a PACS is: a DICOMweb URL, or an application entity ``dicom://AETITLE@host:port``.

Nothing secret fits into an address: neither a password nor a query. Patient data leave the machine encrypted: plain http
needs a loopback address or the user's word; a plain association, which is what most hospitals run inside, is a warning.
"""

from __future__ import annotations

import ipaddress
import re
import warnings as python_warnings
from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, urlsplit

from xct_components.failures import InputWarning, UsageFailure

#: Application entity titles (PS3.5, 6.2): printable ASCII without backslash, no blank at either end.
_AE_TITLE = re.compile(r"[!-\[\]-~]([ -\[\]-~]{0,14}[!-\[\]-~])?")
_FORM = "https://host/path for DICOMweb, dicom://AETITLE@host:port or, with TLS, dicoms://AETITLE@host:port for C-STORE"


@dataclass(frozen=True)
class WebAddress:
    """A DICOMweb service.

    Args:
        url: without slash at the end.
        origin: scheme, host and port.
    """

    url: str
    origin: tuple[str, str, int]

    @property
    def host(self) -> str:
        """Host and port, as messages name the server."""
        return urlsplit(self.url).netloc


@dataclass(frozen=True)
class EntityAddress:
    """An application entity that takes C-STORE.

    Args:
        ae_title: what it is called.
        machine: its host name or address.
        port: 1 to 65535.
        tls: whether the association is encrypted.
    """

    ae_title: str
    machine: str
    port: int
    tls: bool = False

    @property
    def host(self) -> str:
        """Host and port, as messages name the server."""
        return f"{self.machine}:{self.port}"


def web_address(text: str, *, option: str, allow_http: bool = False) -> WebAddress:
    """The DICOMweb service that a user names.

    Args:
        text: https://host[:port]/path.
        option: name of the option, for messages.
        allow_http: whether http may leave this machine.

    Raises:
        UsageFailure: if it is none, holds a secret, or would send patient data unencrypted.

    Example:
        >>> web_address("https://pacs.example.org/dicom-web/", option="from").url
        'https://pacs.example.org/dicom-web'
    """
    parts, port = _parts(text, option)
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise UsageFailure(
            f"{option} must be a URL without user, password, query or fragment; credentials come from the environment or "
            "~/.netrc (docs/pacs.md)"
        )
    if parts.scheme not in ("http", "https"):
        raise UsageFailure(f"{option} must be a DICOMweb URL, https://host/path, got {parts.scheme or 'no'} scheme")
    machine = str(parts.hostname)
    if parts.scheme == "http" and not is_loopback(machine):
        if not allow_http:
            raise UsageFailure(
                f"{option} must be https: http would send patient data unencrypted to {parts.netloc}; --allow_http if the "
                "network is trusted"
            )
        _warn_of_plain_text(parts.netloc)
    origin = (parts.scheme, machine, port or (443 if parts.scheme == "https" else 80))
    return WebAddress(f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}", origin)


def destination(text: str, *, allow_http: bool = False) -> WebAddress | EntityAddress:
    """Where results go: a DICOMweb service or an application entity.

    Raises:
        UsageFailure: as for ``web_address``; or for an AE title or port that cannot be.

    Example:
        >>> destination("dicom://ARCHIVE@127.0.0.1:11112")
        EntityAddress(ae_title='ARCHIVE', machine='127.0.0.1', port=11112, tls=False)
    """
    parts, port = _parts(text, "to")
    if parts.scheme not in ("dicom", "dicoms"):
        return web_address(text, option="to", allow_http=allow_http)
    if parts.password is not None or parts.path.strip("/") or parts.query or parts.fragment or not port:
        raise UsageFailure(f"to must be {_FORM}; a password, a path, a query or a missing port cannot be meant")
    title = ae_title(unquote(parts.username or ""), "the AE title in to")
    machine, tls = str(parts.hostname), parts.scheme == "dicoms"
    if not tls and not is_loopback(machine):
        _warn_of_plain_text(parts.netloc.rpartition("@")[2])
    return EntityAddress(title, machine, port, tls)


def ae_title(text: str, what: str) -> str:
    """An application entity title.

    Raises:
        UsageFailure: if it is none.
    """
    if not _AE_TITLE.fullmatch(text):
        raise UsageFailure(f"{what} must be 1 to 16 printable ASCII characters without backslash, got {text!r}")
    return text


def is_loopback(machine: str) -> bool:
    """Whether an address never leaves this machine.

    Example:
        >>> [is_loopback(one) for one in ("localhost", "127.0.0.2", "::1", "pacs.example.org")]
        [True, True, True, False]
    """
    try:
        return machine == "localhost" or ipaddress.ip_address(machine).is_loopback
    except ValueError:
        return False


def _parts(text: str, option: str) -> tuple[SplitResult, int | None]:
    """The parts of a URL that has a host; a message never quotes it, as it may hold a password."""
    try:
        parts = urlsplit(text)
        port, machine = parts.port, parts.hostname
    except ValueError:
        port, machine, parts = None, None, SplitResult("", "", "", "", "")
    if not machine or not text.isascii() or not text.isprintable() or " " in text or "\\" in text:
        raise UsageFailure(f"{option} must be an address, {_FORM}")
    return parts, port


def _warn_of_plain_text(host: str) -> None:
    note = f"patient data travel unencrypted to {host}: use https or dicoms unless the network is trusted"
    python_warnings.warn(note, InputWarning, stacklevel=3)

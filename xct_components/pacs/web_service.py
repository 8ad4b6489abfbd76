"""A DICOMweb service: a client that verifies, does not wander, repeats only what may be repeated, and fails in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from xct_components.failures import Failure, UnreadableInput
from xct_components.pacs.credentials import credentials, trusted_certificates
from xct_components.pacs.quiet_libraries import quiet_libraries

if TYPE_CHECKING:
    import requests
    from dicomweb_client.web import DICOMwebClient
    from requests import Response, Session

    from xct_components.pacs.address import WebAddress

#: Seconds to connect, and between two pieces of an answer.
TIMEOUT_S = (10.0, 120.0)
#: A GET is repeated so often, after 0, 1 and 2 seconds, if the connection breaks or the server is busy.
REPEATS, BACKOFF_S = 3, 0.5
BUSY = (429, 502, 503, 504)
#: Above the largest request of ours: no chunked transfer, which not every server takes.
LARGEST_REQUEST_BYTES = 1 << 30
_JSON = "application/dicom+json"


def web_client(address: WebAddress, session: Session) -> DICOMwebClient:
    """A client of a service.

    Args:
        address: the service.
        session: of ``web_session``.
    """
    with quiet_libraries():
        from dicomweb_client.web import DICOMwebClient

        # permissive_uid: UIDs are checked by ``uids``; real servers hold some with leading zeros.
        client = DICOMwebClient(
            address.url, session=session, timeout=TIMEOUT_S, permissive_uid=True, chunk_size=LARGEST_REQUEST_BYTES
        )
    client.set_http_retry_params(retry=False)  # it would repeat a POST too
    client.host = address.host  # it would send the Host header without the port
    return client


@contextmanager
def explained(address: WebAddress, what: str, kind: type[Failure] = UnreadableInput) -> Iterator[None]:
    """Failures of a request as one line without URL, UID or whatever the server said: it may name a patient.

    Args:
        address: the service.
        what: what is asked for, as a message names it.
        kind: of the failure.

    Raises:
        Failure: of the given kind.
    """
    import requests

    try:
        with quiet_libraries():
            yield
    except Failure:
        raise
    except requests.HTTPError as error:
        raise kind(f"{address.host} did not give {what}: {_reason(status_of(error))}") from None
    except requests.exceptions.SSLError:
        way_out = "XCT_PACS_CA_BUNDLE names the certificates of your own authority"
        raise kind(f"the TLS certificate of {address.host} cannot be verified; {way_out}") from None
    except requests.TooManyRedirects:
        raise kind(f"{address.host} redirects elsewhere, which is not followed; name the address it redirects to") from None
    except (requests.ConnectionError, requests.Timeout) as error:
        slow = "answers too slowly" if isinstance(error, requests.Timeout) else "cannot be reached, or broke off"
        raise kind(f"{address.host} {slow}; is the address right, and the server up?") from None
    except Exception as error:  # malformed answers fail in a dozen ways, and say what they hold
        raise kind(f"{address.host} answered with something else than {what} ({type(error).__name__})") from None


def web_session(address: WebAddress, prefix: str) -> Session:
    """What all requests to a service share.

    Args:
        address: the service.
        prefix: whose credentials, see ``credentials``.

    Raises:
        UsageFailure: for credentials or certificates that cannot be meant.
    """
    import requests
    from requests.adapters import HTTPAdapter
    from urllib3.util import Retry

    session = requests.Session()
    # The environment's REQUESTS_CA_BUNDLE would silently win over ``verify``, and its proxies would see patient data.
    session.trust_env = False
    session.verify = trusted_certificates() or True
    session.auth = credentials(address, prefix)
    session.max_redirects = 0
    session.headers["Accept"] = _JSON
    session.hooks["response"] = [_without_parameters]
    retries = Retry(
        REPEATS, allowed_methods=["GET"], status_forcelist=BUSY, backoff_factor=BACKOFF_S, redirect=False,
        raise_on_status=False, respect_retry_after_header=False,
    )  # fmt: skip
    for scheme in ("http://", "https://"):
        session.mount(scheme, HTTPAdapter(max_retries=retries))
    return session


def status_of(error: requests.HTTPError) -> int:
    """The HTTP status of a failure."""
    return 0 if error.response is None else error.response.status_code


def _without_parameters(response: Response, *_: Any, **__: Any) -> Response:
    """The client reads an answer to STOW-RS only if its type is bare: with "; charset=utf-8" it would see no failure."""
    bare = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if bare in (_JSON, "application/json", "application/dicom+xml", "application/xml"):
        response.headers["Content-Type"] = bare
    return response


def _reason(status: int) -> str:
    if status in (401, 403):
        how = "set XCT_PACS_USER and XCT_PACS_PASSWORD (XCT_PACS_TO_... for another target), or ~/.netrc (docs/pacs.md)"
        return f"it refuses these credentials (HTTP {status}); {how}"
    if status == 404:
        return "it has no such thing (HTTP 404); are UID and address right?"
    return f"HTTP {status}"

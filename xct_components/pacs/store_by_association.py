"""C-STORE: images to an application entity; each one counts when its status says that it is stored (PS3.4, B.2.3)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xct_components.failures import CannotWrite
from xct_components.pacs.credentials import trusted_certificates
from xct_components.pacs.quiet_libraries import quiet_libraries
from xct_components.pacs.storage import OnSent, Storage

if TYPE_CHECKING:
    from xct_components.pacs.address import EntityAddress

#: Seconds to connect, to negotiate, for one image, and for which a line may be silent.
CONNECT_S, NEGOTIATE_S, IMAGE_S, SILENCE_S = 10.0, 30.0, 120.0, 120.0
SUCCESS, WARNINGS = 0x0000, range(0xB000, 0xC000)


def require_entity(address: EntityAddress, calling: str) -> None:
    """Refuse an entity that cannot be reached or takes no CT images, before a CT is computed for it.

    Args:
        address: of the entity.
        calling: our own AE title.

    Raises:
        CannotWrite: with the reason.
    """
    with association(address, calling) as joined:
        from pydicom.uid import CTImageStorage

        if CTImageStorage not in {context.abstract_syntax for context in joined.accepted_contexts}:
            raise CannotWrite(f"{address.ae_title} at {address.host} does not accept CT images")


def store_by_association(
    address: EntityAddress, calling: str, paths: Sequence[Path], storage: Storage, on_sent: OnSent
) -> None:
    """Store DICOM files over one association.

    Args:
        address: of the entity.
        calling: our own AE title.
        paths: files that we wrote.
        storage: the count, which grows.
        on_sent: called after each image.
    """
    try:
        with association(address, calling) as joined:
            for path in paths:
                if not _store(joined, path, storage):
                    storage.failed("it gave no answer in time, or ended the association")
                    break
                on_sent(1)
    except CannotWrite as failure:
        storage.failed(str(failure))


@contextmanager
def association(address: EntityAddress, calling: str) -> Iterator[Any]:
    """An association for storage, released at the end of the block.

    Raises:
        CannotWrite: if there is none to be had.
    """
    with quiet_libraries():
        from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian, ParametricMapStorage
        from pynetdicom import AE, evt

        entity = AE(ae_title=calling)
        entity.connection_timeout, entity.acse_timeout = CONNECT_S, NEGOTIATE_S
        entity.dimse_timeout, entity.network_timeout = IMAGE_S, SILENCE_S
        for kind in (CTImageStorage, ParametricMapStorage):
            entity.add_requested_context(kind, [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
        tls = (_tls_context(), address.machine) if address.tls else None
        joined = entity.associate(
            address.machine,
            address.port,
            ae_title=address.ae_title,
            tls_args=tls,
            evt_handlers=[(evt.EVT_CONN_OPEN, _send_at_once)],
        )
        try:
            if not joined.is_established:
                raise CannotWrite(_no_association(joined, address, calling))
            yield joined
        finally:
            if joined.is_established:
                joined.release()


def _send_at_once(event: Any) -> None:
    """No part of a message waits until the part before is acknowledged: 48 instead of 89 ms an image to Orthanc."""
    import socket

    event.assoc.dul.socket.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _store(joined: Any, path: Path, storage: Storage) -> bool:
    """One image; what is said of it goes into the count. Whether the association still stands.

    An association that the other side has left still calls itself established for a while: without an answer no further image
    is sent, as it would wait for its whole time.
    """
    try:
        status = joined.send_c_store(path).get("Status")
    except ValueError:
        storage.failed("it does not accept this kind of object")
        return True
    except RuntimeError:  # no longer established
        return False
    if status == SUCCESS or status in WARNINGS:
        storage.stored += 1
        storage.changed += status in WARNINGS
    elif status is not None:
        storage.failed(f"C-STORE status {status:#06x}")
    return status is not None


def _tls_context() -> Any:
    import ssl

    return ssl.create_default_context(cafile=trusted_certificates())


def _no_association(joined: Any, address: EntityAddress, calling: str) -> str:
    if joined.is_rejected:
        return f"{address.host} rejected the association: does it know {calling} (--calling), and is it {address.ae_title}?"
    tls = ", and its TLS certificate one that XCT_PACS_CA_BUNDLE covers" if address.tls else ""
    return f"no association with {address.host}: is the address right, the server up{tls}?"

"""Where a series goes: a DICOMweb service or an application entity, one face for both."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from xct_components.pacs.address import EntityAddress, WebAddress, ae_title, destination
from xct_components.pacs.credentials import SOURCE, TARGET
from xct_components.pacs.storage import OnSent, Storage
from xct_components.pacs.store_by_association import require_entity, store_by_association
from xct_components.pacs.store_over_web import require_web_store, store_over_web
from xct_components.pacs.web_service import web_client, web_session

if TYPE_CHECKING:
    from requests import Session


@dataclass(frozen=True)
class SeriesTarget(ABC):
    """A server that takes images.

    Args:
        address: of the server.
    """

    address: WebAddress | EntityAddress

    @abstractmethod
    def require_ready(self) -> None:
        """Refuse a server that will not take the images, before they are computed.

        Raises:
            CannotWrite: with the reason.
        """

    @abstractmethod
    def send(self, paths: Sequence[Path], storage: Storage, on_sent: OnSent) -> None:
        """Store what can be stored and count it."""

    def store(self, paths: Sequence[Path], on_sent: OnSent) -> None:
        """Store all images.

        Args:
            paths: DICOM files that we wrote.
            on_sent: called with the number of images that were sent since the last call.

        Raises:
            CannotWrite: if none is stored.
            PartlyStored: if some are.
            StoppedStoring: if the user interrupts.
        """
        storage = Storage(self.address.host, len(paths))
        try:
            self.send(paths, storage, on_sent)
        except KeyboardInterrupt:
            raise storage.stopped() from None
        storage.require_complete()


@dataclass(frozen=True)
class WebTarget(SeriesTarget):
    """A DICOMweb service.

    Args:
        session: of ``web_session``.
    """

    address: WebAddress
    session: Session

    def require_ready(self) -> None:
        """See the base class."""
        require_web_store(self.session, self.address)

    def send(self, paths: Sequence[Path], storage: Storage, on_sent: OnSent) -> None:
        """See the base class."""
        store_over_web(web_client(self.address, self.session), self.address, paths, storage, on_sent)


@dataclass(frozen=True)
class EntityTarget(SeriesTarget):
    """An application entity.

    Args:
        calling: our own AE title.
    """

    address: EntityAddress
    calling: str

    def require_ready(self) -> None:
        """See the base class."""
        require_entity(self.address, self.calling)

    def send(self, paths: Sequence[Path], storage: Storage, on_sent: OnSent) -> None:
        """See the base class."""
        store_by_association(self.address, self.calling, paths, storage, on_sent)


def series_target(text: str, source: WebAddress | None, *, calling: str = "XCT", allow_http: bool = False) -> SeriesTarget:
    """The server that a user names.

    Args:
        text: an address.
        source: where the film comes from: its credentials are used for the same server only. None: from this machine, so
            that there is one server and one name for its credentials.
        calling: our own AE title.
        allow_http: see ``web_address``.

    Raises:
        UsageFailure: for what cannot be meant.
    """
    address = destination(text, allow_http=allow_http)
    if isinstance(address, EntityAddress):
        return EntityTarget(address, ae_title(calling, "calling"))
    is_other = source is not None and address.origin != source.origin
    return WebTarget(address, web_session(address, TARGET if is_other else SOURCE))

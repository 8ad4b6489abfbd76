"""STOW-RS: images into a DICOMweb service, a few megabytes a request; each one counts when the answer names it as stored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xct_components.failures import CannotWrite
from xct_components.pacs.storage import OnSent, Storage
from xct_components.pacs.web_service import TIMEOUT_S, explained

if TYPE_CHECKING:
    from dicomweb_client.web import DICOMwebClient
    from requests import Session

    from xct_components.pacs.address import WebAddress

#: Of one request; many servers and proxies refuse hundreds of megabytes.
REQUEST_BYTES = 8 << 20
#: Answers to STOW-RS that list what failed (PS3.18, 10.5.3).
_CONFLICT = 409


def require_web_store(session: Session, address: WebAddress) -> None:
    """Refuse a service that cannot be reached or does not know us, before a CT is computed for it.

    Raises:
        CannotWrite: with the reason.
    """
    with explained(address, "access", CannotWrite):
        response = session.options(f"{address.url}/studies", timeout=TIMEOUT_S)
        if response.status_code == 401:  # other answers say nothing of POST: not every server knows OPTIONS
            response.raise_for_status()


def store_over_web(
    client: DICOMwebClient, address: WebAddress, paths: Sequence[Path], storage: Storage, on_sent: OnSent
) -> None:
    """Store DICOM files. A request that failed is not repeated: nobody knows what became of it.

    Args:
        client: of ``web_client``.
        address: the service.
        paths: files that we wrote.
        storage: the count, which grows.
        on_sent: called after each request.
    """
    for batch in _batches(paths):
        try:
            _store(client, address, batch, storage)
        except CannotWrite as failure:
            storage.failed(str(failure))
            return
        on_sent(len(batch))


def _store(client: DICOMwebClient, address: WebAddress, batch: Sequence[Path], storage: Storage) -> None:
    import pydicom
    import requests

    images = {str(image.SOPInstanceUID): image for image in (pydicom.dcmread(path) for path in batch)}
    with explained(address, "a confirmation of what was stored", CannotWrite):
        try:
            answer = client.store_instances(list(images.values()))
        except requests.HTTPError as error:
            if error.response is None or error.response.status_code != _CONFLICT:
                raise
            answer = pydicom.Dataset.from_json(error.response.json())
        failed = {str(one.ReferencedSOPInstanceUID): _reason(one) for one in _items(answer, "FailedSOPSequence")}
        stored = [one for one in _items(answer, "ReferencedSOPSequence") if str(one.ReferencedSOPInstanceUID) in images]
    confirmed = {str(one.ReferencedSOPInstanceUID) for one in stored} - set(failed)
    storage.stored += len(confirmed)
    storage.changed += sum(str(one.ReferencedSOPInstanceUID) in confirmed and "WarningReason" in one for one in stored)
    for reason in failed.values():
        storage.failed(reason)
    if len(confirmed) + len(failed) < len(images):
        storage.failed("its answer does not name all images")


def _items(answer: Any, keyword: str) -> Sequence[Any]:
    return answer.get(keyword) or ()


def _reason(item: Any) -> str:
    code = item.get("FailureReason")
    return "it gave no reason" if code is None else f"failure reason {int(code):#06x}"


def _batches(paths: Sequence[Path]) -> Iterator[list[Path]]:
    """Files of at most ``REQUEST_BYTES`` together; a larger file alone."""
    batch: list[Path] = []
    size = 0
    for path in paths:
        length = path.stat().st_size
        if batch and size + length > REQUEST_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(path)
        size += length
    if batch:
        yield batch

"""C-STORE to real application entities on loopback: what they accept, refuse, change, and how they break off."""

from __future__ import annotations

import ssl
import subprocess
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian, ParametricMapStorage

from tests.pacs.made_studies import SECRETS, written_series
from xct_components.failures import CannotWrite, InputWarning
from xct_components.pacs.address import web_address
from xct_components.pacs.series_target import SeriesTarget, series_target
from xct_components.pacs.storage import PartlyStored

ELSEWHERE = web_address("https://films.example.org/rs", option="from")
BOTH = (CTImageStorage, ParametricMapStorage)


@dataclass
class Entity:
    """What an application entity got, and where it is."""

    port: int = 0
    images: list[pydicom.Dataset] = field(default_factory=list)

    def target(self, scheme: str = "dicom", title: str = "ARCHIVE", calling: str = "XCT") -> SeriesTarget:
        return series_target(f"{scheme}://{title}@127.0.0.1:{self.port}", ELSEWHERE, calling=calling)


@contextmanager
def entity(
    status: Callable[[Any, int], int | None] = lambda _event, _number: 0x0000,
    kinds: tuple[str, ...] = BOTH,
    syntax: str = ExplicitVRLittleEndian,
    **listening: Any,
) -> Iterator[Entity]:
    """An entity that answers the n-th image with ``status``; None: it aborts."""
    from pynetdicom import AE, evt

    server, got = AE(ae_title="ARCHIVE"), Entity()
    server.require_called_aet, server.require_calling_aet = True, ["XCT"]
    for kind in kinds:
        server.add_supported_context(kind, syntax)

    def stored(event: Any) -> int:
        image = event.dataset
        image.file_meta = event.file_meta
        got.images.append(image)
        answer = status(event, len(got.images))
        if answer is None:
            event.assoc.abort()
        return answer or 0x0000

    listener = server.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, stored)], **listening)
    assert listener is not None
    got.port = listener.server_address[1]
    try:
        yield got
    finally:
        listener.shutdown()


def store(target: SeriesTarget, paths: list[Path]) -> int:
    sent: list[int] = []
    target.require_ready()
    target.store(paths, sent.append)
    return sum(sent)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_a_series_and_its_map_arrive_as_they_are(syntax, tmp_path):
    paths = written_series(tmp_path, with_map=True)
    with entity(syntax=syntax) as archive, warnings.catch_warnings():
        warnings.simplefilter("error")
        assert store(archive.target(), paths) == 4
    assert archive.images == [pydicom.dcmread(path) for path in paths]
    assert {image.file_meta.TransferSyntaxUID for image in archive.images} == {syntax}


def test_an_entity_that_takes_no_maps_gets_the_series(tmp_path):
    paths = written_series(tmp_path, with_map=True)
    with (
        entity(kinds=(CTImageStorage,)) as archive,
        pytest.raises(PartlyStored, match="3 of 4 images: it does not accept this kind of object"),
    ):
        store(archive.target(), paths)


def test_an_entity_that_takes_no_ct_images_is_found_out_before_one_is_computed():
    with entity(kinds=(ParametricMapStorage,)) as archive, pytest.raises(CannotWrite, match="does not accept CT images"):
        archive.target().require_ready()


@pytest.mark.parametrize("how", [{"title": "NOBODY"}, {"calling": "STRANGER"}])
def test_an_entity_that_does_not_know_one_of_us_is_named_with_both_titles(how):
    with entity() as archive, pytest.raises(CannotWrite, match=r"rejected the association: does it know \w+ \(--calling"):
        archive.target(**how).require_ready()


def test_a_refused_image_makes_the_series_a_part(tmp_path):
    paths = written_series(tmp_path)
    with (
        entity(lambda _, number: 0xA700 if number == 2 else 0x0000) as archive,
        pytest.raises(PartlyStored, match="confirmed 2 of 3 images: C-STORE status 0xa700") as caught,
    ):
        store(archive.target(), paths)
    assert not any(secret in str(caught.value) for secret in SECRETS)


def test_a_series_of_which_every_image_is_refused_cannot_be_written(tmp_path):
    paths = written_series(tmp_path)
    with entity(lambda *_: 0x0124) as archive, pytest.raises(CannotWrite, match="none of 3 images: C-STORE status 0x0124"):
        store(archive.target(), paths)


def test_an_entity_that_breaks_off_has_a_part(tmp_path):
    paths = written_series(tmp_path)
    with (
        entity(lambda _, number: None if number == 2 else 0x0000) as archive,
        pytest.raises(PartlyStored, match=r"1 of 3 images: .*ended the association"),
    ):
        store(archive.target(), paths)


def test_a_warning_of_the_entity_is_one_of_ours(tmp_path):
    paths = written_series(tmp_path)
    with entity(lambda *_: 0xB000) as archive, pytest.warns(InputWarning, match="3 of 3 images with a warning"):
        assert store(archive.target(), paths) == 3


def test_an_entity_that_is_gone_is_said_before_and_after(tmp_path):
    paths = written_series(tmp_path)
    with entity() as archive:
        target = archive.target()
    with pytest.raises(CannotWrite, match="no association with 127"):
        target.require_ready()
    with pytest.raises(CannotWrite, match="none of 3 images: no association"):
        target.store(paths, print)


def test_an_association_over_tls_verifies_the_certificate(tmp_path, monkeypatch):
    pem = tmp_path / "server.pem"
    subject = ["-subj", "/CN=pacs", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", *subject]
    subprocess.run([*new, "-keyout", str(pem), "-out", str(pem)], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    paths = written_series(tmp_path)
    monkeypatch.delenv("XCT_PACS_CA_BUNDLE", raising=False)
    with entity(ssl_context=context) as archive:
        with pytest.raises(CannotWrite, match="XCT_PACS_CA_BUNDLE"):
            archive.target("dicoms").require_ready()
        with pytest.raises(CannotWrite, match="no association"):
            archive.target("dicom").require_ready()
        monkeypatch.setenv("XCT_PACS_CA_BUNDLE", str(pem))
        assert store(archive.target("dicoms"), paths) == 3

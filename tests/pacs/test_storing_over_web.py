"""STOW-RS: an image is stored when the answer says so, and what was stored in part is said."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import pydicom
import pytest

from tests.pacs.made_studies import SECRETS, instance_of, written_series
from tests.pacs.web_server import JSON, Answer, WebServer, web_server
from xct_components.failures import CannotWrite, ExitCode, InputWarning
from xct_components.pacs.address import web_address
from xct_components.pacs.series_target import series_target
from xct_components.pacs.storage import PartlyStored, StoppedStoring

ELSEWHERE = web_address("https://films.example.org/rs", option="from")


def answer(
    stored: list[Path], failed: list[Path] | None = None, status: int = 200, kind: str = JSON, warn: int | None = None
) -> Answer:
    """What a server says of the images (PS3.18, 10.5.3)."""
    said = pydicom.Dataset()
    said.ReferencedSOPSequence = [_item(path, WarningReason=warn) for path in stored]
    said.FailedSOPSequence = [_item(path, FailureReason=0x0124) for path in failed or []]
    return Answer(status, said.to_json().encode(), kind)


def _item(path: Path, **reasons: int | None) -> pydicom.Dataset:
    item = pydicom.Dataset()
    item.ReferencedSOPInstanceUID = instance_of(path)
    for keyword, value in reasons.items():
        if value is not None:
            setattr(item, keyword, value)
    return item


def store(server: WebServer, paths: list[Path]) -> int:
    sent: list[int] = []
    series_target(server.url(), ELSEWHERE).store(paths, sent.append)
    return sum(sent)


@pytest.mark.parametrize("kind", [JSON, "application/json", f"{JSON}; charset=utf-8", "Application/DICOM+JSON"])
def test_a_series_that_the_answer_names_is_stored(kind, tmp_path):
    paths = written_series(tmp_path)
    with web_server({"POST /studies": answer(paths, kind=kind)}) as server, warnings.catch_warnings():
        warnings.simplefilter("error")
        assert store(server, paths) == 3
    (body,) = server.bodies
    assert all(path.read_bytes()[132:] in body for path in paths)  # as they are; only the preamble may differ


def test_a_long_series_travels_in_several_requests(tmp_path, monkeypatch):
    paths = written_series(tmp_path, slices=5)
    monkeypatch.setattr("xct_components.pacs.store_over_web.REQUEST_BYTES", 2 * paths[0].stat().st_size)
    with web_server({"POST /studies": [answer(paths[:2]), answer(paths[2:4]), answer(paths[4:])]}) as server:
        assert store(server, paths) == 5
    assert [len(re.findall(rb"\r\nContent-Type: application/dicom\r\n", body)) for body in server.bodies] == [2, 2, 1]


@pytest.mark.parametrize("kind", [JSON, f"{JSON}; charset=utf-8"])
def test_a_series_stored_in_part_is_a_failure_of_its_own(kind, tmp_path):
    paths = written_series(tmp_path)
    with (
        web_server({"POST /studies": answer(paths[:1], paths[1:], 202, kind)}) as server,
        pytest.raises(PartlyStored, match="confirmed 1 of 3 images: failure reason 0x0124") as caught,
    ):
        store(server, paths)
    assert caught.value.exit_code == ExitCode.PARTIAL
    assert not any(secret in str(caught.value) for secret in SECRETS)


def test_an_image_named_as_stored_and_as_failed_is_not_stored(tmp_path):
    paths = written_series(tmp_path)
    said = answer(paths, paths[2:])
    with web_server({"POST /studies": said}) as server, pytest.raises(PartlyStored, match="2 of 3"):
        store(server, paths)


NOTHING_STORED: dict[str, tuple[Answer | None, str]] = {
    "all refused": (None, "0x0124"),
    "an answer without a word": (Answer(200), "does not name all"),
    "an answer that is no DICOM": (Answer(200, b"<html>Doe^Jane</html>", "text/html"), "does not name all"),
    "an answer that is no JSON": (Answer(200, b"<html>Doe^Jane</html>"), "something else"),
    "a conflict without a word": (Answer(409, b""), "something else"),
    "wrong credentials": (Answer(401), "HTTP 401"),
    "no rights": (Answer(403), "HTTP 403"),
    "no such service": (Answer(404), "HTTP 404"),
    "too large": (Answer(413), "HTTP 413"),
    "a redirect": (Answer(307, headers={"Location": "/elsewhere"}), "redirects"),
}


@pytest.mark.parametrize("name", NOTHING_STORED)
def test_a_series_of_which_nothing_is_stored_cannot_be_written(name, tmp_path):
    paths = written_series(tmp_path)
    said, words = NOTHING_STORED[name]
    said = said or answer([], paths, 409)
    with web_server({"POST /studies": said}) as server, pytest.raises(CannotWrite, match=words) as caught:
        store(server, paths)
    assert "none of 3 images" in str(caught.value)
    assert not any(secret in str(caught.value) for secret in SECRETS)


def test_a_request_that_failed_is_not_repeated(tmp_path):
    paths = written_series(tmp_path)
    with web_server({"POST /studies": [Answer(503), answer(paths)]}) as server, pytest.raises(CannotWrite, match="HTTP 503"):
        store(server, paths)
    assert len(server.requests) == 1


def test_a_series_that_breaks_off_is_stored_in_part(tmp_path, monkeypatch):
    paths = written_series(tmp_path)
    monkeypatch.setattr("xct_components.pacs.store_over_web.REQUEST_BYTES", 1)
    with (
        web_server({"POST /studies": [answer(paths[:1]), Answer(500)]}) as server,
        pytest.raises(PartlyStored, match=r"1 of 3 images.*HTTP 500.*Delete the incomplete"),
    ):
        store(server, paths)
    assert len(server.requests) == 2


def test_an_image_that_the_server_changed_is_stored_with_a_warning(tmp_path):
    paths = written_series(tmp_path)
    with web_server({"POST /studies": answer(paths, warn=0xB000)}) as server, pytest.warns(InputWarning, match="3 of 3"):
        store(server, paths)


def test_an_interruption_says_how_far_it_came(tmp_path, monkeypatch):
    paths = written_series(tmp_path)
    monkeypatch.setattr("xct_components.pacs.store_over_web.REQUEST_BYTES", 1)

    def interrupted(_: int) -> None:
        raise KeyboardInterrupt

    with (
        web_server({"POST /studies": [answer(paths[:1])]}) as server,
        pytest.raises(StoppedStoring, match=r"interrupted: .* 1 of 3 images") as caught,
    ):
        series_target(server.url(), ELSEWHERE).store(paths, interrupted)
    assert caught.value.exit_code == ExitCode.INTERRUPTED

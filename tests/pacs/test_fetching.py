"""Fetching a film from a server that answers as servers do: with failures, halves, other media types and other films."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pydicom
import pytest

from tests.pacs.made_studies import SECRETS, SERIES, STUDY, film, header
from tests.pacs.web_server import BOUNDARY, MULTIPART, Answer, WebServer, as_json, as_parts, web_server
from xct_components.__main__ import main
from xct_components.failures import Failure, InputWarning, RefusedInput, UnreadableInput
from xct_components.pacs.film_source import film_source

THE_FILM = film(ViewPosition="PA")
SERIES_PATH, METADATA, INSTANCE = "GET /series", "GET /metadata", f"GET {THE_FILM.SOPInstanceUID}"
GOOD: dict[str, Any] = {
    SERIES_PATH: as_json(header(THE_FILM)),
    METADATA: as_json(header(THE_FILM)),
    INSTANCE: as_parts(THE_FILM),
}
THE_ONLY_ONE: dict[str, Any] = {"instance": 0, "lateral": False, "lateral_instance": 0}


@pytest.fixture(autouse=True)
def _without_pauses(monkeypatch, tmp_path):
    monkeypatch.setattr("xct_components.pacs.web_service.BACKOFF_S", 0.0)
    monkeypatch.setenv("NETRC", str(tmp_path / "no_netrc"))


def fetched(server: WebServer, folder: Path, **choice: Any) -> pydicom.Dataset:
    source = film_source(server.url(), study=STUDY, accession=None)
    return pydicom.dcmread(source.fetch(folder, **{**THE_ONLY_ONE, **choice})[0])


def test_a_film_arrives_as_the_server_has_it(tmp_path):
    with web_server(GOOD) as server:
        assert fetched(server, tmp_path) == THE_FILM
    assert [path.name for path in tmp_path.iterdir()] == ["film.dcm"]


def test_both_films_arrive_and_the_ct_series_of_the_study_is_left_alone(tmp_path):
    lateral = film(2, ViewPosition="LL")
    ct = header(film(3, Modality="CT", SeriesInstanceUID="1.2.3.9"))
    answers = {
        **GOOD,
        SERIES_PATH: as_json(ct, header(THE_FILM)),
        f"GET {SERIES}/metadata": as_json(header(lateral), header(THE_FILM)),
        f"GET {lateral.SOPInstanceUID}": as_parts(lateral),
    }
    del answers[METADATA]
    with web_server(answers) as server:
        assert fetched(server, tmp_path, lateral=True) == THE_FILM
    assert pydicom.dcmread(tmp_path / "lateral.dcm") == lateral
    assert not any("1.2.3.9" in request for request in server.requests)


@pytest.mark.parametrize("where", [SERIES_PATH, METADATA, INSTANCE])
def test_a_busy_server_is_asked_again(where, tmp_path):
    with web_server({**GOOD, where: [Answer(503), Answer(502), GOOD[where]]}) as server:
        assert fetched(server, tmp_path) == THE_FILM
    assert len(server.requests) == 5


CUT = Answer(body=as_parts(THE_FILM).body[:300], kind=MULTIPART)
MALFORMED = {
    "a page of HTML": Answer(body=b"<html>Doe^Jane</html>", kind="text/html"),
    "half a film": CUT,
    "no part": Answer(body=f"\r\n--{BOUNDARY}--".encode(), kind=MULTIPART),
    "another boundary": Answer(body=as_parts(THE_FILM).body, kind=MULTIPART.replace(BOUNDARY, "missing")),
    "two films": as_parts(THE_FILM, THE_FILM),
    "a picture": Answer(body=b"\x89PNG\r\n", kind="image/png"),
    "nothing": Answer(body=b"", kind=MULTIPART),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_an_answer_that_is_no_film_is_unreadable(name, tmp_path):
    with web_server({**GOOD, INSTANCE: MALFORMED[name]}) as server, pytest.raises(UnreadableInput) as caught:
        fetched(server, tmp_path)
    assert not any(secret in str(caught.value) for secret in SECRETS)


@pytest.mark.parametrize("where", [SERIES_PATH, METADATA])
@pytest.mark.parametrize("body", [b"[{", b"<html>Doe^Jane</html>", b'[{"0020000E": 7}]', b'["Doe"]', b"7"])
def test_an_answer_that_is_no_list_of_headers_is_unreadable(where, body, tmp_path):
    with web_server({**GOOD, where: Answer(body=body)}) as server, pytest.raises(Failure) as caught:
        fetched(server, tmp_path)
    assert "Doe" not in str(caught.value)


def test_presentation_states_are_not_applied_and_that_is_said(tmp_path):
    state = header(film(9, Modality="PR", SeriesInstanceUID="1.2.3.9"))
    answers = {**GOOD, SERIES_PATH: as_json(header(THE_FILM), state)}
    with web_server(answers) as server, pytest.warns(InputWarning, match="presentation states"):
        fetched(server, tmp_path)


def test_another_film_than_the_one_asked_for_is_not_taken(tmp_path):
    for other in (film(2), film(StudyInstanceUID="9.9.9")):
        with web_server({**GOOD, INSTANCE: as_parts(other)}) as server, pytest.raises(UnreadableInput, match="another film"):
            fetched(server, tmp_path)


def test_a_uid_of_the_server_does_not_lead_elsewhere(tmp_path):
    odd = header(film())
    odd["SeriesInstanceUID"]._value = "../../secrets"
    with web_server({**GOOD, SERIES_PATH: as_json(odd)}) as server, pytest.raises(UnreadableInput, match="must be a UID"):
        fetched(server, tmp_path)
    assert len(server.requests) == 1


def test_a_film_without_a_patient_is_refused(tmp_path):
    nobody = as_parts(film(PatientID=""))
    with web_server({**GOOD, INSTANCE: nobody}) as server, pytest.raises(RefusedInput, match="no PatientID"):
        fetched(server, tmp_path)


def test_a_redirect_is_not_followed(tmp_path):
    with web_server(GOOD) as other:
        away = Answer(302, headers={"Location": f"{other.url()}/studies/{STUDY}/series"})
        with web_server({**GOOD, SERIES_PATH: away}) as server, pytest.raises(UnreadableInput, match="redirects elsewhere"):
            fetched(server, tmp_path)
    assert other.requests == []


def test_an_accession_number_stands_for_one_study(tmp_path):
    ours, others = header(film(AccessionNumber="A7")), header(film(AccessionNumber="A77", StudyInstanceUID="9.9"))
    with web_server({**GOOD, "GET /studies": as_json(ours, others)}) as server:  # a server may match loosely
        source = film_source(server.url(), study=None, accession="A7")
        assert pydicom.dcmread(source.fetch(tmp_path, **THE_ONLY_ONE)[0]) == THE_FILM
        assert "AccessionNumber=A7" in server.requests[0]
        with pytest.raises(UnreadableInput, match="no studies"):
            film_source(server.url(), study=None, accession="A8").fetch(tmp_path, **THE_ONLY_ONE)


REFUSALS = {
    "wrong credentials": ({**GOOD, SERIES_PATH: Answer(401)}, 3, "XCT_PACS_USER"),
    "no rights": ({**GOOD, INSTANCE: Answer(403)}, 3, "HTTP 403"),
    "no such service": ({}, 3, "HTTP 404"),
    "no such study": ({**GOOD, SERIES_PATH: Answer(204)}, 3, "no such study"),
    "no film in it": ({**GOOD, SERIES_PATH: as_json(header(film(Modality="CT")))}, 4, "no film"),
    "a server that stays busy": ({**GOOD, METADATA: Answer(503)}, 3, "HTTP 503"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_what_cannot_be_done_is_one_line_and_a_code_and_leaves_nothing(name, tmp_path, monkeypatch, capfd):
    answers, code, words = REFUSALS[name]
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    with web_server({"OPTIONS /studies": Answer(404), **answers}) as server:
        done = main(["pacs", "--from", server.url(), "--to", server.url(), "--study", STUDY])
    said = capfd.readouterr()
    assert (done, said.out, said.err.count("\n")) == (code, "", 1), said.err
    assert words in said.err
    assert not any(secret in said.err for secret in SECRETS)
    assert list(tmp_path.iterdir()) == []
    assert not any(request.startswith("POST") for request in server.requests)


def test_a_host_that_is_not_there_is_one_line_even_with_a_traceback(monkeypatch, capfd):
    monkeypatch.setenv("XCT_TRACEBACK", "1")
    with web_server({}) as gone:
        pass
    assert main(["pacs", "--from", gone.url(), "--to", gone.url(), "--study", "9.8.7.6"]) == 3
    said = capfd.readouterr().err
    assert "cannot be reached" in said
    assert "9.8.7.6" not in said


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "name the study"),
        (["--study", "1.2", "--accession", "7"], "one of them"),
        (["--study", "Doe^Jane"], "must be a UID"),
        (["--study", "1.2/../3"], "must be a UID"),
        (["--study", "1.2", "--series", "x"], "series must be a UID"),
        (["--accession", "*"], "wildcards"),
        (["--study", "1.2", "--calling", "A" * 17, "--to", "dicom://A@127.0.0.1:9"], "calling must be"),
        (["--study", "1.2", "--instance", "first"], "instance must be a whole number"),
        (["--study", "1.2", "--from", "http://pacs.example.org/rs"], "--allow_http"),
        (["--study", "1.2", "--form", "x"], "did you mean --from?"),
    ],
)
def test_options_that_cannot_be_meant_are_usage_errors(options, words, capfd):
    here = ["--from", "http://127.0.0.1:9/rs"] if "--from" not in options else []
    there = ["--to", "http://127.0.0.1:9/rs"] if "--to" not in options else []
    assert main(["pacs", *here, *there, *options]) == 2
    said = capfd.readouterr().err
    assert words in said
    assert "Doe" not in said


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for loopback with its key, signed by itself."""
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    subject = ["-subj", "/CN=pacs", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", *subject]
    subprocess.run([*new, "-keyout", str(path), "-out", str(path)], check=True, capture_output=True)
    return path


def test_a_certificate_is_verified_and_an_authority_of_ones_own_can_be_named(certificate, tmp_path, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))  # says nothing here: ours is named by XCT_PACS_CA_BUNDLE
    monkeypatch.delenv("XCT_PACS_CA_BUNDLE", raising=False)
    with web_server(GOOD, certificate) as server:
        source = film_source(server.url("https"), study=STUDY, accession=None)
        with pytest.raises(UnreadableInput, match="cannot be verified; XCT_PACS_CA_BUNDLE"):
            source.fetch(tmp_path, **THE_ONLY_ONE)
        monkeypatch.setenv("XCT_PACS_CA_BUNDLE", str(certificate))
        assert pydicom.dcmread(source.fetch(tmp_path, **THE_ONLY_ONE)[0]) == THE_FILM

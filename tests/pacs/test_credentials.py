"""Credentials go to the server that they are for, from the environment or ~/.netrc."""

from __future__ import annotations

import base64

import pytest

from tests.pacs.web_server import Answer, web_server
from xct_components.failures import CannotWrite, UsageFailure
from xct_components.pacs.address import web_address
from xct_components.pacs.credentials import SOURCE, TARGET, credentials, trusted_certificates
from xct_components.pacs.series_target import series_target
from xct_components.pacs.store_over_web import require_web_store
from xct_components.pacs.web_service import web_session

HERE = "http://127.0.0.1:1/rs"


@pytest.fixture(autouse=True)
def _no_credentials(monkeypatch, tmp_path):
    for prefix in (SOURCE, TARGET):
        for what in ("USER", "PASSWORD", "TOKEN"):
            monkeypatch.delenv(f"{prefix}_{what}", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


def shown_to_the_server(prefix: str = SOURCE) -> str | None:
    """The Authorization header that a real server gets."""
    with web_server({"OPTIONS /studies": Answer()}) as server:
        address = web_address(server.url(), option="from")
        require_web_store(web_session(address, prefix), address)
    return server.authorizations[0]


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def test_nothing_is_shown_where_nothing_is_set():
    assert shown_to_the_server() is None


def test_user_and_password_may_hold_any_character(monkeypatch):
    monkeypatch.setenv("XCT_PACS_USER", "jörg")
    monkeypatch.setenv("XCT_PACS_PASSWORD", "ø:π")
    assert shown_to_the_server() == basic("jörg", "ø:π")


def test_a_token_is_a_bearer_token(monkeypatch):
    monkeypatch.setenv("XCT_PACS_TOKEN", "abc.def")
    assert shown_to_the_server() == "Bearer abc.def"


def test_netrc_serves_where_the_environment_is_silent(monkeypatch, tmp_path):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login imaging password quiet\nmachine other login a password b\n")
    assert shown_to_the_server() == basic("imaging", "quiet")
    monkeypatch.setenv("XCT_PACS_TOKEN", "abc")
    assert shown_to_the_server() == "Bearer abc"


def test_the_credentials_of_the_source_go_to_no_other_server(monkeypatch):
    monkeypatch.setenv("XCT_PACS_TOKEN", "abc")
    source = web_address(HERE, option="from")
    with web_server({"OPTIONS /studies": Answer()}) as other:
        series_target(other.url(), source).require_ready()
        monkeypatch.setenv("XCT_PACS_TO_TOKEN", "xyz")
        series_target(other.url(), source).require_ready()
        series_target(other.url(), web_address(f"{other.url()}/elsewhere", option="from")).require_ready()
    assert other.authorizations == [None, "Bearer xyz", "Bearer abc"]


@pytest.mark.parametrize(
    "set_",
    [
        {"USER": "imaging"}, {"PASSWORD": "quiet"}, {"USER": "imaging", "PASSWORD": "quiet", "TOKEN": "quiet"},
        {"TOKEN": "quiet\n"}, {"TOKEN": "two quiet words"}, {"TOKEN": "quiet\u00e9"},
    ],
)  # fmt: skip
def test_half_a_pair_both_kinds_or_an_odd_token_are_refused_without_being_quoted(set_, monkeypatch):
    for name, value in set_.items():
        monkeypatch.setenv(f"XCT_PACS_{name}", value)
    with pytest.raises(UsageFailure, match="XCT_PACS_TOKEN") as caught:
        credentials(web_address(HERE, option="from"), SOURCE)
    assert "quiet" not in str(caught.value)


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_bundle_that_holds_no_certificate_is_refused(content, monkeypatch, tmp_path):
    if content:
        (tmp_path / "ca.pem").write_text(content)
    monkeypatch.setenv("XCT_PACS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    with pytest.raises(UsageFailure, match="XCT_PACS_CA_BUNDLE"):
        trusted_certificates()


def test_a_server_that_does_not_know_us_is_found_out_before_a_ct_is_computed():
    with web_server({"OPTIONS /studies": Answer(401)}) as server:
        address = web_address(server.url(), option="to")
        with pytest.raises(CannotWrite, match="refuses these credentials"):
            require_web_store(web_session(address, SOURCE), address)

"""Addresses: what is understood, and that none can carry a secret or send patient data unencrypted unasked."""

from __future__ import annotations

import warnings

import pytest

from xct_components.failures import InputWarning, UsageFailure
from xct_components.pacs.address import EntityAddress, WebAddress, ae_title, destination, web_address


def test_a_web_address_is_a_url_without_slash_at_its_end():
    address = web_address("https://pacs.example.org:8443/dcm4chee/rs/", option="from")
    assert address == WebAddress("https://pacs.example.org:8443/dcm4chee/rs", ("https", "pacs.example.org", 8443))
    assert address.host == "pacs.example.org:8443"


@pytest.mark.parametrize(("text", "port"), [("https://h/rs", 443), ("http://127.0.0.1/rs", 80), ("http://[::1]/rs", 80)])
def test_the_port_of_the_scheme_is_known(text, port):
    assert web_address(text, option="to").origin[2] == port


def test_a_destination_is_of_either_kind():
    assert destination("dicoms://PACS%20ONE@[::1]:2762") == EntityAddress("PACS ONE", "::1", 2762, tls=True)
    assert isinstance(destination("https://h/rs"), WebAddress)


@pytest.mark.parametrize(
    "text",
    [
        "https://jane:hunter2@h/rs", "https://hunter2@h/rs", "https://h/rs?token=hunter2", "https://h/rs#hunter2",
        "dicom://AE:hunter2@h:104", "dicom://AE@h:104/hunter2", "dicom://AE@h:104?hunter2", "https://hunter2:x y@h/",
        "https://h:hunter2/rs", "hunter2", "https:///hunter2", "ftp://h/hunter2", "https://h\\hunter2",
    ],
)  # fmt: skip
def test_what_cannot_be_an_address_is_refused_without_being_quoted(text):
    with pytest.raises(UsageFailure) as caught:
        destination(text)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["dicom://AE@h", "dicom://h:104", "dicom://A_TITLE_THAT_IS_TOO_LONG@h:104", "dicom://A%5CB@h:104"]
)
def test_an_entity_needs_a_title_and_a_port(text):
    with pytest.raises(UsageFailure):
        destination(text)


@pytest.mark.parametrize("text", ["", " A", "A ", "A\\B", "Ä", "A" * 17, "A\n"])
def test_what_cannot_be_an_ae_title_is_refused(text):
    with pytest.raises(UsageFailure, match="calling must be"):
        ae_title(text, "calling")


def test_plain_http_stays_on_this_machine_unless_the_user_says_otherwise():
    for text in ("http://127.0.0.1:8042/rs", "http://localhost/rs"):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            destination(text)
    with pytest.raises(UsageFailure, match="--allow_http"):
        destination("http://pacs.example.org/rs")
    with pytest.warns(InputWarning, match="unencrypted"):
        destination("http://pacs.example.org/rs", allow_http=True)


def test_a_plain_association_with_another_machine_is_a_warning():
    with pytest.warns(InputWarning, match=r"unencrypted to pacs\.example\.org:104"):
        destination("dicom://ARCHIVE@pacs.example.org:104")

"""A film may be called anything: no name runs as a script, asks for anything, or breaks a page."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.report_page.browser import Browser
from tests.report_page.results import renamed
from xct_components.report_page.index_page import IndexRow, write_index
from xct_components.report_page.page import write_page

pytestmark = pytest.mark.usefixtures("small_pictures")
HIT = "document.documentElement.dataset.hit=1"
NAMES = (
    f"<script>{HIT}</script>",
    f"</title><script>{HIT}</script>",
    f"</script><script>{HIT}</script>",
    f'"><img src=x onerror="{HIT}">',
    f"' onmouseover='{HIT}' autofocus onfocus='{HIT}",
    f"--><svg onload={HIT}>",
    f"</style><body onload={HIT}>",
    f"javascript:{HIT}",
    '<iframe src="http://203.0.113.7/"></iframe><link rel=stylesheet href="http://203.0.113.7/a.css">',
    "<!--<script>&lt;\u2028\u202efdp.exe{{7*7}}${HIT}%s{0}",
)
#: Those that do something in a page that does not escape them.
HARMFUL = (0, 1, 2, 3, 5)


def opened(browser: Browser, path: Path) -> tuple[bool, list[str]]:
    """Whether a page's names ran, and what it asked for."""
    browser.open(path.as_uri())
    browser.value("new Promise((done) => setTimeout(done, 30))")
    return bool(browser.value("document.documentElement.dataset.hit")), browser.requests()


def test_the_names_do_harm_where_they_are_not_escaped(browser, tmp_path):
    for number in HARMFUL:
        (tmp_path / "page.html").write_text(f"<!doctype html><title>{NAMES[number]}</title>{NAMES[number]}")
        ran, _ = opened(browser, tmp_path / "page.html")
        assert ran, NAMES[number]


@pytest.mark.parametrize("name", NAMES)
def test_a_hostile_name_is_only_text_in_a_report(name, browser, without_viewer, ct, tmp_path):
    path = tmp_path / "report.html"
    write_page(path, renamed(ct, name))
    assert opened(browser, path) == (False, [path.as_uri()])
    assert browser.value("document.querySelector('header p').textContent") == name
    assert browser.value("document.title") == f"Synthetic CT of {name}"
    assert browser.value("document.querySelectorAll('script, iframe, link, svg:not(.plot)').length") == 0
    assert browser.complaints() == []


def test_all_of_them_at_once_do_not_disturb_the_viewer(browser, viewer, ct, tmp_path):
    path = tmp_path / "report.html"
    write_page(path, renamed(ct, "".join(NAMES)))
    assert opened(browser, path) == (False, [path.as_uri()])
    assert browser.wait_for("document.documentElement.dataset.viewer") == "ready"
    assert browser.complaints() == []


def test_hostile_names_are_only_text_in_an_index(browser, tmp_path):
    path = tmp_path / "index.html"
    rows = [IndexRow(name, "done", f"{number}/report.html", None, 0.1, name) for number, name in enumerate(NAMES)]
    rows.append(IndexRow("a link", "failed", f"javascript:{HIT}", None, None, "x"))
    write_index(path, rows, NAMES[1])
    assert opened(browser, path) == (False, [path.as_uri()])
    assert browser.value("[...document.querySelectorAll('.cards b')].map((one) => one.textContent)") == [
        row.name for row in rows
    ]
    assert browser.value("document.querySelector('.failed a').href").startswith(path.parent.as_uri())

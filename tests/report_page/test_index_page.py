"""The index of a batch: its links and pictures are those beside it."""

from __future__ import annotations

import pytest
from PIL import Image

from xct_components.report_page.index_page import IndexRow, write_index


def test_pictures_and_links_beside_the_index_are_found_whatever_their_names(browser, tmp_path):
    folder = tmp_path / "100% of #1?: ä"
    folder.mkdir()
    Image.new("RGB", (30, 20), "red").save(folder / "preview.png")
    (folder / "report.html").write_text("<!doctype html><title>the report</title>")
    name = folder.name
    rows = [
        IndexRow(name, "done", f"{name}/report.html", f"{name}/preview.png", 0.148, ""),
        IndexRow("b.png", "failed", None, None, None, "not a chest film"),
        IndexRow("c.png", "skipped", None, None, None, "done before"),
    ]
    write_index(tmp_path / "index.html", rows, "Three films")
    browser.open((tmp_path / "index.html").as_uri())
    assert browser.wait_for("document.querySelector('.cards img').naturalWidth") == 30
    assert browser.requests() == [(tmp_path / "index.html").as_uri(), browser.value("document.querySelector('img').src")]
    assert browser.complaints() == []
    text = browser.value("document.body.innerText")
    for said in ("Three films", "NOT FOR DIAGNOSIS", "14.8%", "not a chest film", "done before"):
        assert said in text
    browser.open(browser.value("document.querySelector('.cards a').href"))
    assert browser.value("document.title") == "the report"


@pytest.mark.parametrize("link", ["/etc/passwd", "../other/report.html", "a/../../b.png"])
def test_a_link_out_of_the_batch_is_refused(link):
    with pytest.raises(ValueError, match="relative"):
        IndexRow("a", "done", link, None, None, "")

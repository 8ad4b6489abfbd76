"""One browser for all pages; skipped, with the reason, where there is none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.report_page.browser import Browser, chromium
from tests.report_page.results import result
from xct_components.inferers.generated_ct import GeneratedCt
from xct_components.report_page.viewer_file import HOW_TO_GET, viewer_script


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if chromium() is None:
        pytest.skip("no Chromium: apt-get install -y --no-install-recommends chromium")
    with Browser(tmp_path_factory.mktemp("profile"), 780, 360) as opened:
        yield opened


@pytest.fixture(scope="session")
def ct() -> GeneratedCt:
    return result(with_std=True)


@pytest.fixture(scope="session")
def viewer() -> str:
    """The viewer's text; what needs it is skipped where it was not fetched."""
    script = viewer_script()
    if script is None:
        pytest.skip(f"no viewer: {HOW_TO_GET}")
    return script


@pytest.fixture
def without_viewer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As if the viewer had never been fetched."""
    monkeypatch.setattr("xct_components.report_page.viewer_file.VIEWER", tmp_path / "none.js")
    monkeypatch.delenv("XCT_NIIVUE", raising=False)


@pytest.fixture
def small_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where pictures are not what is tested: a page is loaded in a third of the time."""
    monkeypatch.setattr("xct_components.report_page.pictures.WIDTH_PIXELS", 100)

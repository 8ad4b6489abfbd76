"""Only the pinned viewer enters a page, and fetching it leaves all or nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from xct_components.report_page import viewer_file
from xct_components.report_page.viewer_file import viewer_of, viewer_script

SCRIPT = Path(__file__).parent.parent.parent / "scripts" / "fetch_viewer.py"


def tarball_of(content: Path, path: Path) -> Path:
    with tarfile.open(path, "w:gz") as tarball:
        tarball.add(content, viewer_file.MEMBER)
    return path


def test_another_file_is_refused(tmp_path, monkeypatch, without_viewer):
    other = tmp_path / "niivue.umd.js"
    other.write_text("alert(1)")
    for path in (other, tarball_of(other, tmp_path / "niivue.tgz")):
        with pytest.raises(ValueError, match="SHA-256"):
            viewer_of(path)
    (tmp_path / "cut.tgz").write_bytes((tmp_path / "niivue.tgz").read_bytes()[:60])
    with pytest.raises(ValueError, match="holds no"):
        viewer_of(tmp_path / "cut.tgz")
    monkeypatch.setenv(viewer_file.VIEWER_VARIABLE, str(other))
    assert viewer_script() is None


def test_the_viewer_is_found_in_its_tarball(viewer, tmp_path, monkeypatch):
    (tmp_path / "niivue.umd.js").write_text(viewer, encoding="utf-8")
    tarball = tarball_of(tmp_path / "niivue.umd.js", tmp_path / "niivue.tgz")
    monkeypatch.setattr(viewer_file, "VIEWER", tmp_path / "none.js")
    monkeypatch.setenv(viewer_file.VIEWER_VARIABLE, str(tarball))
    assert viewer_script() == viewer


def test_the_script_says_why_there_is_no_viewer_and_keeps_what_was_there(tmp_path):
    before = viewer_file.VIEWER.read_bytes() if viewer_file.VIEWER.exists() else None
    environment = {**os.environ, viewer_file.VIEWER_VARIABLE: str(tmp_path / "none.js")}
    run = subprocess.run([sys.executable, "-I", str(SCRIPT)], env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert "none.js" in run.stderr
    assert "XCT_NIIVUE" in run.stderr
    assert before == (viewer_file.VIEWER.read_bytes() if viewer_file.VIEWER.exists() else None)

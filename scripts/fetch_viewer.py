"""Bring the viewer of report.html: ``python scripts/fetch_viewer.py``. Needs Python alone; checks what it gets.

Without a network: ``XCT_NIIVUE=/path/to/niivue.umd.js`` or ``=/path/to/niivue-0.69.0.tgz``. A viewer that is there stays.
"""

from __future__ import annotations

import base64
import hashlib
import os
import sys
import tempfile
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from xct_components.report_page import viewer_file

TIMEOUT_S = 60


def main() -> int:
    """Put the viewer into the package; 0 if it is there afterwards."""
    named = os.environ.get(viewer_file.VIEWER_VARIABLE)
    try:
        if not named and _is_there():
            return 0
        script = viewer_file.viewer_of(Path(named)) if named else _downloaded()
        _write(viewer_file.VIEWER, script)
    except (OSError, ValueError) as error:
        print(f"fetch_viewer: no viewer for report.html, its pictures will stand still: {error}", file=sys.stderr)
        print(f"fetch_viewer: {viewer_file.HOW_TO_GET}", file=sys.stderr)
        return 1
    print(f"fetch_viewer: {viewer_file.NAME} {viewer_file.VERSION} ({viewer_file.LICENCE}) is in {viewer_file.VIEWER}")
    return 0


def _is_there() -> bool:
    try:
        return bool(viewer_file.viewer_of(viewer_file.VIEWER))
    except (OSError, ValueError):
        return False


def _downloaded() -> bytes:
    """The viewer out of the registry's tarball, whose hash is the pinned one."""
    with urllib.request.urlopen(viewer_file.TARBALL_URL, timeout=TIMEOUT_S) as answer:
        tarball = answer.read()
    if base64.b64encode(hashlib.sha512(tarball).digest()).decode() != viewer_file.TARBALL_SHA512:
        raise ValueError(f"{viewer_file.TARBALL_URL} is not the pinned file: its SHA-512 differs; nothing was kept")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "niivue.tgz"
        path.write_bytes(tarball)
        return viewer_file.viewer_of(path)


def _write(path: Path, content: bytes) -> None:
    """All of it or nothing."""
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as draft:
        draft.write(content)
    Path(draft.name).chmod(0o644)
    Path(draft.name).replace(path)


if __name__ == "__main__":
    sys.exit(main())

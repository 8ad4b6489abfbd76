"""The viewer of the page: NiiVue, one pinned JavaScript file that ``scripts/fetch_viewer.py`` brings; standard library only."""

from __future__ import annotations

import hashlib
import os
import tarfile
from pathlib import Path

NAME, VERSION, LICENCE = "NiiVue", "0.69.0", "BSD-2-Clause"
TARBALL_URL = f"https://registry.npmjs.org/@niivue/niivue/-/niivue-{VERSION}.tgz"
#: Of the tarball, as the registry states it.
TARBALL_SHA512 = "YMjQvJgD1W2b7DuoxkwlC4VxbrgIePRJ5qyQzXKxi2v2MBVg285P/CIQyg46oDDGDIcaNlbd+MhtO/edMbXJkA=="
MEMBER = "package/dist/niivue.umd.js"
#: Of that file. Whatever else lies in its place is not put into a page.
FILE_SHA256 = "47b896b77ec4a5be3ef1949c33ad393b6f45629921f326c279000bcf51bdb4af"
VIEWER = Path(__file__).parent / "niivue.umd.js"
#: Names the tarball, or the file in it, where there is no network.
VIEWER_VARIABLE = "XCT_NIIVUE"
HOW_TO_GET = "python scripts/fetch_viewer.py (offline: XCT_NIIVUE=niivue.umd.js or the tarball)"


def viewer_script() -> str | None:
    """The text of the pinned viewer; None if neither ``XCT_NIIVUE`` nor the package holds it."""
    named = os.environ.get(VIEWER_VARIABLE)
    places = ([Path(named)] if named else []) + [VIEWER]
    return next((script for script in map(_pinned, places) if script is not None), None)


def _pinned(path: Path) -> str | None:
    try:
        return viewer_of(path).decode("utf-8")
    except (OSError, ValueError):
        return None


def viewer_of(path: Path) -> bytes:
    """The pinned viewer out of its file or tarball.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if it is neither.
    """
    found = _member(path) if path.name.endswith((".tgz", ".tar.gz")) else path.read_bytes()
    if hashlib.sha256(found).hexdigest() != FILE_SHA256:
        raise ValueError(
            f"{path.name} is not {Path(MEMBER).name} of {NAME} {VERSION}: its SHA-256 differs; get it from {TARBALL_URL}"
        )
    return found


def _member(path: Path) -> bytes:
    try:
        with tarfile.open(path, "r:gz") as tarball:
            member = tarball.extractfile(MEMBER)
            if member is not None:
                return member.read()
    except (tarfile.TarError, EOFError, KeyError) as error:
        raise ValueError(f"{path.name} holds no {MEMBER}: {error}; get it from {TARBALL_URL}") from error
    raise ValueError(f"{path.name} holds no {MEMBER}; get it from {TARBALL_URL}")

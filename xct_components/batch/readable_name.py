"""The name of a file for people and for folders: whatever bytes it holds, nothing can break out of a line or a folder."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import PurePath

#: Between the parts of a path in the name of a folder; the mark before the digits of a name that had to be changed.
BETWEEN, MARK = "__", "~"
#: A part of a path that needs no change: letters, digits and single dots, dashes, underscores between them.
_PLAIN = re.compile(r"[A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*")
_UNSAFE = re.compile(r"[^A-Za-z0-9]+")
#: File systems take 255 bytes; drafts put some before it.
_MOST_CHARACTERS, _DIGITS, _MANY_DIGITS = 120, 8, 32


def readable_name(name: str, most: int = 200) -> str:
    """A name or text as one printable line: what does not print is escaped, what is too long is cut in the middle."""
    text = "".join(one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in name)
    return text if len(text) <= most else f"{text[: most // 2 - 2]}...{text[-(most // 2 - 1) :]}"


def folder_names(paths: Sequence[PurePath], taken: Sequence[str] = ()) -> list[str]:
    """A folder name for each film: no two alike, on any file system, and the same in every run.

    The name is that of the file with its ending, after the folders it lies in ("ward__film.png"). One that is not plain, too
    long or taken loses what is unsafe and gets digits of the SHA-256 of its path behind a "~", which no plain name holds.

    Args:
        paths: relative to the folder of the films, without ``..``.
        taken: names that are given to something else, in any case.
    """
    names = [_plain(path, taken) or _marked(path, _DIGITS) for path in paths]
    folded = [name.casefold() for name in names]
    alike = {name for name in folded if folded.count(name) > 1} if len(set(folded)) < len(folded) else set()
    return [_marked(path, _MANY_DIGITS) if name.casefold() in alike else name for path, name in zip(paths, names, strict=True)]


def _plain(path: PurePath, taken: Sequence[str]) -> str | None:
    name = BETWEEN.join(path.parts)
    plain = all(_PLAIN.fullmatch(part) for part in path.parts) and len(name) <= _MOST_CHARACTERS
    return name if plain and name.casefold() not in {one.casefold() for one in taken} else None


def _marked(path: PurePath, digits: int) -> str:
    digest = hashlib.sha256(path.as_posix().encode("utf-8", "surrogateescape")).hexdigest()[:digits]
    safe = _UNSAFE.sub("_", path.as_posix()).strip("_")[-(_MOST_CHARACTERS - digits) :].strip("_")
    return f"{safe or 'film'}{MARK}{digest}"

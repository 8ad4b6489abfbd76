"""Folders below a folder, also those that are linked in, as shares of hospitals often are; each of them once."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from xct_components.failures import UnreadableInput

BACK, AGAIN = "a link back to a folder around it", "a link to a folder that is read already"
NOWHERE = "a link to nothing"


class FolderWalk:
    """A folder, the folders in it and those that links in it name; after an iteration it knows what was left out, and why.

    Links come last, in order of their names, so that a folder is met in its own place if it has one. Hidden folders are left
    out without a word.

    Args:
        top: the folder.
        apart: a folder whose files do not count, e.g. where results are written; links may lead to it.

    Example:
        walk = FolderWalk(Path("films"))
        names = [name for _, files in walk for name in files]
        walk.left_out  # ((Path("films/loop"), "a link back to a folder around it"),)
    """

    def __init__(self, top: Path, apart: Path | None = None) -> None:
        self._top, self._apart = top, apart
        self._seen: set[tuple[int, int]] = set()
        self._left_out: list[tuple[Path, str]] = []

    @property
    def left_out(self) -> tuple[tuple[Path, str], ...]:
        """(folder, reason), in order of their names."""
        return tuple(sorted(self._left_out))

    @property
    def unread(self) -> tuple[tuple[Path, str], ...]:
        """Of those whose files were read in no other place."""
        return tuple(one for one in self.left_out if one[1] != AGAIN)

    def __iter__(self) -> Iterator[tuple[Path, list[str]]]:
        """Each folder with the sorted names of its files, hidden ones and dead links included.

        Raises:
            UnreadableInput: if the top folder cannot be read.
        """
        self._seen, self._left_out = set(), []
        if self._apart is not None and self._apart.is_dir():
            self._enter(self._apart)
        self._enter(self._top)
        links = deque[Path]()
        yield from self._below(self._top, links)
        while links:
            link = links.popleft()
            reason = self._why_not(link)
            if reason:
                self._left_out.append((link, reason))
            else:
                yield from self._below(link, links)

    def _below(self, start: Path, links: deque[Path]) -> Iterator[tuple[Path, list[str]]]:
        for here, folders, files in os.walk(start, onerror=self._note):
            inner = [Path(here, name) for name in sorted(folders) if not name.startswith(".")]
            links.extend(path for path in inner if path.is_symlink())
            folders[:] = [path.name for path in inner if not path.is_symlink() and self._enter(path)]
            yield Path(here), sorted(files)

    def _enter(self, folder: Path) -> bool:
        """Whether this is the first time."""
        try:
            status = folder.stat()
        except OSError:  # os.walk tells of it
            return True
        key = (status.st_dev, status.st_ino)
        is_new = key not in self._seen
        self._seen.add(key)
        return is_new

    def _why_not(self, link: Path) -> str:
        target = Path(os.path.realpath(link))
        around = (Path(os.path.realpath(link.parent)), Path(os.path.realpath(self._top)))
        if any(place.is_relative_to(target) for place in around):
            return BACK
        return "" if self._enter(link) else AGAIN

    def _note(self, error: OSError) -> None:
        if Path(error.filename) == self._top:
            raise UnreadableInput(f"the folder {self._top} cannot be read: {error.strerror}") from error
        self._left_out.append((Path(error.filename), f"the folder cannot be read: {error.strerror}"))


def is_dead_link(path: Path) -> bool:
    """Whether it leads to nothing, e.g. to a share that is not mounted."""
    return path.is_symlink() and not path.exists()

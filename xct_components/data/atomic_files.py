"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from xct_components.failures import CannotWrite, first_line


@contextmanager
def written_together(*targets: Path) -> Iterator[tuple[Path, ...]]:
    """Temporary neighbours of ``targets`` to write to; they take the targets' names together when the block succeeds.

    A failure, an interruption or a power cut before that leaves the folder as it was: whatever had the name keeps it.
    (A killed process may leave a hidden ``.part-...`` file.)

    Raises:
        CannotWrite: if the folder is missing or not writable, or the disk is full.
    """
    drafts = tuple(target.with_name(f".part-{os.getpid()}-{target.name}") for target in targets)
    try:
        yield drafts
        for draft in drafts:
            flush_to_disk(draft)
        for draft, target in zip(drafts, targets, strict=True):
            draft.replace(target)
        for folder in {target.parent for target in targets}:
            flush_to_disk(folder)
    except OSError as error:
        raise CannotWrite(f"cannot write {targets[0]}: {error.strerror or first_line(error)}") from error
    finally:
        for draft in drafts:
            draft.unlink(missing_ok=True)


def require_folder_for(target: Path) -> None:
    """Refuse a file that cannot be written, before the work.

    Raises:
        CannotWrite: if its folder is missing or not writable.
    """
    folder = target.absolute().parent
    if not folder.is_dir():
        raise CannotWrite(f"cannot write {target}: the folder {folder} does not exist")
    if not os.access(folder, os.W_OK):
        raise CannotWrite(f"cannot write {target}: no permission for the folder {folder}")


def flush_to_disk(path: Path) -> None:
    """Make sure that a file's bytes, or a folder's names, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

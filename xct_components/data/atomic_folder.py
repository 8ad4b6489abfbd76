"""A folder that appears whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from xct_components.data.atomic_files import flush_to_disk
from xct_components.failures import CannotWrite, Failure, first_line


@contextmanager
def written_folder(target: Path) -> Iterator[Path]:
    """A hidden, empty neighbour of ``target`` to write to; it takes the target's name when the block succeeds.

    A folder that has the name is replaced as a whole. A failure or an interruption before that leaves it as it was. (A killed
    process may leave a hidden ``.part-...`` folder.)

    Raises:
        CannotWrite: if the parent is missing or not writable, or the disk is full.
    """
    draft, old = (target.with_name(f".part-{os.getpid()}-{target.name}{end}") for end in ("", "-old"))
    try:
        draft.mkdir()
        yield draft
        for file in (*draft.iterdir(), draft):
            flush_to_disk(file)
        if target.exists():
            target.replace(old)
        draft.replace(target)
        flush_to_disk(target.parent)
    except Failure:
        raise
    except OSError as error:
        raise CannotWrite(f"cannot write {target}: {error.strerror or first_line(error)}") from error
    finally:
        if old.exists() and not target.exists():
            old.replace(target)
        for left in (draft, old):
            shutil.rmtree(left, ignore_errors=True)


@contextmanager
def made_folder(folder: Path) -> Iterator[None]:
    """The folder to write into, which goes again if it was made here and what is inside fails.

    Raises:
        CannotWrite: if it cannot be made.
    """
    made = not folder.exists()
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise CannotWrite(f"cannot make the folder {folder}: {error.strerror}") from error
    try:
        yield
    except BaseException:
        if made:
            folder.rmdir()
        raise


def require_free_folder(folder: Path, names: Sequence[str], *, overwrite: bool) -> None:
    """Refuse an output folder before the work begins: if it cannot be written to, or something in it would be lost.

    Args:
        folder: there already or not; its parent must be.
        names: what will be written into it.
        overwrite: whether what has these names may be replaced.

    Raises:
        CannotWrite: with the reason.
    """
    parent = folder if folder.is_dir() else folder.absolute().parent
    if folder.exists() and not folder.is_dir():
        raise CannotWrite(f"cannot write to {folder}: it is a file; name a folder")
    if not parent.is_dir():
        raise CannotWrite(f"cannot make the folder {folder}: {parent} does not exist")
    if not os.access(parent, os.W_OK):
        raise CannotWrite(f"cannot write to {folder}: no permission for {parent}")
    taken = [name for name in names if (folder / name).exists()]
    if taken and not overwrite:
        raise CannotWrite(f"{folder} already holds {', '.join(taken)}; choose another folder, or add --overwrite")

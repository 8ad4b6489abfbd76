"""One DICOM file as a dataset, read within limits: of bytes, of elements, and of what a deflated file inflates to."""

from __future__ import annotations

import struct
import tempfile
import warnings as python_warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from xct_components.data.film.dicom_child import run_child
from xct_components.data.film.source import MOST_PIXELS
from xct_components.failures import Failure, RefusedInput, UnreadableInput

DEFLATED, EXPLICIT_LITTLE = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.1"
#: The first of the tags that hold pixels (floating-point ones), and the last.
FIRST_PIXELS, LAST_PIXELS = 0x7FE00008, 0x7FE00010
#: Tags, overlays, look-up tables and icons of a film take less than this, and its pixels at most two bytes each.
MOST_HEADER_BYTES = 32 << 20
MOST_FILM_BYTES = 2 * MOST_PIXELS + MOST_HEADER_BYTES
#: pydicom reads once or twice per element; films have some hundred.
MOST_READS = 50_000
#: A deflated film inflates to at most so many times its size, or to the least allowance: zlib can do 1000.
MOST_INFLATION, INFLATION_ALLOWANCE_BYTES = 100, 16 << 20
INFLATION_CPU_S = 20
#: What pydicom raises on damaged files, at reading and at the first use of a tag; each was met in ``benchmarks.film_fuzz``.
#: UserWarning is its warning of an unexpected end, made an error below.
DAMAGED = (
    OSError, EOFError, ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RuntimeError, struct.error,
    UserWarning,
)  # fmt: skip


def film_dataset(path: Path) -> Any:
    """The ``pydicom`` dataset of a film with its pixels still encoded; what follows them is not read.

    Raises:
        UnreadableInput: for a damaged file, without its texts: they may name the patient.
        RefusedInput: for a file that holds, or inflates to, more than a film does.
    """
    return _within_limits(path, LAST_PIXELS, MOST_FILM_BYTES)


def film_header(path: Path) -> Any:
    """The ``pydicom`` dataset of a DICOM file up to its pixels.

    Raises:
        UnreadableInput: for a damaged file, without its texts.
        RefusedInput: for a file whose tags hold, or inflate to, more than those of a film.
    """
    return _within_limits(path, FIRST_PIXELS - 1, MOST_HEADER_BYTES)


@contextmanager
def damage_named(path: Path) -> Iterator[None]:
    """Where pydicom reads or decodes tags: its warnings, which quote them, are dropped; its errors are one line without them.

    Raises:
        UnreadableInput: for whatever pydicom raises on damaged files.
    """
    from pydicom.errors import BytesLengthException, InvalidDicomError

    try:
        with python_warnings.catch_warnings():
            python_warnings.simplefilter("ignore")
            # pydicom only warns, and hands over a dataset without the tags that are cut off
            python_warnings.filterwarnings("error", message="End of file reached")
            yield
    except (Failure, MemoryError):
        raise
    except InvalidDicomError as error:
        raise UnreadableInput(f"{path.name} cannot be read: it does not start as DICOM files do; damaged?") from error
    except (*DAMAGED, BytesLengthException) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
        raise UnreadableInput(f"{path.name} cannot be read; truncated or damaged? ({reason})") from error


class _BoundedReader:
    """A binary file that refuses to give more than ``most_bytes``, or more often than any film is asked."""

    def __init__(self, stream: BinaryIO, size: int, most_bytes: int, name: str) -> None:
        self._stream, self._size, self._left, self._reads, self._film = stream, size, most_bytes, MOST_READS, name

    def read(self, count: int = -1) -> bytes:
        """Some bytes, never more than the file has: Python would set aside memory for as many as a damaged length claims."""
        rest = max(self._size - self._stream.tell(), 0)
        count = rest if count < 0 else min(count, rest)
        self._left, self._reads = self._left - count, self._reads - 1
        if self._left < 0 or self._reads < 0:
            raise RefusedInput(f"{self._film} holds more than any film: too many bytes, or too many tags")
        return self._stream.read(count)

    def seek(self, offset: int, whence: int = 0) -> int:
        """As of any file."""
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        """As of any file."""
        return self._stream.tell()


def _within_limits(path: Path, last_tag: int, most_bytes: int) -> Any:
    with damage_named(path), tempfile.TemporaryDirectory(prefix="xct-film-") as folder:
        syntax, start = _transfer_syntax(path)
        plain = _inflated(path, start, Path(folder) / "inflated.dcm") if syntax == DEFLATED else path
        dataset = _parsed(plain, path.name, last_tag, most_bytes)
        if len(dataset) == 0:
            raise UnreadableInput(f"{path.name} cannot be read: it holds no tags; truncated or damaged?")
        return dataset


def _parsed(path: Path, name: str, last_tag: int, most_bytes: int) -> Any:
    from pydicom.filereader import read_partial

    with path.open("rb") as stream:
        reader: Any = _BoundedReader(stream, path.stat().st_size, most_bytes, name)
        return read_partial(reader, stop_when=lambda tag, *_: tag > last_tag)


def _transfer_syntax(path: Path) -> tuple[str, int]:
    """The transfer syntax that the file names, or "", and where its dataset begins."""
    from pydicom.filereader import read_dataset, read_preamble

    with path.open("rb") as stream:
        reader: Any = _BoundedReader(stream, path.stat().st_size, MOST_HEADER_BYTES, path.name)
        read_preamble(reader, force=False)
        meta = read_dataset(reader, False, True, stop_when=lambda tag, *_: tag.group != 2)
        return str(meta.get("TransferSyntaxUID") or ""), reader.tell()


def _inflated(path: Path, start: int, target: Path) -> Path:
    """A plain DICOM file with the inflated dataset of a deflated one."""
    syntax = EXPLICIT_LITTLE.encode() + b"\0"
    meta = struct.pack("<HH2sH", 2, 0x10, b"UI", len(syntax)) + syntax
    target.write_bytes(b"\0" * 128 + b"DICM" + struct.pack("<HH2sHI", 2, 0, b"UL", 4, len(meta)) + meta)
    deflated = path.read_bytes()[start:]
    most = min(max(MOST_INFLATION * len(deflated), INFLATION_ALLOWANCE_BYTES), MOST_FILM_BYTES)
    limits = {"memory_bytes": 2 * len(deflated) + (64 << 20), "output_bytes": most + (1 << 20), "inflated_bytes": most}
    run_child("inflate", deflated, target, name=path.name, what="deflated", cpu_s=INFLATION_CPU_S, **limits)
    return target

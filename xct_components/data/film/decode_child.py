"""Run as a script of its own: inflates or decodes bytes of unknown origin within limits of memory, time and output.

``dicom_child.py`` starts it, hands the bytes to its standard input, and reads its exit code and the target file. C libraries
work on hostile bytes here; what kills them, or never ends, takes down nothing else. It imports nothing of ours and, to start
in a fraction of a second, only the library that the job needs. See PS3.5, annex A, for the transfer syntaxes.
"""

from __future__ import annotations

import contextlib
import json
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: Exit codes. (A signal is one too, a negative one.)
DONE, DAMAGED, NO_DECODER, TOO_LARGE = 0, 10, 11, 12
INFLATED_AT_A_TIME = 1 << 20


class TooLarge(Exception):
    """The job would give more than it may."""


def main(argument: str) -> int:
    """Do the job that a JSON document describes.

    Args:
        argument: with ``task`` ("inflate" or "decode"), ``sys_path``, ``target``, ``cpu_s``, ``output_bytes``, ``memory_bytes``
            beyond what the libraries take, and what the task needs.

    Returns:
        One of the exit codes above.
    """
    job = json.loads(argument)
    sys.path[:] = job["sys_path"]
    try:
        work = {"inflate": _inflater, "decode": _decoder}[job["task"]](job)
        _limit(job["memory_bytes"], job["cpu_s"], job["output_bytes"])
        work(sys.stdin.buffer.read())
    except ImportError:
        return NO_DECODER
    except (MemoryError, TooLarge):
        return TOO_LARGE
    except BaseException:  # decoders fail in a dozen ways, those written in Rust with a BaseException
        return DAMAGED
    return DONE


def _limit(memory_bytes: int, cpu_s: int, output_bytes: int) -> None:
    """What the rest of this process may take. Where the system has no such limits, the caller's clock is the only one."""
    try:
        import resource
    except ImportError:
        return
    taken = _address_space_bytes()
    limits = {"RLIMIT_CPU": cpu_s, "RLIMIT_FSIZE": output_bytes, "RLIMIT_CORE": 0}
    if taken:
        limits["RLIMIT_AS"] = taken + memory_bytes
    for name, value in limits.items():
        with contextlib.suppress(ValueError, OSError):  # a system that does not know it, or whose own limit is lower
            resource.setrlimit(getattr(resource, name), (value, value))


def _address_space_bytes() -> int:
    """Of this process; 0 where /proc does not tell (macOS, which does not keep RLIMIT_AS either)."""
    import resource

    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    except (OSError, ValueError):
        return 0
    return pages * resource.getpagesize()


def _inflater(job: dict[str, Any]) -> Callable[[bytes], None]:
    """Append the inflated bytes to the target, at most ``output_bytes`` of them."""

    def inflate(data: bytes) -> None:
        inflated, stream, left = 0, zlib.decompressobj(-zlib.MAX_WBITS), data
        with Path(job["target"]).open("ab") as target:
            while left and not stream.eof:
                chunk = stream.decompress(left, INFLATED_AT_A_TIME)
                left = stream.unconsumed_tail
                inflated += len(chunk)
                if inflated > job["inflated_bytes"]:
                    raise TooLarge
                target.write(chunk)
            target.write(stream.flush())
        if not stream.eof:
            raise EOFError

    return inflate


def _decoder(job: dict[str, Any]) -> Callable[[bytes], None]:
    """Write (rows, cols) little-endian integers of ``bytes_per_pixel`` to the target, negative ones as two's complement."""
    pixels_of = {"imagecodecs": _jpeg, "jpeg_ls": _jpeg_ls, "openjpeg": _jpeg_2000, "pydicom": _run_length}[job["decoder"]](job)

    def decode(data: bytes) -> None:
        pixels, bits = pixels_of(data), 8 * job["bytes_per_pixel"]
        if pixels.shape != (job["rows"], job["cols"]) or pixels.dtype.kind not in "iu":
            raise ValueError
        if 8 * pixels.dtype.itemsize > bits and (int(pixels.max()) >> bits or int(pixels.min()) < -(1 << (bits - 1))):
            raise ValueError
        pixels.astype(f"<u{job['bytes_per_pixel']}").tofile(job["target"])

    return decode


def _jpeg(_: dict[str, Any]) -> Callable[[bytes], Any]:
    """JPEG baseline, extended and lossless by libjpeg-turbo, which alone of the permissive decoders reads 2 to 16 bits."""
    from imagecodecs import jpeg8_decode

    return jpeg8_decode


def _jpeg_ls(_: dict[str, Any]) -> Callable[[bytes], Any]:
    """JPEG-LS by CharLS."""
    import jpeg_ls  # type: ignore[import-untyped]
    import numpy as np

    return lambda frame: jpeg_ls.decode(np.frombuffer(frame, np.uint8))


def _jpeg_2000(job: dict[str, Any]) -> Callable[[bytes], Any]:
    """JPEG 2000 by OpenJPEG, once its own header names the size of the film."""
    from openjpeg.utils import decode, get_parameters

    def pixels_of(frame: bytes) -> Any:
        named = get_parameters(frame)
        if (named["rows"], named["columns"], named["samples_per_pixel"]) != (job["rows"], job["cols"], 1):
            raise ValueError
        return decode(frame)

    return pixels_of


def _run_length(job: dict[str, Any]) -> Callable[[bytes], Any]:
    """RLE by pydicom itself, all bits as they are: by default it would take another package, if there is one."""
    from pydicom.encaps import encapsulate
    from pydicom.pixels.decoders.base import RLELosslessDecoder

    bits = 8 * job["bytes_per_pixel"]
    described = {"rows": job["rows"], "columns": job["cols"], "number_of_frames": 1, "samples_per_pixel": 1}
    described |= {"bits_allocated": bits, "bits_stored": bits, "pixel_representation": 0, "pixel_keyword": "PixelData"}
    described |= {"photometric_interpretation": "MONOCHROME2"}
    return lambda frame: RLELosslessDecoder.as_array(encapsulate([frame]), index=0, decoding_plugin="pydicom", **described)[0]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

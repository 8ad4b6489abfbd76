"""The stored pixels of a DICOM film: plain ones are read here, compressed ones decoded by a process of its own."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xct_components.data.film.dicom_child import run_child
from xct_components.failures import RefusedInput, UnreadableInput

PLAIN = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99")
#: Compressed transfer syntaxes (PS3.5, annex A) and the module that decodes each, all of permissive licences.
DECODERS = {
    "1.2.840.10008.1.2.5": "pydicom",  # RLE
    "1.2.840.10008.1.2.4.50": "imagecodecs",  # JPEG baseline, lossy, 8 bits
    "1.2.840.10008.1.2.4.51": "imagecodecs",  # JPEG extended, lossy, 8 or 12 bits
    "1.2.840.10008.1.2.4.57": "imagecodecs",  # JPEG lossless, any predictor
    "1.2.840.10008.1.2.4.70": "imagecodecs",  # JPEG lossless, first predictor
    "1.2.840.10008.1.2.4.80": "jpeg_ls",  # JPEG-LS lossless
    "1.2.840.10008.1.2.4.81": "jpeg_ls",  # JPEG-LS near-lossless
    "1.2.840.10008.1.2.4.90": "openjpeg",  # JPEG 2000 lossless
    "1.2.840.10008.1.2.4.91": "openjpeg",  # JPEG 2000
    "1.2.840.10008.1.2.4.201": "openjpeg",  # high-throughput JPEG 2000 lossless
    "1.2.840.10008.1.2.4.202": "openjpeg",  # the same, progressive
    "1.2.840.10008.1.2.4.203": "openjpeg",  # high-throughput JPEG 2000
}
LOSSY = tuple(f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 81, 91, 203))
#: No encoder makes a film larger than this many times its pixels, and a few tables.
MOST_EXPANSION, TABLES_BYTES = 2, 1 << 20
#: Decoders hold a film several times over, as 32-bit integers: JPEG 2000 of 3.6 million pixels took 60 MB.
WORK_BYTES_PER_PIXEL, WORK_BYTES = 32, 256 << 20
#: Computing allowed: JPEG 2000 takes half a second per million pixels, and some machines are slow.
CPU_S, CPU_S_PER_MILLION = 20, 3


@dataclass(frozen=True)
class PixelLayout:
    """How a pixel is stored (PS3.3 C.7.6.3).

    Args:
        rows: of the film.
        cols: of the film.
        bits_allocated: per pixel, 8 or 16.
        bits_stored: of those that hold the value.
        high_bit: the highest of those, counted from 0.
        signed: whether the value is two's complement.

    Raises:
        ValueError: if there can be no such pixel.
    """

    rows: int
    cols: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool

    def __post_init__(self) -> None:
        if self.bits_allocated not in (8, 16):
            raise ValueError(f"bits_allocated must be 8 or 16, got {self.bits_allocated}")
        if not 1 <= self.bits_stored <= self.high_bit + 1 <= self.bits_allocated:
            raise ValueError(f"{self.bits_stored} bits below bit {self.high_bit} do not fit into {self.bits_allocated}")

    @property
    def value_range(self) -> tuple[int, int]:
        """The least and the largest value that can be stored."""
        half = 1 << (self.bits_stored - 1)
        return (-half, half - 1) if self.signed else (0, 2 * half - 1)


def pixel_layout(dataset: Any, name: str) -> PixelLayout:
    """The layout that the tags name.

    Raises:
        RefusedInput: for one that no film has.
    """
    allocated, stored = int(dataset.get("BitsAllocated") or 0), int(dataset.get("BitsStored") or 0)
    high = dataset.get("HighBit")
    signed = bool(dataset.get("PixelRepresentation") or 0)
    try:
        return PixelLayout(
            int(dataset.Rows), int(dataset.Columns), allocated, stored, stored - 1 if high is None else int(high), signed
        )
    except ValueError as error:
        raise RefusedInput(f"{name} has pixels of no film: {error}; export it again") from error


def stored_pixels(dataset: Any, layout: PixelLayout, name: str) -> np.ndarray:
    """The stored values (rows, cols), signed as they are, within ``layout.value_range``.

    Raises:
        UnreadableInput: for damaged pixels, an unknown compression, or one whose decoder is missing.
        RefusedInput: for pixels that take more memory or time than a film's may.
    """
    syntax = str(dataset.file_meta.get("TransferSyntaxUID") or "")
    if "PixelData" not in dataset:
        raise UnreadableInput(f"{name} holds no pixels; truncated or damaged?")
    if syntax in PLAIN:
        return _values(_plain(dataset, layout, name), layout)
    if syntax not in DECODERS:
        raise UnreadableInput(
            f"{name} is compressed in a way that is not read ({syntax_name(dataset)}); export it uncompressed"
        )
    if layout.high_bit != layout.bits_stored - 1 and DECODERS[syntax] != "pydicom":
        raise RefusedInput(f"{name} has compressed pixels whose bits do not begin at 0; export it uncompressed")
    return _values(_in_range(_decoded(dataset, syntax, layout, name), syntax, layout, name), layout)


def syntax_name(dataset: Any) -> str:
    """The name of the transfer syntax in the standard; of others not what the file says, but that it is unknown."""
    from pydicom.uid import UID

    syntax = UID(str(dataset.file_meta.get("TransferSyntaxUID") or ""))
    return syntax.name if syntax.name != str(syntax) else "an unknown transfer syntax"


def _plain(dataset: Any, layout: PixelLayout, name: str) -> np.ndarray:
    """All bits allocated, unsigned."""
    order = ">" if str(dataset.file_meta.TransferSyntaxUID) == "1.2.840.10008.1.2.2" else "<"
    itemsize, count = layout.bits_allocated // 8, layout.rows * layout.cols
    data = dataset.PixelData
    if len(data) < count * itemsize:
        raise UnreadableInput(f"{name} holds {len(data)} bytes of pixels, not {count * itemsize}; truncated or damaged?")
    if order == ">" and itemsize == 1 and dataset["PixelData"].VR == "OW":  # bytes in words whose order is swapped (PS3.5 8.1)
        data = np.frombuffer(data[: len(data) // 2 * 2], "<u2").byteswap().tobytes()
    return np.frombuffer(data, f"{order}u{itemsize}", count=count).reshape(layout.rows, layout.cols).astype(f"u{itemsize}")


def _decoded(dataset: Any, syntax: str, layout: PixelLayout, name: str) -> np.ndarray:
    """All bits allocated, unsigned, from the child."""
    from pydicom.encaps import get_frame

    count, itemsize = layout.rows * layout.cols, layout.bits_allocated // 8
    data, what = dataset.PixelData, syntax_name(dataset)
    if len(data) > MOST_EXPANSION * count * itemsize + TABLES_BYTES:
        raise RefusedInput(f"{name} ({what}) is larger compressed than its pixels are; export it uncompressed")
    frame = get_frame(data, 0, number_of_frames=1)
    with tempfile.TemporaryDirectory(prefix="xct-film-") as folder:
        target = Path(folder) / "pixels"
        run_child(
            "decode",
            frame,
            target,
            name=name,
            what=what,
            cpu_s=CPU_S + CPU_S_PER_MILLION * count // 10**6,
            memory_bytes=WORK_BYTES + WORK_BYTES_PER_PIXEL * count + 3 * len(frame),
            output_bytes=count * itemsize,
            decoder=DECODERS[syntax],
            rows=layout.rows,
            cols=layout.cols,
            bytes_per_pixel=itemsize,
        )
        pixels = np.fromfile(target, f"<u{itemsize}")
    if pixels.size != count:
        raise UnreadableInput(f"{name} ({what}) cannot be decoded; truncated or damaged?")
    return pixels.reshape(layout.rows, layout.cols)


def _in_range(bits: np.ndarray, syntax: str, layout: PixelLayout, name: str) -> np.ndarray:
    """Decoded pixels without what a lossy encoder has added beyond white; a lossless one that goes there was tagged wrongly."""
    most = layout.value_range[1]
    if layout.signed or DECODERS[syntax] == "pydicom" or int(bits.max()) <= most:
        return bits
    if syntax not in LOSSY:
        raise UnreadableInput(f"{name} has compressed pixels of more than its {layout.bits_stored} bits; damaged?")
    return bits.clip(max=most)


def _values(bits: np.ndarray, layout: PixelLayout) -> np.ndarray:
    """The value that the stored bits of each pixel mean; the other bits hold overlays of old files, or repeat the sign."""
    values = (bits.astype(np.int32) >> (layout.high_bit + 1 - layout.bits_stored)) & ((1 << layout.bits_stored) - 1)
    if layout.signed:
        values -= (values >> (layout.bits_stored - 1)) << layout.bits_stored
    return values.astype(f"{'i' if layout.signed else 'u'}{layout.bits_allocated // 8}")

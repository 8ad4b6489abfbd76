"""Hostile and damaged DICOM films end as one documented line: bombs, decoders that crash or never end, text in tags."""

from __future__ import annotations

import itertools
import json
import struct
import subprocess
import sys
import tempfile
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.config import IGNORE
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.encaps import encapsulate
from pydicom.uid import UID

from benchmarks.film_fuzz import fuzzed
from benchmarks.film_mutants import deep_sequences
from tests.data_layer.made_dicom_films import SYNTAXES, film, film_pixels, written
from xct_components.data.film import decode_child, dicom_decoding
from xct_components.data.film.one_patient import require_one_patient
from xct_components.data.film.pixels import film_from_file
from xct_components.failures import Failure, RefusedInput, UnreadableInput

PIXELS = film_pixels(12)
# What reading one small film may take at most in Python objects: numpy, pydicom's tables and the header's limit of reads.
MOST_TRACED_BYTES = 150 << 20


def plain_bytes(tmp_path: Path, **tags: Any) -> bytes:
    return written(tmp_path / "plain.dcm", film(PIXELS, 12, **tags)).read_bytes()


def head(syntax: str) -> bytes:
    """Preamble and file meta information."""
    uid = SYNTAXES[syntax].encode()
    uid += b"\0" * (len(uid) % 2)
    meta = struct.pack("<HH2sH", 2, 0x10, b"UI", len(uid)) + uid
    return b"\0" * 128 + b"DICM" + struct.pack("<HH2sHI", 2, 0, b"UL", 4, len(meta)) + meta


def deflated_bomb(mib: int) -> bytes:
    """A dataset of one private element of zeros."""
    press = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    packed = press.compress(b"\x09\0\x10\0OB\0\0" + struct.pack("<I", mib << 20))
    return head("deflated") + packed + b"".join(press.compress(bytes(1 << 20)) for _ in range(mib)) + press.flush()


def claiming(tmp_path: Path, syntax: str, frame: bytes | None = None, **tags: Any) -> bytes:
    """A compressed film whose tags, or whose stream, claim something else."""
    made = pydicom.dcmread(written(tmp_path / "claims.dcm", film(PIXELS, 12), syntax))
    if frame is not None:
        made.PixelData = encapsulate([frame])
    for name, value in tags.items():
        setattr(made, name, value)
    made.save_as(tmp_path / "claims.dcm")
    return (tmp_path / "claims.dcm").read_bytes()


def huge_codestream(tmp_path: Path) -> bytes:
    """JPEG 2000 whose SIZ marker says 30000 x 30000."""
    data = claiming(tmp_path, "JPEG 2000")
    place = data.index(b"\xff\x4f\xff\x51") + 8
    return (
        data[:place] + struct.pack(">IIII", 30000, 30000, 0, 0) + struct.pack(">IIII", 30000, 30000, 0, 0) + data[place + 32 :]
    )


def huge_jpeg(tmp_path: Path) -> bytes:
    """Lossless JPEG whose frame header says 65500 x 65500."""
    data = claiming(tmp_path, "JPEG lossless SV1")
    place = data.index(b"\xff\xc3") + 5
    return data[:place] + struct.pack(">HH", 65500, 65500) + data[place + 4 :]


BOMBS: dict[str, tuple[Callable[[Path], bytes], type[Failure], str]] = {
    "deflated zeros": (lambda folder: deflated_bomb(120), RefusedInput, "unpacks to more"),
    "a run-length stream of 3 MiB for 96 x 80 pixels": (
        lambda folder: claiming(folder, "RLE", struct.pack("<16I", 1, 64, *[0] * 14) + b"\x81\0" * (3 << 19)),
        RefusedInput,
        "larger compressed",
    ),
    "run-length for more pixels than there are": (
        lambda folder: claiming(folder, "RLE", struct.pack("<16I", 1, 64, *[0] * 14) + b"\x81\0" * (1 << 19)),
        UnreadableInput,
        "RLE",
    ),
    "65535 x 65535": (
        lambda folder: claiming(folder, "explicit", Rows=65535, Columns=65535),
        RefusedInput,
        "more than any film",
    ),
    "65535 x 65535 compressed": (
        lambda folder: claiming(folder, "JPEG-LS", Rows=65535, Columns=65535),
        RefusedInput,
        "more than any film",
    ),
    "two thousand million frames": (lambda folder: plain_bytes(folder, NumberOfFrames=2**31 - 1), RefusedInput, "frames"),
    "deep sequences": (lambda folder: head("explicit") + deep_sequences(5000), UnreadableInput, "damaged"),
    "a hundred thousand empty tags": (
        lambda folder: head("explicit") + b"".join(struct.pack("<HH2sH", 9, n % 65536, b"LO", 0) for n in range(100_000)),
        RefusedInput,
        "too many tags",
    ),
    "a length of 4 GiB": (
        lambda folder: head("explicit") + b"\x09\0\x10\0OB\0\0\xf0\xff\xff\xff",
        RefusedInput,
        "modality none",
    ),
    "a codestream of 900 million pixels": (huge_codestream, UnreadableInput, "JPEG 2000"),
    "a JPEG of 4000 million pixels": (huge_jpeg, Failure, "JPEG Lossless"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_without_its_memory(name, tmp_path):
    make, failure, reason = BOMBS[name]
    (tmp_path / "bomb.dcm").write_bytes(make(tmp_path))
    tracemalloc.start()
    try:
        with pytest.raises(failure, match=reason) as caught:
            film_from_file(tmp_path / "bomb.dcm")
        assert tracemalloc.get_traced_memory()[1] < MOST_TRACED_BYTES
    finally:
        tracemalloc.stop()
    assert "\n" not in str(caught.value)


def test_a_deflated_bomb_says_nothing_about_its_patient(tmp_path):
    for name in ("a.dcm", "b.dcm"):
        (tmp_path / name).write_bytes(deflated_bomb(60))
    require_one_patient(tmp_path / "a.dcm", tmp_path / "b.dcm")


DECODERS = {
    "crashes": ("import os, signal\ndef decode(*_): os.kill(os.getpid(), signal.SIGSEGV)", UnreadableInput, "damaged"),
    "aborts": ("import os\ndef decode(*_): os.abort()", UnreadableInput, "damaged"),
    "panics": ("class P(BaseException): pass\ndef decode(*_): raise P('HOSTILE')", UnreadableInput, "damaged"),
    "never ends": ("def decode(*_):\n    while True: pass", RefusedInput, "takes more than 1 s"),
    "takes all memory": ("def decode(*_): return bytearray(8 << 30)", RefusedInput, "more than a film holds"),
    "leaves without a word": ("import os\ndef decode(*_): os._exit(0)", UnreadableInput, "damaged"),
    "gives another size": ("import numpy as n\ndef decode(*_): return n.zeros((9, 9), 'u2')", UnreadableInput, "damaged"),
    "gives too many bits": ("import numpy\ndef decode(*_): return numpy.full((96, 80), 5000)", UnreadableInput, "12 bits"),
    "gives fractions": ("import numpy as n\ndef decode(*_): return n.zeros((96, 80))", UnreadableInput, "damaged"),
    "chatters": ("import os\ndef decode(*_): [os.write(n, b'HOSTILE') for n in (1, 2)], 1/0", UnreadableInput, "damaged"),
}  # fmt: skip


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps the limits of memory")
@pytest.mark.parametrize("name", DECODERS)
def test_a_decoder_that(name, tmp_path, monkeypatch, capfd):
    program, failure, reason = DECODERS[name]
    path = written(tmp_path / "film.dcm", film(PIXELS, 12), "JPEG-LS")
    (tmp_path / "jpeg_ls.py").write_text(program)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(dicom_decoding, "CPU_S", 1)
    with pytest.raises(failure, match=reason) as caught:
        film_from_file(path)
    assert "\n" not in str(caught.value)
    assert "HOSTILE" not in str(caught.value) + "".join(capfd.readouterr())


def test_the_process_that_decodes_loads_neither_torch_nor_monai_nor_pydicom():
    job = {
        "sys_path": sys.path,
        "task": "decode",
        "decoder": "openjpeg",
        "memory_bytes": 1 << 30,
        "cpu_s": 9,
        "output_bytes": 9,
    }
    code = (
        "import sys, runpy\n"
        f"main = runpy.run_path({decode_child.__file__!r})['main']\n"
        "main(sys.argv[1]); print(*sorted({name.split('.')[0] for name in sys.modules}))"
    )
    command = [sys.executable, "-c", code, json.dumps({**job, "rows": 9, "cols": 9})]
    loaded = subprocess.run(command, input="", capture_output=True, text=True, check=True).stdout.split()
    assert {"torch", "monai", "pydicom", "xct_components"} & set(loaded) == set()
    assert "openjpeg" in loaded


def test_nothing_is_left_in_the_folder_for_temporary_files(tmp_path, monkeypatch):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    film_from_file(written(tmp_path / "film.dcm", film(PIXELS, 12), "JPEG-LS"))
    film_from_file(written(tmp_path / "film.dcm", film(PIXELS, 12), "deflated"))
    (tmp_path / "film.dcm").write_bytes(deflated_bomb(60))
    with pytest.raises(RefusedInput):
        film_from_file(tmp_path / "film.dcm")
    assert list((tmp_path / "temporary").iterdir()) == []


WRONG: dict[str, tuple[dict[str, Any], type[Failure], str]] = {
    "a mammogram": ({"Modality": "MG"}, RefusedInput, "modality MG"),
    "a mammogram that calls itself DX": ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.2"}, RefusedInput, "Mammography"),
    "a captured mammogram": ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7", "Modality": "MG"}, RefusedInput, "modality MG"),
    "a CT slice": ({"Modality": "CT", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}, RefusedInput, "modality CT"),
    "a structured report": ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.88.11", "Modality": "SR"}, RefusedInput, "modality SR"),
    "a class of nobody": ({"SOPClassUID": "1.2.3.4.5"}, RefusedInput, "an unknown one"),
    "other work": ({"Modality": "OT"}, RefusedInput, "modality OT"),
    "two frames": ({"NumberOfFrames": 2}, RefusedInput, "several frames"),
    "colours": ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, RefusedInput, "colours"),
    "a palette": ({"PhotometricInterpretation": "PALETTE COLOR"}, RefusedInput, "MONOCHROME"),
    "16 x 16": ({"Rows": 16, "Columns": 16}, RefusedInput, "at least 64"),
    "no rows": ({"Rows": None}, RefusedInput, "at least 64"),
    "more pixels than bytes": ({"Rows": 200}, UnreadableInput, "truncated"),
    "no pixels": ({"PixelData": None}, UnreadableInput, "no pixels|truncated"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_film_is_a_documented_failure(name, tmp_path):
    tags, failure, reason = WRONG[name]
    made = film(PIXELS, 12)
    for keyword, value in tags.items():
        if value is None:
            delattr(made, keyword)
        else:
            setattr(made, keyword, value)
    made.save_as(tmp_path / "film.dcm", enforce_file_format=True)
    with pytest.raises(failure, match=reason) as caught:
        film_from_file(tmp_path / "film.dcm")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.100", "1.2.3.HOSTILE", "HOSTILE"])
def test_a_compression_that_is_not_read_is_named_only_if_the_standard_knows_it(syntax, tmp_path):
    made = film(PIXELS, 12)
    made.file_meta.TransferSyntaxUID = UID(syntax, IGNORE)
    made.PixelData = encapsulate([made.PixelData])
    pydicom.dcmwrite(tmp_path / "film.dcm", made, implicit_vr=False, little_endian=True)
    with pytest.raises(UnreadableInput, match=r"MPEG2|an unknown transfer syntax") as caught:
        film_from_file(tmp_path / "film.dcm")
    assert "HOSTILE" not in str(caught.value)


HOSTILE = ("../../HOSTILE", "<script>HOSTILE</script>", "HOSTILE\nHOSTILE", "HOSTILE^NAME", "\x1b[31mHOSTILE")
SPEAKING = (
    "PatientName", "PatientID", "StudyDescription", "SeriesDescription", "Modality", "PhotometricInterpretation",
    "BodyPartExamined", "ViewPosition", "PatientOrientation", "PresentationIntentType", "PresentationLUTShape",
    "PixelIntensityRelationship", "VOILUTFunction", "PixelSpacingCalibrationType", "ShutterShape", "NumberOfFrames",
    "WindowCenter", "RescaleSlope", "Rows", "PixelSpacing", "SOPClassUID", "SOPInstanceUID", "ImageType",
    "DistanceSourceToDetector", "BurnedInAnnotation", "PixelPaddingValue", "SpecificCharacterSet",
)  # fmt: skip


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("keyword", SPEAKING)
def test_text_of_a_tag_reaches_no_message_no_record_and_no_output(keyword, tmp_path, capfd):
    for text, vr in itertools.product(HOSTILE, ("LO", None)):
        made = film(PIXELS, 12, WindowCenter="2000", WindowWidth="4000")
        tag = tag_for_keyword(keyword)
        assert tag is not None
        own = pydicom.datadict.dictionary_VR(tag)
        if vr is None and own not in ("CS", "PN", "LO", "UI", "IS", "DS"):
            continue
        # As text, or as text under the tag's own representation, which it breaks.
        made[tag] = DataElement(tag, vr or "LO", text, validation_mode=IGNORE)
        path = tmp_path / "film.dcm"
        pydicom.dcmwrite(path, made, implicit_vr=False, little_endian=True)
        if vr is None:
            plain = path.read_bytes()
            place = plain.index(struct.pack("<HH", int(tag) >> 16, int(tag) & 0xFFFF) + b"LO") + 4
            path.write_bytes(plain[:place] + own.encode() + plain[place + 2 :])
        try:
            source = film_from_file(path)
            said = json.dumps([source.facts, source.warnings, source.concerns, source.view_position, source.pixel_mm_source])
        except Failure as failure:
            said = str(failure)
        assert "HOSTILE" not in said.upper() + "".join(capfd.readouterr())
        assert [file.name for file in tmp_path.iterdir()] == ["film.dcm"]


def test_a_few_hundred_damaged_films_end_as_films_or_documented_failures():
    counts, _ = fuzzed(210, seed=7)
    outcomes = {kind for counter in counts.values() for kind in counter}
    assert outcomes <= {"film", "UnreadableInput", "RefusedInput"}
    assert len(counts) == len(SYNTAXES)
    assert len(outcomes) == 3


def test_the_pixels_survive_what_damages_only_the_patients_name(tmp_path):
    content = plain_bytes(tmp_path).replace(b"Test^Film", b"\xff\xfe\\^=^\\=^")
    (tmp_path / "film.dcm").write_bytes(content)
    np.testing.assert_array_equal(film_from_file(tmp_path / "film.dcm").pixels, PIXELS)

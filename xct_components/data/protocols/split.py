"""Who is trained on and who is tested, from the user's own copy of a published list; none is shipped with this project.

A copy is known by the SHA-256 of its lines (blanks at the ends and empty lines left out, one newline after each), so that a
change of line ends does not matter. Series are grouped by patient: a patient on two sides is a leak, and is said.
"""

from __future__ import annotations

import hashlib
import os
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from xct_components.data.protocols.protocol import Protocol
from xct_components.failures import InputWarning, RefusedInput, UnreadableInput, UsageFailure

Side = Literal["train", "validation", "test"]
#: Most patients that a warning names.
MOST_NAMED = 5

# "LIDC-IDRI-0001.20000101.3000566.1": patient, date, study, series; alone, or as a folder of a path.
_SERIES = re.compile(r"(?:^|[/\\])(LIDC-IDRI-\d{4}(?:\.\w+)*)(?=[/\\]|$)")


@dataclass(frozen=True)
class PublishedList:
    """A list of patients that a protocol's authors published: facts about it, not the list.

    Args:
        protocol: name of the protocol.
        side: what it lists.
        sha256: of its lines, as ``list_sha256`` counts.
        lines: how many there are.
        series: how many different series they name.
        url: where the list is.
    """

    protocol: str
    side: Side
    sha256: str
    lines: int
    series: int
    url: str


_X2CT = "https://github.com/kylekma/X2CT/blob/a9f0473ee2b8acfc2abcc9acd7d7cf50435435e3/3DGAN/data/"
_PERX2CT = "https://github.com/dek924/PerX2CT/blob/be4c354c8a01520190929e267b5594421b6000eb/"
_SLICES, _SERIES_LISTS = f"{_PERX2CT}dataset_list/LIDC_CTslice/", f"{_PERX2CT}data_preprocessing/dataset_list/"

# Protocol, side, sha256, lines, series, address. PerX2CT's test list of 93 series holds its 17 validation series too.
_FACTS: tuple[tuple[str, Side, str, int, int, str], ...] = (
    ("x2ct", "train", "7c44572ac6a83335dd8cb4e09e8653a3c4cf7aca6eec87f4cbbd7dc082f2e58e", 916, 916, f"{_X2CT}train.txt"),
    ("x2ct", "test", "48e72ef87e28bc9860a8143fd218f41ad8eb11510ea61589614eef419cec5ecb", 102, 102, f"{_X2CT}test.txt"),
    (
        "perx2ct",
        "train",
        "097f6a5aaad2d4372385d15030d2ff851524c8f39d1d98c8e224f89e668f1acc",
        855,
        855,
        f"{_SERIES_LISTS}train.txt",
    ),
    ("perx2ct", "test", "b34647f43d9a6264c653eb6e1752409606df25a32ae38f18971df6b8c45a3de3", 93, 93, f"{_SERIES_LISTS}test.txt"),
    (
        "perx2ct",
        "validation",
        "93950ae3fdd6ce8b86c47605da01a2d3fd8d8ace3ede97c6b90ff1dcdb86b638",
        6528,
        17,
        f"{_SLICES}val.txt",
    ),
    (
        "perx2ct",
        "validation",
        "3f053778cb2285f17c8b15922f86c6f2f75361f9cdf78fe67de621a30c74b11c",
        6528,
        17,
        f"{_SLICES}val_sorted.txt",
    ),
    ("perx2ct", "test", "29ed071bc92ed5e7a1499aea9a1c7015de57e81120936819c4c4043dad273632", 29184, 76, f"{_SLICES}test.txt"),
    (
        "perx2ct",
        "test",
        "192547c33b088e91b804a2c1fa0879b9c331b8d633e0aff19ea30116a8dafca3",
        29184,
        76,
        f"{_SLICES}test_sorted.txt",
    ),
)
PUBLISHED_LISTS = tuple(PublishedList(*fact) for fact in _FACTS)


@dataclass(frozen=True)
class ProtocolSplit:
    """Series of each side, in the order of the lists.

    Args:
        series: per side, the series ids.
        published: per side, the published list that the user's file is a copy of; None where it is of none.
        leaked_patients: patients that the files have on more than one side, before any is dropped.
    """

    series: Mapping[str, tuple[str, ...]]
    published: Mapping[str, PublishedList | None]
    leaked_patients: tuple[str, ...]

    def patients(self, side: str) -> tuple[str, ...]:
        """The patients of one side, each once."""
        return tuple(dict.fromkeys(patient_of(series) for series in self.series.get(side, ())))


def patient_of(series_id: str) -> str:
    """The patient of a series: "LIDC-IDRI-0001.20000101.3000566.1" is of "LIDC-IDRI-0001"."""
    return series_id.partition(".")[0]


def list_sha256(text: str) -> str:
    """SHA-256 of the lines of a list, whatever its line ends."""
    return hashlib.sha256("".join(f"{line}\n" for line in _lines(text)).encode()).hexdigest()


def read_protocol_split(
    files: Mapping[str, str | os.PathLike[str]],
    protocol: Protocol,
    *,
    accept_changed: bool = False,
    drop_leaked_from: str | None = None,
    known: Sequence[PublishedList] = PUBLISHED_LISTS,
) -> ProtocolSplit:
    """The split that the user's files describe.

    Args:
        files: per side ("train", "validation", "test"), a text file: one series id a line (X2CT), or one path of a slice a
            line (PerX2CT's LIDC_CTslice).
        protocol: whose lists they should be.
        accept_changed: take files that differ from the published ones, with a warning.
        drop_leaked_from: leave patients who are on several sides out of this one: "test" for weights that were trained with
            them, "train" before training. State it beside every number.
        known: lists to recognise.

    Raises:
        UnreadableInput: if a file is missing or not text.
        RefusedInput: if a file is no such list, or differs from the published one.
        UsageFailure: if a side has no such name, or there is nothing to drop from.

    Warns:
        InputWarning: if patients are on two sides, or a file cannot be, or is not, the published one.
    """
    for side in (*files, *([drop_leaked_from] if drop_leaked_from else [])):
        if side not in get_args(Side) or side not in files:
            raise UsageFailure(f"files and drop_leaked_from must name {', '.join(get_args(Side))}, got {side!r}; give its file")
    series: dict[str, tuple[str, ...]] = {}
    published: dict[str, PublishedList | None] = {}
    for side, file in files.items():
        text = _text(Path(file))
        series[side] = _series_of(text, Path(file).name)
        published[side] = _published(text, Path(file).name, side, protocol, known, accept_changed)
    leaked = _leaked(series)
    if leaked:
        _warn_of(leaked, protocol, drop_leaked_from)
    if drop_leaked_from is not None:
        series[drop_leaked_from] = tuple(s for s in series[drop_leaked_from] if patient_of(s) not in leaked)
    return ProtocolSplit(series, published, leaked)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise UnreadableInput(f"{file} does not exist; download the list from where docs/protocols.md says") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UnreadableInput(f"{file.name} cannot be read as text; give the list as it was published") from error


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _series_of(text: str, name: str) -> tuple[str, ...]:
    """Each series once, in the order in which the file first names it."""
    found: dict[str, None] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        match = _SERIES.search(line.strip())
        if match:
            found[match[1]] = None
        elif line.strip():
            raise RefusedInput(
                f"{name}, line {number}, names no LIDC-IDRI series: {line.strip()[:60]!r}; each line is an id such as "
                "LIDC-IDRI-0001.20000101.3000566.1, or a path with such a folder"
            )
    if not found:
        raise RefusedInput(f"{name} is empty; give the list as it was published")
    return tuple(found)


def _published(
    text: str, name: str, side: str, protocol: Protocol, known_lists: Sequence[PublishedList], accept_changed: bool
) -> PublishedList | None:
    candidates = [known for known in known_lists if (known.protocol, known.side) == (protocol.name, side)]
    sha256 = list_sha256(text)
    for known in candidates:
        if known.sha256 == sha256:
            return known
    if not candidates:
        _warn(f"{protocol.name} publishes no {side} list that {name} could be checked against; its numbers are not comparable")
        return None
    expected = " or ".join(f"{known.sha256[:12]}... with {known.lines} lines ({known.url})" for known in candidates)
    difference = f"{name} is not the published {side} list of {protocol.name}: sha256 {sha256[:12]}..., expected {expected}"
    if not accept_changed:
        raise RefusedInput(f"{difference}; accept_changed takes it nevertheless, and its numbers are then not comparable")
    _warn(f"{difference}; numbers are not comparable")
    return None


def _leaked(series: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Patients of more than one side, sorted."""
    sides = [{patient_of(one) for one in ids} for ids in series.values()]
    return tuple(sorted(patient for patient in set().union(*sides) if sum(patient in side for side in sides) > 1))


def _warn_of(leaked: tuple[str, ...], protocol: Protocol, dropped_from: str | None) -> None:
    named = ", ".join(leaked[:MOST_NAMED]) + (", ..." if len(leaked) > MOST_NAMED else "")
    known = " (as published)" if set(leaked) <= set(protocol.leaked_patients) else ""
    done = f"left out of {dropped_from}" if dropped_from else "kept; drop_leaked_from='train' or 'test' leaves them out"
    _warn(f"{len(leaked)} patient(s) on more than one side{known}: {named}; {done}")


def _warn(message: str) -> None:
    warnings.warn(message, InputWarning, stacklevel=4)

"""A split is what the user's copy of the published list says; another list, and a patient on two sides, are noticed."""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path

import pytest

from xct_components.data.protocols.protocol import LIFTXR, PERX2CT, PROTOCOLS, PSCT, X2CT
from xct_components.data.protocols.split import (
    PUBLISHED_LISTS,
    ProtocolSplit,
    PublishedList,
    list_sha256,
    patient_of,
    read_protocol_split,
)
from xct_components.failures import InputWarning, RefusedInput, UnreadableInput, UsageFailure

# Made up: the published lists belong to their authors.
TRAIN = ["LIDC-IDRI-9001.20000101.11.1", "LIDC-IDRI-9002.20000101.12.2.1", "LIDC-IDRI-9001.20000101.13.1"]
TEST = ["LIDC-IDRI-9003.20000101.14.1", "LIDC-IDRI-9004.20000101.3000015.1"]
LEAKED = "LIDC-IDRI-0442.20000101.7777.1"


def written(path: Path, lines: list[str], end: str = "\n") -> Path:
    path.write_bytes("".join(line + end for line in lines).encode())
    return path


def slices_of(series: list[str]) -> list[str]:
    return [
        f"./data/LIDC-HDF5-256_ct128_CTSlice/{one}/ct/axial_{i:03d}.h5" for one in series for axis in ("axial",) for i in (7, 8)
    ]


def read_changed(tmp_path: Path, train: list[str], test: list[str], **options) -> ProtocolSplit:
    """The split of made-up lists, which are of course not the published ones."""
    files = {"train": written(tmp_path / "train.txt", train), "test": written(tmp_path / "test.txt", test)}
    with pytest.warns(InputWarning, match="not the published"):
        return read_protocol_split(files, X2CT, accept_changed=True, **options)


def test_series_are_read_in_the_order_of_the_list_and_grouped_by_patient(tmp_path):
    split = read_changed(tmp_path, TRAIN, TEST)
    assert split.series == {"train": tuple(TRAIN), "test": tuple(TEST)}
    assert split.patients("train") == ("LIDC-IDRI-9001", "LIDC-IDRI-9002")
    assert split.patients("validation") == ()
    assert split.leaked_patients == ()


def test_lists_of_slices_name_each_series_once(tmp_path):
    split = read_changed(tmp_path, slices_of(TRAIN), slices_of(TEST))
    assert split.series == {"train": tuple(TRAIN), "test": tuple(TEST)}


def test_windows_paths_line_ends_and_blanks_do_not_matter(tmp_path):
    lines = ["\ufeffD:\\data\\" + TRAIN[0] + "\\ct_xray_data.h5", "", "  " + TRAIN[1] + "  "]
    (tmp_path / "train.txt").write_bytes("\r\n".join(lines).encode())
    with pytest.warns(InputWarning):
        split = read_protocol_split({"train": tmp_path / "train.txt"}, X2CT, accept_changed=True)
    assert split.series["train"] == tuple(TRAIN[:2])


def test_a_list_is_known_by_the_sha256_of_its_lines():
    unix = "".join(f"{line}\n" for line in TRAIN)
    assert list_sha256(unix) == hashlib.sha256(unix.encode()).hexdigest()
    assert list_sha256(unix.replace("\n", "\r\n") + "\r\n  \r\n") == list_sha256(unix)
    assert list_sha256(unix.replace("9001", "9009")) != list_sha256(unix)
    assert list_sha256("".join(f"{line}\n" for line in reversed(TRAIN))) != list_sha256(unix)


def test_the_published_list_is_recognised_without_a_warning(tmp_path):
    known = PublishedList("x2ct", "test", list_sha256("\n".join(TEST)), 2, 2, "https://example.org/test.txt")
    with warnings.catch_warnings():
        warnings.simplefilter("error", InputWarning)
        split = read_protocol_split({"test": written(tmp_path / "mine.txt", TEST, "\r\n")}, X2CT, known=[known])
    assert split.published == {"test": known}


def test_another_list_is_refused_with_both_hashes_and_the_address(tmp_path):
    file = written(tmp_path / "test.txt", TEST)
    ours, theirs = list_sha256("\n".join(TEST))[:12], "48e72ef87e28"
    with pytest.raises(RefusedInput, match=rf"{ours}.*{theirs}.*102 lines.*github.com/kylekma/X2CT.*accept_changed"):
        read_protocol_split({"test": file}, X2CT)


@pytest.mark.parametrize("protocol", [PSCT, LIFTXR])
def test_protocols_without_a_published_list_say_so(protocol, tmp_path):
    with pytest.warns(InputWarning, match=f"{protocol.name} publishes no test list"):
        split = read_protocol_split({"test": written(tmp_path / "test.txt", TEST)}, protocol)
    assert split.published == {"test": None}


def test_the_leaked_patient_is_named_and_kept_unless_told_otherwise(tmp_path):
    with pytest.warns(InputWarning, match=r"1 patient.*as published.*LIDC-IDRI-0442; kept"):
        split = read_changed(tmp_path, [*TRAIN, LEAKED], [*TEST, LEAKED.replace("7777", "8888")])
    assert split.leaked_patients == ("LIDC-IDRI-0442",)
    assert (len(split.series["train"]), len(split.series["test"])) == (4, 3)


@pytest.mark.parametrize("side", ["train", "test"])
def test_the_leaked_patient_is_left_out_of_the_side_that_is_asked_for(side, tmp_path):
    with pytest.warns(InputWarning, match=f"left out of {side}"):
        split = read_changed(tmp_path, [LEAKED, *TRAIN], [*TEST, LEAKED.replace("7777", "8888")], drop_leaked_from=side)
    assert "LIDC-IDRI-0442" not in split.patients(side)
    assert {"train": len(split.series["train"]), "test": len(split.series["test"])} == {"train": 4, "test": 3} | {
        side: {"train": 3, "test": 2}[side]
    }


def test_a_leak_that_the_authors_do_not_have_is_not_excused_as_published(tmp_path):
    with pytest.warns(InputWarning, match=r"on more than one side: LIDC-IDRI-9001") as caught:
        split = read_changed(tmp_path, TRAIN, [*TEST, TRAIN[0]])
    assert split.leaked_patients == ("LIDC-IDRI-9001",)
    assert not any("as published" in str(warning.message) for warning in caught)


REFUSED = {
    "line 2, names no LIDC-IDRI series": (RefusedInput, lambda path: written(path, [TRAIN[0], "patient 7"])),
    "is empty": (RefusedInput, lambda path: written(path, ["", "  "])),
    "does not exist": (UnreadableInput, lambda path: path),
    "cannot be read as text": (UnreadableInput, lambda path: path.write_bytes(b"\xff\xfe\x00LIDC") and path),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_is_no_such_list_is_refused_with_the_reason(reason, tmp_path):
    kind, make = REFUSED[reason]
    with pytest.raises(kind, match=reason):
        read_protocol_split({"train": make(tmp_path / "train.txt")}, X2CT, accept_changed=True)


@pytest.mark.parametrize(("side", "drop"), [("exam", None), ("train", "test")])
def test_sides_that_do_not_exist_are_errors_of_usage(side, drop, tmp_path):
    with pytest.raises(UsageFailure, match="must name train, validation, test"):
        read_protocol_split({side: written(tmp_path / "train.txt", TRAIN)}, X2CT, drop_leaked_from=drop)


def test_the_facts_about_the_published_lists_agree_with_each_other():
    assert len({known.sha256 for known in PUBLISHED_LISTS}) == len(PUBLISHED_LISTS)
    for known in PUBLISHED_LISTS:
        assert len(known.sha256) == 64
        assert known.lines in (known.series, known.series * 3 * 128)  # series, or every slice in three directions
        assert known.url.startswith("https://github.com/")
        assert known.protocol in PROTOCOLS
    counts = {(known.protocol, known.side): known.series for known in PUBLISHED_LISTS}
    assert (counts["x2ct", "train"], None, counts["x2ct", "test"]) == X2CT.series
    assert (counts["perx2ct", "train"], counts["perx2ct", "validation"], counts["perx2ct", "test"]) == PERX2CT.series


def test_the_patient_is_the_first_part_of_the_series_id():
    assert patient_of("LIDC-IDRI-0332.20000101.9250.30078.1") == "LIDC-IDRI-0332"
    assert patient_of("LIDC-IDRI-0332") == "LIDC-IDRI-0332"

"""Folder names: readable, the same in every run, no two alike, and none that leaves its folder."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from hypothesis import given
from hypothesis import strategies as st

from xct_components.batch.readable_name import folder_names, readable_name

SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._~-]*")
#: What file systems allow in a name, the undecodable bytes of Linux among it.
PARTS = st.text(st.characters(codec="utf-16-le", exclude_characters="/\0") | st.sampled_from("_._-~aA\udcff"), min_size=1)
PATHS = st.lists(PARTS.filter(lambda part: part not in (".", "..")), min_size=1, max_size=3).map(
    lambda all_: PurePosixPath(*all_)
)


@given(st.lists(PATHS, unique=True, max_size=20))
def test_names_are_safe_and_differ_on_any_file_system(paths):
    names = folder_names(paths, ["summary.json"])
    assert all(SAFE.fullmatch(name) and len(name) <= 130 for name in names)
    assert len({name.casefold() for name in names}) == len(paths)
    assert "summary.json" not in names


@given(st.lists(PATHS, unique_by=lambda path: path.as_posix().casefold(), min_size=1, max_size=20))
def test_a_film_has_the_same_name_whatever_lies_beside_it(paths):
    assert folder_names(paths)[0] == folder_names(paths[:1])[0]


def test_a_plain_name_stays_as_it_is():
    paths = [PurePosixPath(path) for path in ("00000001_000.png", "ward/b-2/IM0001", "film.nii.gz")]
    assert folder_names(paths) == ["00000001_000.png", "ward__b-2__IM0001", "film.nii.gz"]


def test_names_that_look_alike_are_told_apart():
    paths = [
        PurePosixPath(path) for path in ("a__b.png", "a/b.png", "a_/b.png", "a/_b.png", "A/b.png", "-rf", "..x", "summary.json")
    ]
    names = folder_names(paths, ["summary.json"])
    assert len({name.casefold() for name in names}) == len(paths)
    assert not [name for name in names if name[0] in "-." or "/" in name]


def test_a_text_is_one_printable_line_of_bounded_length():
    assert readable_name("a\nb\x1b[31m\udcff") == "a\\nb\\x1b[31m\\udcff"
    assert len(readable_name("x" * 5000, 100)) <= 100
    assert readable_name("Müller 胸.png") == "Müller 胸.png"

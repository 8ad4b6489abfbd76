"""Linked folders are read like others, each folder once, and a loop of links has an end."""

from __future__ import annotations

from pathlib import Path

import pytest

from xct_components.data.folder_walk import AGAIN, BACK, FolderWalk
from xct_components.failures import UnreadableInput


def with_file(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "file").touch()
    return folder


def files(walk: FolderWalk, top: Path) -> list[str]:
    return [(here / name).relative_to(top).as_posix() for here, names in walk for name in names]


def test_a_linked_folder_is_read_after_the_real_ones(tmp_path):
    top = with_file(tmp_path / "top")
    with_file(top / "z")
    (top / "a").symlink_to(with_file(tmp_path / "share" / "year").parent)
    walk = FolderWalk(top)
    assert files(walk, top) == ["file", "z/file", "a/year/file"]
    assert walk.left_out == walk.unread == ()


def test_a_folder_that_several_links_name_is_read_once(tmp_path):
    top, share = with_file(tmp_path / "top"), with_file(tmp_path / "share")
    inner = with_file(share / "inner")
    for name, target in {"a": share, "b": share, "c": inner, "d": with_file(top / "real")}.items():
        (top / name).symlink_to(target)
    walk = FolderWalk(top)
    assert files(walk, top) == ["file", "real/file", "a/file", "a/inner/file"]
    assert [(path.name, reason) for path, reason in walk.left_out] == [("b", AGAIN), ("c", AGAIN), ("d", AGAIN)]
    assert walk.unread == ()


def test_links_that_lead_back_are_left_out_and_told_of(tmp_path):
    top, share = with_file(tmp_path / "top"), with_file(tmp_path / "other" / "share")
    with_file(top / "deep" / "deeper")
    loops = {top / "deep" / "deeper" / "top": top, top / "deep" / "self": top / "deep", top / "up": tmp_path}
    loops |= {share / "up": share.parent, share / "home": top}
    for link, target in loops.items():
        link.symlink_to(target)
    (top / "share").symlink_to(share)
    walk = FolderWalk(top)
    assert files(walk, top) == ["file", "deep/deeper/file", "share/file"]
    assert {reason for _, reason in walk.unread} == {BACK}
    assert sorted(path.relative_to(top).as_posix() for path, _ in walk.unread) == [
        "deep/deeper/top",
        "deep/self",
        "share/home",
        "share/up",
        "up",
    ]


def test_a_link_that_names_itself_is_no_folder(tmp_path):
    (tmp_path / "self").symlink_to(tmp_path / "self")
    assert files(FolderWalk(tmp_path), tmp_path) == ["self"]


def test_what_lies_apart_is_not_read_even_through_a_link(tmp_path):
    top, share = with_file(tmp_path / "top"), tmp_path / "share"
    results = with_file(share / "results")
    (top / "share").symlink_to(share)
    assert files(FolderWalk(top, apart=results), top) == ["file"]


def test_the_top_may_be_a_link(tmp_path):
    with_file(tmp_path / "real" / "in")
    (tmp_path / "top").symlink_to(tmp_path / "real")
    assert files(FolderWalk(tmp_path / "top"), tmp_path / "top") == ["in/file"]


def test_two_walks_find_the_same(tmp_path):
    walk = FolderWalk(with_file(tmp_path / "top"))
    assert list(walk) == list(walk) != []


def test_a_folder_that_is_gone_cannot_be_read(tmp_path):
    with pytest.raises(UnreadableInput, match="cannot be read"):
        list(FolderWalk(tmp_path / "gone"))

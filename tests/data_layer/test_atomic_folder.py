"""A folder appears whole or not at all, and what had its name stays until then."""

from __future__ import annotations

from pathlib import Path

import pytest

from xct_components.data.atomic_folder import written_folder
from xct_components.failures import CannotWrite, UnreadableInput


def test_it_takes_its_name_when_all_is_written(tmp_path):
    with written_folder(tmp_path / "series") as draft:
        (draft / "a").write_text("new")
        assert not (tmp_path / "series").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["series"]
    assert (tmp_path / "series" / "a").read_text() == "new"


def test_an_old_one_is_replaced_as_a_whole(tmp_path):
    (tmp_path / "series").mkdir()
    (tmp_path / "series" / "old").touch()
    with written_folder(tmp_path / "series") as draft:
        (draft / "a").touch()
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == ["series", "series/a"]


def _write_and_fail(file: Path, failure: type[BaseException]) -> None:
    file.touch()
    raise failure


@pytest.mark.parametrize("failure", [KeyboardInterrupt, ValueError, UnreadableInput])
def test_a_failure_leaves_what_was_there(failure, tmp_path):
    (tmp_path / "series").mkdir()
    (tmp_path / "series" / "old").touch()
    with pytest.raises(failure), written_folder(tmp_path / "series") as draft:
        _write_and_fail(draft / "a", failure)
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == ["series", "series/old"]


def test_a_disk_that_is_full_or_missing_cannot_be_written_to(tmp_path):
    with pytest.raises(CannotWrite, match="no space"), written_folder(tmp_path / "series"):
        raise OSError(28, "no space left on device")
    with pytest.raises(CannotWrite, match="series"), written_folder(tmp_path / "gone" / "series"):
        pass
    assert list(tmp_path.iterdir()) == []

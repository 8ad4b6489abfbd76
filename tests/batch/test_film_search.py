"""What a folder holds is told apart by what the files say, not by their names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.batch.mixed_folder import DX_IMAGE, FILMS, SKIPPED, write_mixed_folder, write_object
from xct_components.batch.film_search import films_below
from xct_components.data.folder_walk import BACK, NOWHERE
from xct_components.failures import UnreadableInput


def test_films_are_found_in_any_folder_and_the_rest_is_skipped_with_its_reason(tmp_path):
    found = films_below(write_mixed_folder(tmp_path / "in"))
    assert [path.as_posix() for path in found.films] == list(FILMS)
    assert {one.name: one.reason[: len(SKIPPED[one.name])] for one in found.skipped} == SKIPPED
    assert found.others == 3  # two JSONs of simulated films and a text; hidden files are not even counted


def test_a_json_of_a_simulated_film_belongs_to_its_film(tmp_path):
    (tmp_path / "film.json").write_text("{}")
    assert films_below(tmp_path).films == ()


def test_what_cannot_be_told_is_left_to_the_reader_who_says_why(tmp_path):
    (tmp_path / "empty.dcm").touch()
    (tmp_path / "broken.nii.gz").write_bytes(b"not gzip")
    (tmp_path / "damaged").write_bytes(bytes(128) + b"DICM" + b"\xff" * 40)
    write_object(tmp_path / "untold.dcm", DX_IMAGE, "", Rows=64, Columns=64)
    names = [path.name for path in films_below(tmp_path).films]
    assert names == ["broken.nii.gz", "damaged", "empty.dcm", "untold.dcm"]


def test_films_of_a_linked_folder_count_loops_end_and_pipes_are_not_opened(tmp_path):
    ward, results = tmp_path / "share" / "ward", tmp_path / "share" / "results"
    for folder in (ward, results, tmp_path / "in"):
        folder.mkdir(parents=True)
        write_object(folder / "IM0001", DX_IMAGE, "DX", Rows=64, Columns=64)
    (tmp_path / "in" / "share").symlink_to(tmp_path / "share")
    (ward / "loop").symlink_to(tmp_path / "in")
    (ward / "not mounted").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "in" / "pipe.png")
    found = films_below(tmp_path / "in", apart=results)
    assert [path.as_posix() for path in found.films] == ["IM0001", "share/ward/IM0001"]
    told = {one.name: one.reason for one in found.skipped}
    assert told == {"share/ward/loop": BACK, "share/ward/not mounted": NOWHERE}
    assert found.others == 1


def test_a_modality_that_holds_anything_stays_in_its_line(tmp_path):
    write_object(tmp_path / "odd.dcm", DX_IMAGE, "CT\u001b[31m", Rows=64, Columns=64)
    (skipped,) = films_below(tmp_path).skipped
    assert skipped.reason.isprintable()


def test_a_folder_that_is_gone_cannot_be_read(tmp_path):
    with pytest.raises(UnreadableInput, match="cannot be read"):
        films_below(Path(tmp_path / "gone"))

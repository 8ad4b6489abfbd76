"""A film out of a folder of DICOM files, chosen as out of a PACS; what files and folders are called is told to nobody."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pydicom
import pytest

from tests.pacs.made_studies import SECRETS, SERIES, STUDY, film, image
from xct_components.__main__ import main
from xct_components.failures import InputWarning, RefusedInput, UnreadableInput, UsageFailure
from xct_components.pacs.film_source import film_source

THE_ONLY_ONE: dict[str, Any] = {"instance": 0, "lateral": False, "lateral_instance": 0}
GREYSCALE_STATE, CT_IMAGE = "1.2.840.10008.5.1.4.1.1.11.1", "1.2.840.10008.5.1.4.1.1.2"


def written(folder: Path, **films: pydicom.Dataset) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, made in films.items():
        made.save_as(folder / name, enforce_file_format=True)
    return folder


def taken(place: Path, out: Path, study: str | None = None, accession: str | None = None, **choice: Any) -> pydicom.Dataset:
    out.mkdir()
    source = film_source(str(place), study=study, accession=accession)
    return pydicom.dcmread(source.fetch(out, **{**THE_ONLY_ONE, **choice})[0])


def test_the_only_frontal_film_of_a_folder_is_taken_at_any_depth_and_through_a_link(tmp_path):
    share = written(tmp_path / "share" / "DICOM", IM1=film(1, ViewPosition="PA"), IM2=film(2, ViewPosition="LL"))
    written(share, IM3=image(CT_IMAGE, f"{SERIES}.3", Modality="CT"), copy_of_IM1=film(1, ViewPosition="PA"))
    (share / "DICOMDIR.txt").write_text("index")
    (tmp_path / "cd").mkdir()
    (tmp_path / "cd" / "linked").symlink_to(share.parent)
    assert taken(tmp_path / "cd", tmp_path / "out", lateral=True).ViewPosition == "PA"
    for name, of in (("film.dcm", "IM1"), ("lateral.dcm", "IM2")):
        assert (tmp_path / "out" / name).read_bytes() == (share / of).read_bytes()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["film.dcm", "lateral.dcm"]


def test_a_single_file_will_do(tmp_path):
    assert taken(written(tmp_path / "in", IM1=film()) / "IM1", tmp_path / "out").SOPInstanceUID == f"{SERIES}.1"


def test_of_several_studies_one_is_named(tmp_path):
    other = film(7, StudyInstanceUID="1.2.9", SeriesInstanceUID="1.2.9.4", AccessionNumber="A9")
    folder = written(tmp_path / "in", one=film(AccessionNumber="A1"), two=other)
    with pytest.raises(RefusedInput, match="films of 2 studies: name one by --study UID or --accession NUMBER"):
        taken(folder, tmp_path / "first")
    assert taken(folder, tmp_path / "second", study=STUDY).SOPInstanceUID == f"{SERIES}.1"
    assert taken(folder, tmp_path / "third", accession="A9").SOPInstanceUID == f"{SERIES}.7"
    with pytest.raises(RefusedInput, match=r"no film .* of the study, order or series that is named"):
        taken(folder, tmp_path / "fourth", accession="A8")


def test_several_frontal_films_are_listed_by_number_and_view_alone(tmp_path):
    folder = written(tmp_path / "Doe", two=film(2, ViewPosition="AP"), one=film(1, ViewPosition="PA"))
    with pytest.raises(RefusedInput, match=r"1 \(PA, 3 x 4\), 2 \(AP, 3 x 4\); choose by --instance N") as caught:
        taken(folder, tmp_path / "first")
    assert "Doe" not in str(caught.value)
    assert taken(folder, tmp_path / "second", instance=2).ViewPosition == "AP"


def test_damaged_files_and_presentation_states_are_told_of(tmp_path):
    state = image(GREYSCALE_STATE, f"{SERIES}.9", Modality="PR")
    folder = written(tmp_path / "in", film=film(), state=state)
    (folder / "cut").write_bytes(bytes(128) + b"DICM" + b"\xff" * 40)
    with pytest.warns(InputWarning) as told:
        taken(folder, tmp_path / "out")
    said = [str(one.message) for one in told]
    assert any("1 of 3 DICOM files cannot be read" in one for one in said)
    assert any("presentation states" in one for one in said)


@pytest.mark.parametrize(
    ("made", "kind", "words"),
    [
        (film(PatientID=""), RefusedInput, "no PatientID"),
        (film(Modality="CT"), RefusedInput, "the files hold no film"),
        (film(StudyInstanceUID=""), UnreadableInput, "the study of a film must be a UID"),
    ],
)
def test_a_film_that_is_nobodys_or_none_is_refused(made, kind, words, tmp_path):
    with pytest.raises(kind, match=words) as caught:
        taken(written(tmp_path / "in", one=made), tmp_path / "out")
    assert not any(secret in str(caught.value) for secret in SECRETS)


def test_a_folder_without_dicom_files_and_one_that_is_not_there_are_unreadable(tmp_path):
    (tmp_path / "notes.txt").write_text("no film")
    with pytest.raises(UnreadableInput, match="no DICOM file that can be read"):
        taken(tmp_path, tmp_path / "out")
    with pytest.raises(UnreadableInput, match="names no folder") as caught:
        film_source(str(tmp_path / "Doe"), study=None, accession=None)
    assert "Doe" not in str(caught.value)


def test_study_and_accession_number_together_cannot_be_meant(tmp_path):
    with pytest.raises(UsageFailure, match="one of them"):
        film_source(str(tmp_path), study="1.2", accession="7")


def test_what_cannot_be_done_is_one_line_and_a_code(tmp_path, capfd):
    folder = written(tmp_path / "Doe", one=film())  # 3 x 4 pixels
    assert main(["pacs", "--from", str(folder), "--to", "dicom://A@127.0.0.1:9"]) == 7
    said = capfd.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1), said.err
    assert not any(secret in said.err for secret in SECRETS)

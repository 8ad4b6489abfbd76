"""A folder of DICOM files that a film is read from, as from a CD or an export: its film is chosen as one of a PACS."""

from __future__ import annotations

import shutil
import warnings as python_warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xct_components.data.ct.dicom_series import is_dicom
from xct_components.data.film.dicom_admission import MODALITIES, code_string
from xct_components.data.film.dicom_reading import damage_named, film_header
from xct_components.data.folder_walk import FolderWalk
from xct_components.failures import Failure, InputWarning, RefusedInput, UnreadableInput, first_line
from xct_components.pacs.film_choice import chosen_films
from xct_components.pacs.study_films import STATES_NOTE, in_study_order, require_patient, study_film
from xct_components.pacs.uids import require_uid


@dataclass(frozen=True)
class FolderSource:
    """DICOM files of this machine.

    Args:
        path: a folder, with the folders in it, or one file.
        study: UID, or None for the only one.
        accession: number, or None.
        series: UID, if only its films are meant.
    """

    path: Path
    study: str | None
    accession: str | None
    series: str | None
    #: There is no server.
    address: None = None

    def fetch(self, folder: Path, *, instance: int, lateral: bool, lateral_instance: int) -> tuple[Path, Path | None]:
        """Copy the frontal film and, if asked for, the lateral one; see ``FilmSource.fetch``.

        Raises:
            UnreadableInput: if there is no DICOM file, or a film cannot be read.
            RefusedInput: if there is no film of the study, several that could be meant, or films of several studies.
        """
        headers = self._of_one_study()
        order = sorted(headers, key=lambda path: in_study_order(headers[path]))
        films = [study_film(_study(headers[path]), headers[path], n) for n, path in enumerate(order, start=1)]
        frontal, second = chosen_films(films, instance=instance, lateral=lateral, lateral_instance=lateral_instance)
        copies = folder / "film.dcm", folder / "lateral.dcm" if second else None
        for film, copy in zip((frontal, second), copies, strict=True):
            if film is not None and copy is not None:
                path = order[film.number - 1]
                require_patient(headers[path])
                _copy(path, copy)
        return copies

    def _of_one_study(self) -> dict[Path, Any]:
        """The headers of its films, each image once; a word if what a technologist changed lies in presentation states."""
        everything = self._headers()
        meant = {path: header for path, header in everything.items() if self._is_meant(header)}
        films = {str(one.get("SOPInstanceUID")): path for path, one in reversed(meant.items()) if _modality(one) in MODALITIES}
        if not films:
            named = " of the study, order or series that is named" if everything and not meant else ""
            raise RefusedInput(f"the files hold no film ({', '.join(MODALITIES)}){named}")
        studies = {_study(meant[path]) for path in films.values()}
        if len(studies) > 1:
            raise RefusedInput(f"the files hold films of {len(studies)} studies: name one by --study UID or --accession NUMBER")
        if any(_modality(one) == "PR" and str(one.get("StudyInstanceUID")) in studies for one in everything.values()):
            python_warnings.warn(STATES_NOTE, InputWarning, stacklevel=3)
        return {path: meant[path] for path in sorted(films.values())}

    def _headers(self) -> dict[Path, Any]:
        """Of the films and presentation states; a word if there may be others in files that are damaged."""
        paths = [path for path in self._files() if path.is_file() and _is_dicom(path)]
        read = {path: _header(path) for path in paths}
        damaged = sum(header is None for header in read.values())
        if damaged == len(paths):
            raise UnreadableInput(
                f"from holds no DICOM file that can be read{f', and {damaged} that cannot' if damaged else ''}"
            )
        if damaged:
            note = f"{damaged} of {len(paths)} DICOM files cannot be read, and are left out"
            python_warnings.warn(note, InputWarning, stacklevel=4)
        return {path: header for path, header in read.items() if header and _modality(header) in (*MODALITIES, "PR")}

    def _files(self) -> list[Path]:
        if self.path.is_file():
            return [self.path]
        return sorted(here / name for here, names in FolderWalk(self.path) for name in names if not name.startswith("."))

    def _is_meant(self, header: Any) -> bool:
        """Whether it is of the study, order and series that the user names."""
        named = {"StudyInstanceUID": self.study, "AccessionNumber": self.accession, "SeriesInstanceUID": self.series}
        return all(value is None or str(header.get(keyword) or "") == value for keyword, value in named.items())


def _is_dicom(path: Path) -> bool:
    try:
        return is_dicom(path)
    except OSError as error:
        raise UnreadableInput(f"a file cannot be opened: {error.strerror or first_line(error)}") from error


def _header(path: Path) -> Any | None:
    """Up to the pixels; None if it is damaged."""
    try:
        header = film_header(path)
        with damage_named(path):
            header.decode()
    except Failure:
        return None
    return header


def _modality(header: Any) -> str:
    return code_string(header.get("Modality"))


def _study(header: Any) -> str:
    return require_uid(str(header.get("StudyInstanceUID") or ""), "the study of a film", UnreadableInput)


def _copy(path: Path, copy: Path) -> None:
    try:
        shutil.copyfile(path, copy)
    except OSError as error:
        raise UnreadableInput(f"the film cannot be copied: {error.strerror or first_line(error)}") from error

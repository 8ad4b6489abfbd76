"""The study that a film is read from, as a user names it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from xct_components.failures import UnreadableInput, UsageFailure
from xct_components.pacs.address import WebAddress, web_address
from xct_components.pacs.credentials import SOURCE
from xct_components.pacs.film_choice import chosen_films
from xct_components.pacs.film_folder import FolderSource
from xct_components.pacs.study_films import fetch_film, films_of_study, study_of_accession
from xct_components.pacs.uids import require_uid
from xct_components.pacs.web_service import web_client, web_session


@dataclass(frozen=True)
class FilmSource:
    """A study of a DICOMweb service.

    Args:
        address: the service.
        study: UID, or None if the accession number names it.
        accession: or None.
        series: UID, if only its films are meant.
    """

    address: WebAddress
    study: str | None
    accession: str | None
    series: str | None

    def fetch(self, folder: Path, *, instance: int, lateral: bool, lateral_instance: int) -> tuple[Path, Path | None]:
        """Write the frontal film and, if asked for, the lateral one; their names say nothing of the patient.

        Args:
            folder: to write into.
            instance: see ``chosen_films``, likewise the other two.
            lateral: whether to fetch a lateral film too.
            lateral_instance: its number.

        Returns:
            Their files.
        """
        client = web_client(self.address, web_session(self.address, SOURCE))
        study = self.study or study_of_accession(client, self.address, str(self.accession))
        films = films_of_study(client, self.address, study, self.series)
        frontal, second = chosen_films(films, instance=instance, lateral=lateral, lateral_instance=lateral_instance)
        paths = folder / "film.dcm", folder / "lateral.dcm" if second else None
        for film, path in zip((frontal, second), paths, strict=True):
            if film is not None and path is not None:
                fetch_film(client, self.address, film, path)
        return paths


def film_source(
    place: str, *, study: str | None, accession: str | None, series: str | None = None, allow_http: bool = False
) -> FilmSource | FolderSource:
    """The study that a user names.

    Args:
        place: URL of a DICOMweb service, or a folder or file of this machine.
        study: UID, or None.
        accession: or None; of a service one of both.
        series: UID, or None.
        allow_http: see ``web_address``.

    Raises:
        UsageFailure: for what cannot be meant.
        UnreadableInput: if there is no such folder.
    """
    is_service = "://" in place
    if (study is None) == (accession is None) and (is_service or study is not None):
        raise UsageFailure("name the study: --study UID or --accession NUMBER, one of them")
    for uid, name in ((study, "study"), (series, "series")):
        if uid is not None:
            require_uid(uid, name)
    if not is_service:
        if not Path(place).exists():
            raise UnreadableInput("from names no folder or file here; a DICOMweb service is https://host/path")
        return FolderSource(Path(place), study, accession, series)
    return FilmSource(web_address(place, option="from", allow_http=allow_http), study, accession, series)

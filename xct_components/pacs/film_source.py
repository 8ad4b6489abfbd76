"""The study that a film is read from, as a user names it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from xct_components.failures import UsageFailure
from xct_components.pacs.address import WebAddress, web_address
from xct_components.pacs.credentials import SOURCE
from xct_components.pacs.film_choice import chosen_films
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
    url: str, *, study: str | None, accession: str | None, series: str | None = None, allow_http: bool = False
) -> FilmSource:
    """The study that a user names.

    Args:
        url: of the service.
        study: UID, or None.
        accession: or None; one of both.
        series: UID, or None.
        allow_http: see ``web_address``.

    Raises:
        UsageFailure: for what cannot be meant.
    """
    if (study is None) == (accession is None):
        raise UsageFailure("name the study: --study UID or --accession NUMBER, one of them")
    for uid, name in ((study, "study"), (series, "series")):
        if uid is not None:
            require_uid(uid, name)
    return FilmSource(web_address(url, option="from", allow_http=allow_http), study, accession, series)

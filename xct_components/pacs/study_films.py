"""The films of a study: QIDO-RS finds their series, WADO-RS metadata say what each shows, WADO-RS fetches one."""

from __future__ import annotations

import warnings as python_warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xct_components.data.film.dicom_admission import CHEST_PARTS, MODALITIES, code_string
from xct_components.data.film.dicom_view import tagged_view
from xct_components.failures import InputWarning, RefusedInput, UnreadableInput, UsageFailure
from xct_components.pacs.uids import require_uid
from xct_components.pacs.web_service import explained

if TYPE_CHECKING:
    from dicomweb_client.web import DICOMwebClient

    from xct_components.pacs.address import WebAddress

#: These make a query match more than one.
_WILDCARDS = set("*?\\,")
_SERIES, _INSTANCE, _SERIES_NUMBER, _MODALITY = "SeriesInstanceUID", "SOPInstanceUID", "SeriesNumber", "Modality"
STATES_NOTE = "the study has presentation states: what they turn, crop or window is not applied; the film is taken as stored"


@dataclass(frozen=True)
class StudyFilm:
    """A film of a study, not yet fetched.

    Args:
        study: UID.
        series: UID.
        instance: UID.
        number: from one, among the films of the study.
        kind: what its tags say: "frontal", "lateral", "other", or None if nothing.
        view: PA, AP, LL, ... or None.
        chest: whether its tags say no other part of the body.
        raw: whether it is FOR PROCESSING.
        rows: pixels.
        cols: pixels.
    """

    study: str
    series: str
    instance: str
    number: int
    kind: str | None
    view: str | None
    chest: bool
    raw: bool
    rows: int
    cols: int

    def describe(self) -> str:
        """Its number, view and size: enough to choose by, and nobody's name."""
        view = self.view or self.kind or "view unknown"
        return f"{self.number} ({view}{', raw' if self.raw else ''}, {self.cols} x {self.rows})"


def study_of_accession(client: DICOMwebClient, address: WebAddress, accession: str) -> str:
    """The one study of an accession number.

    Raises:
        UsageFailure: if it holds wildcards.
        UnreadableInput: if there is no such study, or more than one.
    """
    if not accession.strip() or _WILDCARDS & set(accession):
        raise UsageFailure("accession must be one accession number, without wildcards")
    with explained(address, "studies"):
        found = _datasets(client.search_for_studies(search_filters={"AccessionNumber": accession}))
        studies = {str(study.StudyInstanceUID) for study in found if study.get("AccessionNumber") == accession}
    if len(studies) != 1:
        raise UnreadableInput(
            f"{address.host} has {len(studies) or 'no'} studies of this accession number; name one by --study"
        )
    return require_uid(studies.pop(), "the answer's study", UnreadableInput)


def films_of_study(client: DICOMwebClient, address: WebAddress, study: str, series: str | None = None) -> list[StudyFilm]:
    """All films of a study, in order of series and instance number.

    Args:
        client: of ``web_client``.
        address: the service.
        study: UID.
        series: UID; None: all series.

    Raises:
        UnreadableInput: if there is no such study or series, or the server fails.
        RefusedInput: if it holds no film.
    """
    with explained(address, "the series of the study"):
        found = _datasets(client.search_for_series(study))
    if not found:
        raise UnreadableInput(f"{address.host} has no such study; are UID and address right?")
    of_films = [one for one in found if one.get(_MODALITY) in MODALITIES and series in (None, one.get(_SERIES))]
    if not of_films:
        where = "study" if series is None else "study and series"
        raise RefusedInput(f"the {where} hold{'s' if series is None else ''} no film ({', '.join(MODALITIES)})")
    if any(one.get(_MODALITY) == "PR" for one in found):
        python_warnings.warn(STATES_NOTE, InputWarning, stacklevel=2)
    headers = []
    for one in sorted(of_films, key=lambda one: (_number(one, _SERIES_NUMBER), str(one.get(_SERIES)))):
        uid = require_uid(one.get(_SERIES), "the answer's series", UnreadableInput)
        with explained(address, "the films of a series"):
            instances = _datasets(client.retrieve_series_metadata(study, uid))
            headers += sorted(instances, key=in_study_order)
    with explained(address, "films"):
        return [study_film(study, header, number) for number, header in enumerate(headers, start=1)]


def fetch_film(client: DICOMwebClient, address: WebAddress, film: StudyFilm, path: Path) -> None:
    """Write a film's file, in the transfer syntax in which the server holds it: not every server can convert.

    Raises:
        UnreadableInput: if the server fails, or sends another film than the one asked for.
        RefusedInput: if the film names no patient.
    """
    with explained(address, "the film"):
        fetched = client.retrieve_instance(film.study, film.series, film.instance)
        fetched.save_as(path, enforce_file_format=True)
    if (str(fetched.get("StudyInstanceUID")), str(fetched.get(_INSTANCE))) != (film.study, film.instance):
        raise UnreadableInput(f"{address.host} sent another film than the one asked for; nothing was made of it")
    require_patient(fetched)


def require_patient(film: Any) -> None:
    """Refuse a film that is nobody's.

    Raises:
        RefusedInput: if it has no PatientID.
    """
    if not str(film.get("PatientID") or "").strip():
        raise RefusedInput("the film has no PatientID: its CT cannot be stored with its patient; repair it where it comes from")


def in_study_order(header: Any) -> tuple[int, str, int, str]:
    """What films of a study are sorted by: number of the series, then of the image."""
    return (
        _number(header, _SERIES_NUMBER),
        str(header.get(_SERIES)),
        _number(header, "InstanceNumber"),
        str(header.get(_INSTANCE)),
    )


def study_film(study: str, header: Any, number: int) -> StudyFilm:
    """What a film's header says of it.

    Args:
        study: UID.
        header: a pydicom ``Dataset``.
        number: of the film, from one.

    Raises:
        UnreadableInput: if a UID is none.
    """
    kind, view, _ = tagged_view(header)
    part = "".join(letter for letter in code_string(header.get("BodyPartExamined")) if letter.isalpha())
    return StudyFilm(
        study=study,
        series=require_uid(header.get(_SERIES), "the series of a film", UnreadableInput),
        instance=require_uid(header.get(_INSTANCE), "the instance of a film", UnreadableInput),
        number=number,
        kind=kind,
        view=view,
        chest=part in CHEST_PARTS,
        raw=code_string(header.get("PresentationIntentType")) == "FOR PROCESSING",
        rows=int(header.get("Rows") or 0),
        cols=int(header.get("Columns") or 0),
    )


def _datasets(answer: Iterable[dict[str, Any]]) -> list[Any]:
    from pydicom import Dataset

    return [Dataset.from_json(one) for one in answer]


def _number(dataset: Any, keyword: str) -> int:
    """For sorting: what has no number comes last."""
    try:
        return int(dataset.get(keyword))
    except (TypeError, ValueError):
        return 1 << 31

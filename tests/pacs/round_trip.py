"""Films through a real Orthanc and back, as a program: a test process cannot enter a network namespace halfway.

``unshare -n python -m tests.pacs.round_trip FOLDER`` prints one JSON object: what every run said, what the archive held after.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import pydicom

from tests.dicom.made_series import DICOM_FILM
from tests.inferers.tiny_stages import write_bundles
from tests.network_namespace import bring_loopback_up
from tests.pacs.orthanc_server import AE_TITLE, DICOM_PORT, PASSWORD, URL, USER, orthanc
from xct_components.__main__ import main
from xct_components.pacs.address import web_address
from xct_components.pacs.credentials import SOURCE
from xct_components.pacs.web_service import web_client, web_session

#: What must not appear anywhere in the output: who the patient is.
PATIENT = {"PatientName": "Doe^Jane", "PatientID": "PID-4711", "PatientBirthDate": "19570402", "AccessionNumber": "ACC-0815"}
#: Study -> views of its films.
STUDIES: dict[str, list[str | None]] = {
    "one": [None],
    "frontal and lateral": ["PA", "LL"],
    "two frontal": ["PA", "AP"],
    "thumbnail": ["PA"],
}


#: Run -> the folder that keeps what it stored.
PLACES = {"STOW-RS": "stow", "C-STORE": "c_store", "folder": "from_folder"}


def study_uid(name: str) -> str:
    return f"2.25.{1000 + list(STUDIES).index(name)}"


def film_of(study: str, number: int, view: str | None) -> pydicom.Dataset:
    """The real film as one of a patient whom we would recognise."""
    film = pydicom.dcmread(DICOM_FILM)
    for keyword, value in PATIENT.items():
        setattr(film, keyword, value)
    if study != "one":
        film.AccessionNumber = "ACC-0816"
    film.StudyInstanceUID, film.SeriesInstanceUID = study_uid(study), f"{study_uid(study)}.1"
    film.SOPInstanceUID = film.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.UID(f"{study_uid(study)}.1.{number}")
    film.InstanceNumber = number
    if view:
        film.ViewPosition = view
    if study == "thumbnail":
        film.Rows = film.Columns = 16
        film.PixelData = film.PixelData[:256]
    return film


def _exported(folder: Path) -> Path:
    """The film as a CD has it."""
    (folder / "DICOM").mkdir(parents=True)
    film_of("one", 1, None).save_as(folder / "DICOM" / "IM000001")
    return folder


def command(*options: str, source: str = URL, **environment: str) -> dict[str, Any]:
    """Code and words of ``xct pacs``."""
    out, err = io.StringIO(), io.StringIO()
    kept = dict(os.environ)
    os.environ.update(environment)
    begun = time.perf_counter()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(["pacs", "--from", source, *options])
    finally:
        os.environ.clear()
        os.environ.update(kept)
    seconds = round(time.perf_counter() - begun, 1)
    return {"code": int(code), "out": out.getvalue(), "err": err.getvalue(), "seconds": seconds}


def archived(client: Any, study: str, kept: Path) -> dict[str, Any]:
    """What the archive holds of the study beside its films, against the files that the run kept."""
    files = {one.SOPInstanceUID: one for one in map(pydicom.dcmread, sorted(kept.rglob("*.dcm")))}
    series = [pydicom.Dataset.from_json(one) for one in client.search_for_series(study_uid(study))]
    fetched = []
    for uid in {files[name].SeriesInstanceUID for name in files}:
        fetched += client.retrieve_series(study_uid(study), uid)
    return {
        "modalities": sorted(one.Modality for one in series),
        "instances": len(fetched),
        "kept": len(files),
        "pixels_equal": all(_pixels(one) == _pixels(files[one.SOPInstanceUID]) for one in fetched),
        "headers_equal": all(one == files[one.SOPInstanceUID] for one in fetched),
        "patients": sorted({f"{one.PatientName}, {one.PatientID}" for one in fetched}),
        "descriptions": sorted({str(one.SeriesDescription) for one in fetched}),
    }


def _pixels(image: pydicom.Dataset) -> bytes:
    return image.get("PixelData") or image.FloatPixelData


def scenario(folder: Path) -> dict[str, Any]:
    """All runs, in one archive."""
    os.environ.update({"TMPDIR": str(folder / "temporary"), "XCT_PACS_USER": USER, "XCT_PACS_PASSWORD": PASSWORD})
    (folder / "temporary").mkdir()
    address = web_address(URL, option="from")
    client = web_client(address, web_session(address, SOURCE))
    client.store_instances([film_of(name, n, view) for name, views in STUDIES.items() for n, view in enumerate(views, 1)])
    how = ["--bundles", str(write_bundles(folder / "bundles", count=1)), "--stages", "1"]
    web = ["--to", URL, *how]
    entity = ["--to", f"dicom://{AE_TITLE}@127.0.0.1:{DICOM_PORT}", *how]
    study = ["--study", study_uid("one")]
    runs = {
        "STOW-RS": command(*web, *study, "--output", str(folder / "stow"), "--samples", "2", "--steps", "1"),
        "C-STORE": command(*entity, "--accession", "ACC-0815", "--output", str(folder / "c_store")),
        "folder": command(*entity, "--output", str(folder / "from_folder"), source=str(_exported(folder / "cd"))),
        "two frontal": command(*web, "--study", study_uid("two frontal")),
        "a number that no film has": command(*entity, "--study", study_uid("frontal and lateral"), "--lateral_instance", "9"),
        "thumbnail": command(*web, "--study", study_uid("thumbnail")),
        "wrong password": command(*web, *study, XCT_PACS_PASSWORD="wrong"),
        "no such study": command(*web, "--study", "1.2.3.4"),
        "wrong AE title": command("--to", f"dicom://NOBODY@127.0.0.1:{DICOM_PORT}", *how, *study),
    }
    held = {name: archived(client, "one", folder / place) for name, place in PLACES.items()}
    left = [path.name for path in (folder / "temporary").iterdir()]
    return {"runs": runs, "archive": held, "left": left}


if __name__ == "__main__":
    bring_loopback_up()
    with orthanc(Path(sys.argv[1])):
        result = scenario(Path(sys.argv[1]))
    sys.stdout.write(json.dumps(result))

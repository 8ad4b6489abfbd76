"""Write xct_components/data/film/film_reference.json from a folder of chest CTs.

Run it by hand when the geometry or the list of CTs changes:

    python scripts/make_film_reference.py CT_FOLDER [MORE_FOLDERS]

Every file and DICOM folder in the folders is read as one CT; what is not a CT is named and left out. Means over patients are
written, nothing of a single patient. The films are those of prepared CTs: without the table, lungs in the middle.
"""

from __future__ import annotations

import json
import re
import sys
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

from xct_components.data.ct.reading import read_ct
from xct_components.data.film.reference import ChestFilms, reference_of
from xct_components.data.film.reference_case import chest_films
from xct_components.failures import Failure, InputWarning

REFERENCE = Path(__file__).resolve().parents[1] / "xct_components" / "data" / "film" / "film_reference.json"
CREDITS = (
    "Computed from chest CTs of TCIA: LIDC-IDRI (CC BY 3.0, doi 10.7937/K9/TCIA.2015.LO9QL9SX), Lung-PET-CT-Dx (CC BY 4.0, doi "
    "10.7937/TCIA.2020.NNC2-0461), TCGA-THCA (CC BY 3.0, doi 10.7937/K9/TCIA.2016.9ZFRVF1B), CPTAC-LSCC (CC BY 3.0, doi "
    "10.7937/K9/TCIA.2018.6EMUB5L2), CMB-CRC (CC BY 4.0, doi 10.7937/DJG7-GZ87); and of the Chest Imaging Platform (BSD-style)."
)


def films_of_folders(folders: Iterable[Path]) -> Iterator[tuple[Path, ChestFilms]]:
    """(CT, its films) of every CT in the folders, by name."""
    for path in sorted(path for folder in folders for path in folder.iterdir()):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", InputWarning)
                ct_hu, grid = read_ct(path)
        except Failure as refused:
            print(f"left out: {refused}", file=sys.stderr)
            continue
        yield path, chest_films(path.name.split(".")[0], ct_hu, grid)


def main(arguments: list[str]) -> None:
    """Measure and write."""
    films = [films for _, films in films_of_folders(map(Path, arguments))]
    provenance = {
        "command": "scripts/make_film_reference.py",
        "cts": [film.name for film in films],
        "credits": CREDITS,
        "films": "cone beam PA and LL, 1800/1600 mm, 400 x 400 mm in the patient, line integrals at 60 keV",
        "patients": "without the table, lungs in the middle",
    }
    text = json.dumps(reference_of(films, provenance).to_json(), indent=1)
    REFERENCE.write_text(re.sub(r"\[[-\d.,\s]+\]", lambda found: "".join(found[0].split()), text) + "\n", encoding="utf-8")
    print(f"{REFERENCE.name}: {len(films)} CTs, {REFERENCE.stat().st_size} bytes")


if __name__ == "__main__":
    main(sys.argv[1:])

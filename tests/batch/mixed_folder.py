"""A folder as hospitals have it: films of three kinds among what is no film, and films that are broken."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

from tests.generate_runs import REAL_FILM, simulate_film
from xct_components.simulate_command import simulate

DICOM_FILM = REAL_FILM.with_name("NIH_00000001_000_DX.dcm")
GREYSCALE_STATE, STRUCTURED_REPORT = "1.2.840.10008.5.1.4.1.1.11.1", "1.2.840.10008.5.1.4.1.1.88.11"
CT_IMAGE, DX_IMAGE = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.1.1"
#: Films in order, and whether a CT comes of them.
FILMS = {"black.png": False, "cut.png": False, "study/IM0001": True, "study/film.nii.gz": True}
SKIPPED = {
    "ct/slice": "modality CT, not a film (CR or DX)",
    "ct/state.dcm": "a DICOM file without an image (modality PR)",
    "ct/report.dcm": "a DICOM file without an image (modality SR)",
    "study/ct.nii.gz": "a volume of the shape (64, 64, 64), not a film",
    "study/side.png": "a lateral film (side.json says LL)",
    "study/tagged.dcm": "a lateral film (the tags say LL)",
}


def write_mixed_folder(folder: Path) -> Path:
    """The films of ``FILMS``, the other files of ``SKIPPED``, and a text, a hidden and an odd file."""
    (folder / "study").mkdir(parents=True)
    (folder / "ct").mkdir()
    simulate_film(folder / "study")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        simulate(
            str(folder / "study" / "ct.nii.gz"), output=str(folder / "study" / "side.png"), view="LATERAL", rows=64, cols=64
        )
    shutil.copy(DICOM_FILM, folder / "study" / "IM0001")
    (folder / "cut.png").write_bytes(REAL_FILM.read_bytes()[:5000])
    Image.fromarray(np.zeros((80, 80), np.uint8)).save(folder / "black.png")
    write_object(folder / "ct" / "slice", CT_IMAGE, "CT", Rows=64, Columns=64)
    write_object(folder / "ct" / "state.dcm", GREYSCALE_STATE, "PR")
    write_object(folder / "ct" / "report.dcm", STRUCTURED_REPORT, "SR")
    write_object(folder / "study" / "tagged.dcm", DX_IMAGE, "DX", Rows=64, Columns=64, ViewPosition="LL")
    (folder / "notes.txt").write_text("see the second film")
    (folder / ".hidden.png").write_bytes(REAL_FILM.read_bytes())
    return folder


def write_object(path: Path, sop_class: str, modality: str, **attributes: object) -> Path:
    """A DICOM file of a kind; it has no pixels."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = UID(sop_class), generate_uid()
    dataset = Dataset()
    dataset.file_meta = meta
    dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.Modality = sop_class, meta.MediaStorageSOPInstanceUID, modality
    for name, value in attributes.items():
        setattr(dataset, name, value)
    pydicom.dcmwrite(path, dataset, enforce_file_format=True)
    return path

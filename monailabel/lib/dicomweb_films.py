"""The films of a DICOMweb server."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

from dicomweb_client.session_utils import create_session_from_user_pass
from fastapi import HTTPException
from monailabel.config import settings
from monailabel.datastore.dicom import DICOMwebClientX, DICOMWebDatastore

MODALITIES = ("CR", "DX")


class DicomWebFilms(DICOMWebDatastore):
    """CR and DX series of a DICOMweb server, as the DICOM they are: a NIfTI would have lost view, distances and polarity."""

    def list_images(self) -> list[str]:
        """Series UIDs; the films of this moment, where MONAI Label would remember them for two hours."""
        asked = self._search_filter.get("Modality")
        modalities = MODALITIES if asked in (None, "CT") else (asked,)  # CT is MONAI Label's default, and no film
        filters = [{**self._search_filter, "Modality": one} for one in modalities]
        found = [series for one in filters for series in self._client.search_for_series(search_filters=one)]
        return [series["0020000E"]["Value"][0] for series in found]

    def get_image_uri(self, image_id: str) -> str:
        """The folder of a series, fetched if it is not there yet; names on the disk are not the server's to choose."""
        if not re.fullmatch(r"[0-9]+(\.[0-9]+)*", image_id):
            raise HTTPException(400, "image must be a series UID: digits and dots")
        folder = Path(self._datastore.image_path()) / image_id
        if not folder.is_dir():
            found = self._client.search_for_series(search_filters={"SeriesInstanceUID": image_id})
            if not found:
                raise HTTPException(404, "no such series on the DICOMweb server")
            instances = self._client.retrieve_series(found[0]["0020000D"]["Value"][0], image_id)
            with tempfile.TemporaryDirectory(dir=folder.parent) as box:
                draft = Path(box) / "series"
                draft.mkdir()
                for number, instance in enumerate(instances, start=1):
                    instance.save_as(draft / f"IM{number:04d}.dcm", write_like_original=False)
                draft.rename(folder)  # whole, or not at all
        return str(folder)

    def save_label(self, *_: Any, **__: Any) -> str:
        """Refused: MONAI Label would turn the CT into a segmentation and send that to the server."""
        raise HTTPException(400, "a CT cannot be saved as a label on a DICOMweb server; xct pacs sends it as a CT series")


def connected_films(url: str) -> DicomWebFilms:
    """The films of a server, with the credentials and prefixes of MONAI Label's settings.

    MONAI Label's own way there fetches a program from the internet that only segmentations need.
    """
    user, password = settings.MONAI_LABEL_DICOMWEB_USERNAME, settings.MONAI_LABEL_DICOMWEB_PASSWORD
    client = DICOMwebClientX(
        url,
        session=create_session_from_user_pass(user, password) if user and password else None,
        qido_url_prefix=settings.MONAI_LABEL_QIDO_PREFIX,
        wado_url_prefix=settings.MONAI_LABEL_WADO_PREFIX,
        stow_url_prefix=settings.MONAI_LABEL_STOW_PREFIX,
    )
    cache = settings.MONAI_LABEL_DICOMWEB_CACHE_PATH.strip() or None
    return DicomWebFilms(client, settings.MONAI_LABEL_DICOMWEB_SEARCH_FILTER, cache, convert_to_nifti=False)

"""A MONAI Label app: films in, synthetic CTs out, by the three stages or the whole cascade.

The server lives in an environment of its own, because MONAI Label 0.8.5 needs pydicom 2 and numpy 1. Every request is
computed by the project's command line in the project's environment: what a client gets is what a user of the command line
gets, and a film that crashes a decoder does not take the server down.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from fastapi import HTTPException
from lib.dicomweb_films import DicomWebFilms, connected_films
from lib.each_film import EachFilm
from lib.film_to_ct import NOTICE, FilmToCt
from lib.login import accept_signed_tokens
from lib.train_stage import TrainStage
from lib.workplace import Workplace
from monailabel.config import settings
from monailabel.datastore.local import LocalDatastore
from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.exception import MONAILabelError, MONAILabelException
from monailabel.interfaces.tasks.batch_infer import BatchInferTask
from monailabel.interfaces.tasks.infer_v2 import InferTask
from monailabel.interfaces.tasks.train import TrainTask

ROOT = Path(__file__).resolve().parent.parent
STAGES = {f"xct_stage{number}": number for number in (1, 2, 3)}
CASCADE = "xct_cascade"
FILMS = ["*.nii.gz", "*.nii", "*.png", "*.jpg", "*.jpeg", "*.tif", "*.tiff", "*.dcm"]


class XctApp(MONAILabelApp):
    """``--conf`` takes bundles, python, device, models (names with commas between) and prepared; see docs/monailabel.md."""

    def __init__(self, app_dir: str, studies: str, conf: dict[str, str]) -> None:
        python, bundles = conf.get("python", ROOT / ".venv" / "bin" / "python"), conf.get("bundles", ROOT / "bundles")
        self._place = Workplace(str(python), Path(bundles).resolve(), conf.get("device", "cpu"))
        os.environ.pop("MONAI_LABEL_CORS_ORIGINS", None)  # trainings in the background would end on it with a TypeError
        accept_signed_tokens()
        self._place.require_weights()
        super().__init__(app_dir, studies, conf, name="xct", description=NOTICE, version="0.1.0")

    def init_infers(self) -> dict[str, InferTask]:
        """The four models, or those of ``--conf models``."""
        wanted = [name.strip() for name in self.conf.get("models", ",".join((*STAGES, CASCADE))).split(",")]
        unknown = sorted(set(wanted) - {*STAGES, CASCADE})
        if unknown:
            known = ", ".join((*STAGES, CASCADE))
            raise MONAILabelException(
                MONAILabelError.APP_INIT_ERROR, f"models must be some of {known}, got {', '.join(unknown)}"
            )
        return {name: FilmToCt(self._place, STAGES.get(name)) for name in wanted}

    def init_trainers(self) -> dict[str, TrainTask]:
        """One for each stage; weights go to the folder ``model`` of the app, never into the bundles that are served."""
        folder, prepared = Path(self.app_dir) / "model", self.conf.get("prepared")
        return {name: TrainStage(self._place, number, folder / name, prepared) for name, number in STAGES.items()}

    def init_batch_infer(self) -> BatchInferTask:
        """One film after the other."""
        return EachFilm()

    def init_datastore(self) -> LocalDatastore:
        """A folder of films, DICOM among them, or a DICOMweb server."""
        if self.studies.startswith(("http://", "https://")):
            return connected_films(self.studies.strip().rstrip("/"))
        how = {"auto_reload": settings.MONAI_LABEL_DATASTORE_AUTO_RELOAD, "read_only": settings.MONAI_LABEL_DATASTORE_READ_ONLY}
        return LocalDatastore(self.studies, extensions=FILMS, **how)

    def infer(self, request: dict[str, Any], datastore: LocalDatastore | None = None) -> dict[str, Any]:
        """As MONAI Label does, but clients name images by their ids: no path of this machine but their own uploads."""
        studies, request = datastore or self.datastore(), dict(request)
        image, lateral, coarse = (str(request.get(key) or "") for key in ("image", "lateral", "label"))
        if Path(image).exists() and not (_is_upload(image) or _is_session(image)):
            raise HTTPException(400, "image must be the id of an image of the studies, or be uploaded, not a path")
        if coarse and not (Path(coarse).is_file() and _is_upload(coarse)):
            raise HTTPException(400, "label must be uploaded: the volume of the stage before")
        if request.get("save_label") and isinstance(studies, DicomWebFilms):
            studies.save_label()
        if not Path(image).exists():
            _found(studies.get_image_uri(image), "image")
        if lateral:
            request["lateral"] = _found(studies.get_image_uri(lateral), "lateral")
        try:
            return super().infer(request, studies)
        except HTTPException:
            for upload in filter(_is_upload, (image, coarse)):
                Path(upload).unlink(missing_ok=True)  # MONAI Label leaves it behind where a request fails
            raise


def _is_upload(path: str) -> bool:
    """Whether MONAI Label put the file there for a client, in this request."""
    return (
        bool(path) and Path(path).parent == Path(tempfile.gettempdir()) and Path(path).name.startswith(tempfile.gettempprefix())
    )


def _is_session(path: str) -> bool:
    """Whether a client put it there, for several requests."""
    folder = settings.MONAI_LABEL_SESSION_PATH or Path.home() / ".cache" / "monailabel" / "sessions"
    return bool(path) and Path(path).resolve().is_relative_to(Path(folder).resolve())


def _found(uri: str, key: str) -> str:
    if not uri:
        raise HTTPException(404, f"{key} is no image of the studies; GET /datastore/?output=all lists them")
    return uri

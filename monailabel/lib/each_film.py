"""Batches: all films of the studies, one after the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi import HTTPException
from monailabel.datastore.local import LocalDatastore
from monailabel.interfaces.tasks.batch_infer import BatchInferTask


class EachFilm(BatchInferTask):
    """All films one after the other; one that is refused does not stop the others."""

    def __call__(self, request: dict[str, Any], datastore: LocalDatastore, infer: Any) -> dict[str, Any]:
        """Label or reason by image; labels are saved as the request's ``label_tag``, "original" by default."""
        images = sorted(self.get_images(request, datastore))[: request.get("max_batch_size") or None]
        return {image: self._one({**request, "image": image, "save_label": True}, datastore, infer) for image in images}

    def _one(self, request: dict[str, Any], datastore: LocalDatastore, infer: Any) -> dict[str, Any]:
        try:
            result = infer(request, datastore)
        except HTTPException as error:
            return {"error": error.detail}
        Path(result.pop("file")).unlink(missing_ok=True)
        return result

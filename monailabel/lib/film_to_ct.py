"""The models: a film becomes the CT that the command line makes of it."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pydicom
from fastapi import HTTPException
from lib.client_settings import CASCADE_SETTINGS, FRONTAL, STAGE_SETTINGS, checked_settings
from lib.workplace import Workplace
from monailabel.config import settings
from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType

NOTICE = "Synthetic CT estimated from a chest film. Research only, not for diagnosis."


class FilmToCt(InferTask):
    """One model: a stage by its bundle's inference.json, or the cascade by ``xct generate``."""

    def __init__(self, place: Workplace, stage: int | None) -> None:
        what = "the whole cascade" if stage is None else f"stage {stage}"
        self._known = CASCADE_SETTINGS if stage is None else STAGE_SETTINGS
        config = {"mode": "mean", "steps": 4, "seed": 0, "view": "", "accept": False, "pixel_mm": ""}
        config |= {"stages": 3, "full_size": False, "lateral": "", "lateral_pixel_mm": ""} if stage is None else {}
        super().__init__(InferType.OTHERS, [], 2, f"Chest film to CT, {what}. {NOTICE}", config)
        self._place, self._stage = place, stage

    def is_valid(self) -> bool:
        """Always: the server does not start with weights that cannot be loaded."""
        return True

    def __call__(self, request: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """The NIfTI as the command line wrote it, and its record."""
        options = checked_settings(request, self._known)
        film = one_film(Path(request["image"]), request.get("instance"))
        with tempfile.TemporaryDirectory(prefix="xct-label-") as folder:
            command = self._cascade(film, request) if self._stage is None else self._bundle(film, request)
            where = f"--{'output' if self._stage is None else 'output_dir'}={folder}"
            self._place.run("-m", *command, *options, where, timeout_s=settings.MONAI_LABEL_INFER_TIMEOUT)
            (volume,), (record,) = Path(folder).glob("*ct.nii.gz"), Path(folder).glob("*.json")
            handle, result = tempfile.mkstemp(suffix=".nii.gz")  # MONAI Label removes it once it is sent
            os.close(handle)
            shutil.move(volume, result)
            return result, {"notice": NOTICE, "record": json.loads(record.read_text(encoding="utf-8"))}

    def _cascade(self, film: Path, request: dict[str, Any]) -> list[str]:
        place = [f"--bundles={self._place.bundles}", f"--device={self._place.device}", "--format=nifti"]
        lateral = request.get("lateral")
        place += [f"--lateral={one_film(Path(lateral), None)}"] if lateral else []
        return ["xct_components", "generate", str(film), *place]

    def _bundle(self, film: Path, request: dict[str, Any]) -> list[str]:
        bundle = self._place.bundles / f"stage{self._stage}"
        place = [f"--bundle_root={bundle}", f"--device={self._place.device}", f"--input={film}"]
        coarse = [f"--coarse={request['label']}"] if request.get("label") else []
        return ["monai.bundle", "run", f"--config_file={bundle / 'configs' / 'inference.json'}", *place, *coarse]


def one_film(image: Path, instance: str | None) -> Path:
    """The film itself: a file as it is; of a DICOM series the instance asked for, the only one, or the only frontal one."""
    if not image.is_dir():
        return image
    headers = {path: pydicom.dcmread(path, stop_before_pixels=True) for path in sorted(image.glob("*.dcm"))}
    if instance:
        fitting = [path for path, header in headers.items() if header.SOPInstanceUID == instance]
    else:
        frontal = [path for path, header in headers.items() if header.get("ViewPosition") in FRONTAL]
        fitting = list(headers) if len(headers) == 1 else frontal
    if len(fitting) != 1:
        rule = "name one by its SOP instance UID as instance"
        raise HTTPException(422, f"the series has {len(headers)} images, {len(fitting)} of which could be meant; {rule}")
    return fitting[0]

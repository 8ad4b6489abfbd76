"""The end of the bundles' postprocessing: the volume as NIfTI, and beside it the record of how it came about."""

from __future__ import annotations

import gzip
import logging
import platform
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xct_components import __version__
from xct_components.bundle_io.film_inferer import FILM_ERROR, STD, STD_FACTOR
from xct_components.bundle_io.film_items import VOLUME_POSTFIX, stem_of
from xct_components.bundle_io.film_tensor import films_of
from xct_components.bundle_io.stage_weights import StageWeights
from xct_components.data.atomic_files import written_together
from xct_components.data.readable_json import readable_json
from xct_components.failures import CannotWrite
from xct_components.geometry import VolumeGrid

SCHEMA, SCHEMA_VERSION = "xct-volume", 1
NOTICE = "Computed from a chest film: an estimate, not a CT scan. Research only, not for diagnosis."
STD_POSTFIX = "_std"
#: Level 1 takes a fraction of the time of higher levels and gains nearly as much.
GZIP_LEVEL = 1

_log = logging.getLogger("xct.bundle")


class SaveVolumed:
    """Dictionary transform: writes FILM_ct.nii.gz (whole HU, int16), FILM_std.nii.gz if there is a deviation, FILM_ct.json.

    All files of a film appear together or not at all; files of an earlier run are replaced.

    Args:
        output_dir: made if it is not there.
        weights: what the run has loaded.
        keys: of the volume: a ``MetaTensor`` (1, D, H, W) in HU with the affine of its voxels.
        film_key: of the film it was made from.
    """

    def __init__(self, output_dir: str | Path, weights: StageWeights, keys: str = "pred", film_key: str = "image") -> None:
        self.output_dir, self.weights, self.keys, self.film_key = Path(output_dir), weights, keys, film_key

    def __call__(self, item: Mapping[str, Any]) -> dict[str, Any]:
        """The item as it was; raises CannotWrite if the disk is full or the folder not writable."""
        volume, film = item[self.keys], item[self.film_key]
        stem = stem_of(film.meta["filename_or_obj"])
        try:
            self.output_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CannotWrite(f"cannot write {self.output_dir}: {error.strerror}") from error
        images = {f"{stem}{VOLUME_POSTFIX}.nii.gz": volume}
        if STD in volume.meta:
            images[f"{stem}{STD_POSTFIX}.nii.gz"] = volume.meta[STD]
        grid = VolumeGrid.from_affine(volume.shape[-3:], volume.affine)
        record = self._record(volume, film, grid)
        targets = [self.output_dir / name for name in (*images, f"{stem}{VOLUME_POSTFIX}.json")]
        with written_together(*targets) as drafts:
            for draft, image in zip(drafts, images.values(), strict=False):
                _write_nifti(draft, image, grid)
            drafts[-1].write_text(readable_json({**record, "files": [*images]}), encoding="utf-8")
        _log.info("%s: film error %s; wrote %s", stem, record["film_error"], ", ".join(map(str, targets)))
        return dict(item)

    def _record(self, volume: Any, film: Any, grid: VolumeGrid) -> dict[str, Any]:
        (known,) = films_of(film, grid)
        error, factor = volume.meta.get(FILM_ERROR), volume.meta.get(STD_FACTOR)
        return {
            "schema": SCHEMA,
            "schema_version": SCHEMA_VERSION,
            "notice": NOTICE,
            "software": _software(),
            "weights": self.weights.records,
            "world_frame": "RAS+ millimetres: +x = patient right, +y = anterior, +z = superior",
            "grid": grid.to_json(),
            "film_error": None if error is None else [round(float(one), 6) for one in torch.as_tensor(error).flatten()],
            "deviation_factor": None if factor is None else round(float(torch.as_tensor(factor)), 4),
            "film": {**known.record, "exact": known.exact, "beams": [beam.to_json() for beam in known.beams]},
        }


def _software() -> dict[str, str]:
    import monai

    return {
        "xct-components": __version__,
        "monai": monai.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def _write_nifti(path: Path, volume_hu: Tensor, grid: VolumeGrid) -> None:
    """The same bytes for the same volume: neither time nor name in the header."""
    import nibabel

    values = volume_hu.as_subclass(Tensor).reshape(grid.shape).round().to("cpu", torch.int16)
    image = nibabel.Nifti1Image(np.ascontiguousarray(values.numpy()), grid.affine.numpy())
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = b"estimated from a film, HU; research only"
    with ExitStack() as opened:
        stream = opened.enter_context(path.open("wb"))
        packed = opened.enter_context(gzip.GzipFile("", mode="wb", fileobj=stream, compresslevel=GZIP_LEVEL, mtime=0))
        image.to_stream(packed)

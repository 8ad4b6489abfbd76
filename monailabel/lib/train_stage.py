"""Training of a stage on the CTs of the studies."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import nibabel
from fastapi import HTTPException
from lib.client_settings import TRAIN_SETTINGS, checked_settings
from lib.workplace import Workplace
from monailabel.datastore.local import LocalDatastore
from monailabel.interfaces.tasks.train import TrainTask

DEFAULTS = {"max_epochs": 1, "real_repeats": 25, "phantom_count": 0, "batch_size": 1, "learning_rate": 1e-4, "seed": 0}
LEAST_CTS = 3
_FIXED = {"case_cache": "none", "tensorboard": False, "picture_interval": 0, "resume": False}
#: The first words of the NIfTI descriptions that our own results carry.
_SYNTHETIC = (b"SYNTHETIC", b"estimated from a film")


class TrainStage(TrainTask):
    """Trains one stage further on CTs: a prepared folder, or those that are the final labels of the studies.

    The weights go to the app's own ``model`` folder, never into the bundle that is served.
    """

    def __init__(self, place: Workplace, stage: int, output: Path, prepared: str | None) -> None:
        super().__init__(f"Train stage {stage} further on CTs")
        self._place, self._stage, self._output, self._prepared = place, stage, output, prepared

    def config(self) -> dict[str, Any]:
        """What may be set, with its defaults."""
        return dict(DEFAULTS)

    def stats(self) -> dict[str, Any]:
        """What the last training reached."""
        record = self._output / "model.json"
        return json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}

    def __call__(self, request: dict[str, Any], datastore: LocalDatastore) -> dict[str, Any]:
        """Train from the weights of the last training, or those of the bundle; the record of the new ones."""
        options = checked_settings({**DEFAULTS, **request}, TRAIN_SETTINGS)
        bundle, own = self._place.bundles / f"stage{self._stage}", self._output / "model.pt"
        begin = own if own.is_file() else bundle / "models" / "model.pt"
        self._output.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="xct-label-") as folder:
            data = self._prepared or self._prepare(datastore, Path(folder))
            given = {**self._files(), **_FIXED, "device": self._place.device, "dataset_dir": data, "initial_weights": begin}
            overrides = [f"--{name}={value}" for name, value in given.items()]
            document = [f"--config_file={bundle / 'configs' / 'train.json'}", f"--bundle_root={bundle}"]
            self._place.run("-m", "monai.bundle", "run", *document, *overrides, *options, quiet=False)
        return {"weights": str(own), **self.stats()}

    def _files(self) -> dict[str, Path]:
        """Where the training writes."""
        weights = {f"{name}_path": self._output / f"stage{self._stage}_{name}.pt" for name in ("best", "best_drr", "last")}
        logs = {"log_path": self._output / "log.jsonl", "log_dir": self._output / "runs"}
        return {"ckpt_path": self._output / "model.pt", **weights, **logs}

    def _prepare(self, datastore: LocalDatastore, folder: Path) -> Path:
        """The final labels as ``xct prepare`` leaves CTs."""
        found = [Path(one["label"]) for one in datastore.datalist()]
        if len(found) < LEAST_CTS:
            rule = f"at least {LEAST_CTS} CTs as final labels (one of them validates)"
            raise HTTPException(400, f"training needs {rule}, got {len(found)}; or start the server with --conf prepared DIR")
        (folder / "cts").mkdir()
        for ct in found:
            if bytes(nibabel.load(ct).header.get("descrip", b"").tobytes()).startswith(_SYNTHETIC):
                raise HTTPException(422, f"{ct.name} is a synthetic CT: no truth to train on; remove it from the final labels")
            (folder / "cts" / ct.name).symlink_to(ct)
        sources = [str(folder / "cts"), f"--output={folder / 'prepared'}", "--test_share=0", "--workers=1"]
        self._place.run("-m", "xct_components", "prepare", *sources)
        return folder / "prepared"

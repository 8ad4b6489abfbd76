"""The Python face of training: one stage, by the very JSON documents that ``python -m monai.bundle run`` takes."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xct_components.bundle_io.plain_failures import failure_behind
from xct_components.data.bundle_folder import STAGES, bundles_folder
from xct_components.failures import UsageFailure
from xct_components.training.training_log import read_log

#: Where the best weights by film error go.
DRR_TARGETS = "validate::release_best_drr::targets"
PathLike = str | os.PathLike[str]


@dataclass(frozen=True)
class TrainedStage:
    """What a training left behind.

    Args:
        stage: its number.
        weights: the best weights by RMSE, half precision; None if no validation of this training has finished.
        best_projection: the best by film error; None likewise, or if projection was not validated.
        last: the checkpoint that the training can be gone on from.
        metrics: of the best weights: ``val_rmse_hu``, ``val_film_error`` and others.
    """

    stage: int
    weights: Path | None
    best_projection: Path | None
    last: Path
    metrics: dict[str, float] = field(default_factory=dict)


class UnifiedTrainer:
    """Trains one stage of a folder of bundles; the stages before it stay frozen.

    Args:
        stage: 1, 2 or 3.
        config: the folder of the bundles, or None as ``bundles_folder`` finds it; or a list of JSON documents beginning with a
            train.json, whose bundle is two folders above it.
        prev_stage_checkpoint: weights of the stage before, instead of those in its bundle; not for stage 1.

    Raises:
        UsageFailure: for another stage, a checkpoint for a stage that has none before it, or documents that are not there.

    Example:
        >>> trainer = UnifiedTrainer(stage=1, config="bundles")  # doctest: +SKIP
        >>> trainer.train("prepared", epochs=20).metrics["val_rmse_hu"]  # doctest: +SKIP
    """

    def __init__(
        self,
        stage: int,
        config: PathLike | Sequence[PathLike] | None = None,
        prev_stage_checkpoint: PathLike | None = None,
    ) -> None:
        if stage not in STAGES:
            raise UsageFailure(f"stage must be one of {', '.join(map(str, STAGES))}, got {stage}")
        if prev_stage_checkpoint is not None and stage == 1:
            raise UsageFailure("prev_stage_checkpoint must be None for stage 1, which starts from its atlas; it has no parent")
        self.stage, self.prev_stage_checkpoint = stage, prev_stage_checkpoint
        self._settings: dict[str, Any] = {}
        self.documents = _documents(stage, config)
        self.bundle = self.documents[0].parent.parent

    def train(
        self,
        data_dir: PathLike,
        epochs: int | None = None,
        *,
        validate_projection: bool = True,
        use_depth_priors: bool = True,
        **settings: Any,
    ) -> TrainedStage:
        """Train, or go on with a training that was interrupted.

        Args:
            data_dir: the output folder of ``xct prepare``.
            epochs: of the whole training; None takes the document's.
            validate_projection: keep the weights with the smallest film error, too.
            use_depth_priors: supervise depth lifting by the true depth distributions; False also takes their loss off.
            settings: overrides of the document, as on the command line; "::" of an id is written "__": ``loss__perceptual=0``.

        Raises:
            Failure: as the documents raise them: data, weights, settings or disk.
        """
        from monai.bundle import run

        overrides: dict[str, Any] = {name.replace("__", "::"): value for name, value in settings.items()}
        if epochs is not None:
            overrides["max_epochs"] = epochs
        if not validate_projection:
            overrides[DRR_TARGETS] = []
        if not use_depth_priors:
            overrides |= {"loss::depth_prior": 0.0, "step::depth_target": False}
        if self.prev_stage_checkpoint is not None:
            overrides["parents::last_file"] = str(self.prev_stage_checkpoint)
        self._settings = {"bundle_root": str(self.bundle), "dataset_dir": str(data_dir), **overrides}
        try:
            run(config_file=[str(document) for document in self.documents], **self._settings)
        except RuntimeError as error:  # MONAI's, around whatever a component raised
            raise failure_behind(error) or error from error
        return self.trained()

    def trained(self) -> TrainedStage:
        """What the latest training has left so far, where the documents, with the settings of ``train``, say that it is.

        Weights that an older training left there are not among it.

        Raises:
            UnreadableInput: if the log of the training is damaged.
        """
        best, drr, last, log_file = (self._path(name) for name in ("best_path", "best_drr_path", "last_path", "log_path"))
        log = read_log(log_file) if log_file.is_file() else []
        record = _record_of(best, log)
        drr_record = None if DRR_TARGETS in self._settings else _record_of(drr, log)
        return TrainedStage(
            self.stage,
            best if record else None,
            drr if drr_record else None,
            last,
            record["metrics"] if record else {},
        )

    def _path(self, name: str) -> Path:
        from monai.bundle import ConfigParser

        parser = ConfigParser()
        parser.read_config([str(document) for document in self.documents])
        parser.update({"bundle_root": str(self.bundle), **self._settings})
        return Path(parser.get_parsed_content(name))


def _record_of(weights: Path, log: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The record beside weights; None if there are none, or the training that left the log has not validated them."""
    file = weights.with_suffix(".json")
    if not weights.is_file() or not file.is_file():
        return None
    record: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    metric = record["chosen_by"]
    validated = [one.get(metric) for one in log if one["epoch"] == record["epoch"]]
    return record if validated == [record["metrics"][metric]] else None


def _documents(stage: int, config: PathLike | Sequence[PathLike] | None) -> list[Path]:
    if config is None or isinstance(config, str | os.PathLike):
        documents = [bundles_folder(config) / f"stage{stage}" / "configs" / "train.json"]
    else:
        documents = [Path(one) for one in config]
    missing = [document for document in documents if not document.is_file()]
    if missing or not documents:
        raise UsageFailure(f"config must be a folder of bundles or a list of JSON documents, got no {missing or 'document'}")
    return [document.absolute() for document in documents]

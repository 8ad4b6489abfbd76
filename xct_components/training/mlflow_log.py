"""Figures and pictures of a training for MLflow, by MONAI's handler."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from xct_components.failures import Failure
from xct_components.training.processes import place_among_processes

Engine = Any  # ignite.engine.Engine; ignite is loaded when a training is


class MlflowLog:
    """Sends all metrics of the engines that it is attached to, trainer and evaluator, after every epoch; pictures at the end.

    A run of the name that was interrupted is gone on with. The first process sends.

    Args:
        experiment: its name.
        run: its name within the experiment.
        tracking_uri: of the server, or sqlite:///FILE; by default MLFLOW_TRACKING_URI, or mlruns.db in the current folder.
        pictures: folder whose files become artifacts of the run.
    """

    def __init__(self, experiment: str, run: str, tracking_uri: str | None = None, pictures: str | Path | None = None) -> None:
        self.experiment, self.run, self.tracking_uri, self.pictures = experiment, run, tracking_uri, pictures
        self._handler: Any = None

    def attach(self, engine: Engine) -> None:
        """Hook into a trainer or an evaluator.

        Raises:
            Failure: if mlflow is not installed.
        """
        from ignite.engine import Events
        from monai.engines import Trainer

        if place_among_processes()[0]:
            return
        if find_spec("mlflow") is None:
            raise Failure("mlflow is not installed: pip install mlflow, or leave mlflow.json out")
        engine.add_event_handler(Events.STARTED, self.begin)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)
        if isinstance(engine, Trainer):
            engine.add_event_handler(Events.COMPLETED, self.end)

    def begin(self, engine: Engine) -> None:
        """Before the first epoch."""
        if self._handler is not None:
            return
        from monai.handlers import MLFlowHandler

        artifacts = None if self.pictures is None else str(self.pictures)
        self._handler = MLFlowHandler(
            self.tracking_uri, iteration_log=False, experiment_name=self.experiment, run_name=self.run, artifacts=artifacts
        )
        self._handler.start(engine)

    def __call__(self, engine: Engine) -> None:
        """After an epoch."""
        if self._handler is not None:
            self._handler.epoch_completed(engine)

    def end(self) -> None:
        """After the training."""
        if self._handler is not None:
            self._handler.complete()
            self._handler.close()
            self._handler = None

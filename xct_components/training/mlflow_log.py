"""Figures and pictures of a training for MLflow, by MONAI's handler."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from xct_components import __version__
from xct_components.failures import Failure, first_line
from xct_components.training.processes import place_among_processes

Engine = Any  # ignite.engine.Engine; ignite is loaded when a training is


class MlflowLog:
    """Sends all metrics and pictures of the engines that it is attached to, trainer and evaluator, after every epoch.

    Metrics have the names of stageN_log.jsonl and the epoch as their step; pictures are those of ``DrawValidation``, by case
    and epoch. A training that goes on goes on with its run, the latest of this name and checkpoint; one that begins has a run
    of its own. The first process sends. What cannot be sent while the training runs is left out with a warning: the figures
    are in the log, too.

    Args:
        experiment: its name.
        run: its name within the experiment.
        tracking_uri: of the server, or sqlite:///FILE; MLFLOW_TRACKING_URI goes before it. By default mlruns.db in the current
            folder.
        checkpoint: of the training, stageN_last.pt.
        parameters: its settings by name; those that a run has already stay as they are.
    """

    def __init__(
        self,
        experiment: str,
        run: str,
        tracking_uri: str | None = None,
        *,
        checkpoint: str | Path = "",
        parameters: Mapping[str, Any] | None = None,
    ) -> None:
        self.experiment, self.run, self.tracking_uri = experiment, run, tracking_uri
        self.checkpoint = str(Path(checkpoint).resolve())
        self.parameters = {**(parameters or {}), "checkpoint": self.checkpoint, "xct_components": __version__}
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
        """Before the first epoch.

        Raises:
            Failure: if the server cannot be reached or refuses.
        """
        if self._handler is not None:
            return
        try:
            self._handler = self._handler_of(engine)
            self._handler.start(engine)
        except _refusals() as error:
            raise Failure(
                f"MLflow does not take the training ({first_line(error)}); MLFLOW_TRACKING_URI names the server or "
                "sqlite:///FILE; or leave mlflow.json out"
            ) from error

    def __call__(self, engine: Engine) -> None:
        """After an epoch."""
        if self._handler is None:
            return
        _try(engine, partial(self._handler.epoch_completed, engine))
        for name, picture in getattr(engine.state, "pictures", {}).items():
            _try(engine, partial(self._send, name, picture, engine.state.epoch))

    def end(self, engine: Engine) -> None:
        """After the training."""
        if self._handler is not None:
            _try(engine, self._handler.close)
            self._handler = None

    def _handler_of(self, engine: Engine) -> Any:
        """MONAI's, with the run that is this training's: left to itself it takes any of the name that has not ended."""
        from monai.handlers import MLFlowHandler

        handler = MLFlowHandler(self.tracking_uri, iteration_log=False, experiment_name=self.experiment, run_name=self.run)
        client, found = handler.client, handler.client.get_experiment_by_name(self.experiment)
        place = found.experiment_id if found else client.create_experiment(self.experiment, handler.artifact_location)
        begun = self._begun(client, place) if engine.state.iteration else None
        if begun:
            client.update_run(begun, status="RUNNING")
        handler.cur_run = client.get_run(begun) if begun else client.create_run(place, run_name=self.run)
        known = handler.cur_run.data.params
        handler.experiment_param = {name: value for name, value in self.parameters.items() if name not in known}
        return handler

    def _begun(self, client: Any, place: str) -> str | None:
        """The run of the training that goes on; None if there is none."""
        ours = (self.run, self.checkpoint)
        runs = client.search_runs(place)  # the latest first
        return next((run.info.run_id for run in runs if (run.info.run_name, run.data.params.get("checkpoint")) == ours), None)

    def _send(self, name: str, picture: Any, epoch: int) -> None:
        self._handler.client.log_image(self._handler.cur_run.info.run_id, picture, key=name, step=epoch)


def _try(engine: Engine, send: Callable[[], None]) -> None:
    """Days of training do not end because a server does."""
    try:
        send()
    except _refusals() as error:
        engine.logger.warning("MLflow did not take epoch %d: %s", engine.state.epoch, first_line(error))


def _refusals() -> tuple[type[Exception], ...]:
    """What comes of a server, a database or a disk that fails. The database's own errors pass through MLflow unchanged."""
    kinds = [OSError, ValueError, import_module("mlflow.exceptions").MlflowException]
    if find_spec("sqlalchemy") is not None:  # mlflow-skinny is without, and knows servers only
        kinds.append(import_module("sqlalchemy.exc").SQLAlchemyError)
    return tuple(kinds)

"""Figures and pictures of a training for TensorBoard."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xct_components.failures import CannotWrite, Failure
from xct_components.training.processes import place_among_processes

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

Engine = Any  # ignite.engine.Engine; ignite is loaded when a training is


class TensorBoardLog:
    """Writes all metrics and pictures of the engines that it is attached to, trainer and evaluator, after every epoch.

    ``train_velocity`` becomes train/velocity, ``val_rmse_hu`` val/rmse_hu. Pictures are those of ``DrawValidation``; the
    depths that it leaves become histograms in mm from the front of the field, val_CASE_depth/predicted and so on. A training
    that goes on takes back what was written of epochs that it repeats. The first process writes.

    Args:
        folder: of the event files.
        on: False writes nothing and needs no tensorboard.
    """

    def __init__(self, folder: str | Path, *, on: bool = True) -> None:
        self.folder, self.on = Path(folder), on
        self._writer: SummaryWriter | None = None

    def attach(self, engine: Engine) -> None:
        """Hook into a trainer or an evaluator.

        Raises:
            Failure: if tensorboard is not installed.
        """
        from ignite.engine import Events

        if not self.on or place_among_processes()[0]:
            return
        if find_spec("tensorboard") is None:
            raise Failure("tensorboard is not installed: pip install 'xct-components[train]', or add --tensorboard False")
        engine.add_event_handler(Events.STARTED, self.begin)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def begin(self, engine: Engine) -> None:
        """Before the first epoch.

        Raises:
            CannotWrite: if the folder cannot be made.
        """
        if self._writer is not None:
            return
        from torch.utils.tensorboard import SummaryWriter

        try:
            self._writer = SummaryWriter(str(self.folder), purge_step=engine.state.epoch + 1)
        except OSError as error:
            raise CannotWrite(f"cannot write to {self.folder}: {error.strerror}; --log_dir names another folder") from error

    def __call__(self, engine: Engine) -> None:
        """After an epoch."""
        if self._writer is None:
            return
        epoch = engine.state.epoch
        for name, value in engine.state.metrics.items():
            self._writer.add_scalar(name.replace("_", "/", 1), value, epoch)
        for name, picture in getattr(engine.state, "pictures", {}).items():
            self._writer.add_image(name, picture, epoch, dataformats="HWC")
        for case, depth in getattr(engine.state, "depths", {}).items():
            for name, profile in depth.profiles.items():
                _add_depth(self._writer, f"val_{case}_depth/{name}", profile, depth.depth_mm, epoch)
        self._writer.flush()


def _add_depth(writer: SummaryWriter, tag: str, profile: Sequence[float], depth_mm: float, epoch: int) -> None:
    """A histogram of the depths in mm, each as often as attenuation lies there."""
    bin_mm = depth_mm / len(profile)
    places_mm = [(number + 0.5) * bin_mm for number in range(len(profile))]
    writer.add_histogram_raw(
        tag,
        min=0.0,
        max=depth_mm,
        num=sum(profile),
        sum=sum(share * place_mm for share, place_mm in zip(profile, places_mm, strict=True)),
        sum_squares=sum(share * place_mm**2 for share, place_mm in zip(profile, places_mm, strict=True)),
        bucket_limits=[(number + 1) * bin_mm for number in range(len(profile))],
        bucket_counts=list(profile),
        global_step=epoch,
    )

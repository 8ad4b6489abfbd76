"""Pictures of the validation cases every few epochs: how a stage comes to see."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from xct_components.failures import CannotWrite, Failure
from xct_components.training.case_picture import case_picture, draw_picture, pixels_of, write_png
from xct_components.training.depth_picture import draw_depth
from xct_components.training.processes import place_among_processes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Engine = Any  # ignite.engine.Engine; ignite is loaded when a training is


class DrawValidation:
    """Two pictures of a case: CASE_epoch0005.png and, of a stage with depth lifting, CASE_epoch0005_depth.png.

    The first has CT, one-step mean and difference in three planes, and the film beside the film of the mean; the second the
    depth distribution of the attenuation as CT, atlas and depth lifting have it. They are drawn after the first epoch and
    every so manyeth by the first process, and stay in ``engine.state.pictures``, with the ``CaseDepth`` of each in
    ``engine.state.depths``, until the next validation; ``TensorBoardLog`` and ``MlflowLog`` take them from there.

    Args:
        folder: of the files; made if missing.
        every: epochs from one to the next; 0 draws nothing and needs no matplotlib.
        cases: the first so many.
    """

    def __init__(self, folder: str | Path, *, every: int = 5, cases: int = 4) -> None:
        self.folder, self.every, self.cases = Path(folder), every, cases
        self._drawn = 0

    def attach(self, engine: Engine) -> None:
        """Hook into the evaluator.

        Raises:
            Failure: if matplotlib is not installed.
        """
        from ignite.engine import Events

        if self.every <= 0 or place_among_processes()[0]:
            return
        if find_spec("matplotlib") is None:
            raise Failure("matplotlib is not installed: pip install 'xct-components[train]', or add --picture_interval 0")
        engine.add_event_handler(Events.EPOCH_STARTED, self.begin)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)

    def begin(self, engine: Engine) -> None:
        """Before a validation.

        Raises:
            CannotWrite: if the folder cannot be made.
        """
        engine.state.pictures, engine.state.depths = {}, {}
        self._drawn = 0
        if not self._is_due(engine):
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CannotWrite(f"cannot make the folder {self.folder}: {error.strerror}") from error

    def __call__(self, engine: Engine) -> None:
        """After a batch."""
        if not self._is_due(engine):
            return
        batch, validated = engine.state.output["image"], engine.state.output["pred"]
        for number, case in enumerate(engine.state.batch):
            if self._drawn == self.cases:
                return
            self._drawn += 1
            name, epoch = case["case"], f"epoch {engine.state.epoch}"
            caption = f"{epoch}   {in_words(validated.figures, number)}"
            self._keep(engine, name, "", draw_picture(case_picture(name, batch, validated.volume_hu, number, caption)))
            if validated.depths:
                engine.state.depths[name] = validated.depths[number]
                self._keep(engine, name, "_depth", draw_depth(name, epoch, validated.depths[number]))

    def _keep(self, engine: Engine, name: str, kind: str, figure: Figure) -> None:
        pixels = pixels_of(figure)
        write_png(self.folder / f"{name}_epoch{engine.state.epoch:04d}{kind}.png", pixels)
        engine.state.pictures[f"val_{name}{kind}"] = pixels

    def _is_due(self, engine: Engine) -> bool:
        return engine.state.epoch == 1 or engine.state.epoch % self.every == 0


def in_words(figures: dict[str, Tensor], number: int) -> str:
    """The figures of one case of a batch, for its picture."""
    of = {name: float(values[number]) for name, values in figures.items()}
    return (
        f"RMSE {of['rmse_hu']:.0f} HU (prior {of['prior_rmse_hu']:.0f})   PSNR {of['psnr_db']:.1f} dB   "
        f"SSIM {of['ssim']:.3f}   film error before consistency {of['film_error']:.3f}"
    )

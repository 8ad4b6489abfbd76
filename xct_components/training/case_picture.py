"""A held-out case as a person judges it: planes of CT, mean and difference, the film beside the film of the mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from xct_components.data.atomic_files import written_together
from xct_components.geometry import ConeBeam
from xct_components.physics.attenuation import hu_to_mu_per_mm
from xct_components.physics.projector import project
from xct_components.training.stage_batch import StageBatch

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Shown as black and white: HU (lungs and bones both have detail), line integrals, and the differences of both.
CT_WINDOW_HU, FILM_WINDOW = (-1050.0, 450.0), (0.0, 6.5)
DIFFERENCE_WINDOW_HU, FILM_DIFFERENCE_WINDOW = (-500.0, 500.0), (-0.5, 0.5)
COLUMNS = ("coronal", "axial", "sagittal", "film")
LETTERS = ("RL", "RL", "AP", "RL")
ROWS = ("CT", "one-step mean", "mean - CT: ±500 HU, film ±0.5")
#: Inches: side of a panel, gap, room above for the names of the columns, to the left for those of the rows.
PANEL_INCH, GAP_INCH, TOP_INCH, LEFT_INCH = 2.3, 0.06, 0.62, 0.42
BACKGROUND, TEXT, FAINT, ACCENT = "#0b0e13", "#e8ecf2", "#8b95a5", "#5cc8ff"


@dataclass(frozen=True)
class CasePicture:
    """What is drawn of a case; no whole volume.

    Args:
        name: of the case.
        caption: its figures in words.
        panels: for each of ``ROWS`` the pictures of ``COLUMNS``: HU in planes through the middle, line integrals.
        pixel_mm: for each column height and width of a pixel in the patient.
    """

    name: str
    caption: str
    panels: list[list[Tensor]]
    pixel_mm: list[tuple[float, float]]


def case_picture(name: str, batch: StageBatch, volume_hu: Tensor, number: int, caption: str) -> CasePicture:
    """The picture of one case of a batch.

    Args:
        name: of the case.
        batch: from ``PrepareValidation``.
        volume_hu: (B, 1, D, H, W) from ``MeanOfBatch``.
        number: of the case in the batch.
        caption: its figures in words.
    """
    field, beam = batch.fields[number], batch.beams[number][0]
    one = slice(number, number + 1)
    drr = project(hu_to_mu_per_mm(volume_hu[one]), [field], [[beam]])[0, 0, 0]
    ct = [*_planes(batch.truth_hu[number, 0]), batch.film[number, 0, 0]]
    mean = [*_planes(volume_hu[number, 0]), drr]
    difference = [there - here for here, there in zip(ct, mean, strict=True)]
    d_mm, h_mm, w_mm = field.spacing_mm
    magnification = beam.magnification_at(field.center_mm) if isinstance(beam, ConeBeam) else 1.0
    height_mm, width_mm = beam.detector.pitch_mm
    sizes = [(h_mm, w_mm), (d_mm, w_mm), (h_mm, d_mm), (height_mm / magnification, width_mm / magnification)]
    panels = [[panel.detach().float().cpu() for panel in row] for row in (ct, mean, difference)]
    return CasePicture(name, caption, panels, sizes)


def picture_size_inch() -> tuple[float, float]:
    """Width and height that ``draw_case`` takes."""
    return LEFT_INCH + len(COLUMNS) * (PANEL_INCH + GAP_INCH), TOP_INCH + len(ROWS) * (PANEL_INCH + GAP_INCH)


def draw_case(figure: Figure, picture: CasePicture, left_inch: float, top_inch: float) -> None:
    """Draw into a figure, with the upper left corner so far from its left and upper edge."""
    width, height = figure.get_size_inches()
    figure.text(left_inch / width, 1 - (top_inch + 0.1) / height, picture.name, color=TEXT, fontsize=11, va="center")
    figure.text(
        (left_inch + picture_size_inch()[0] - GAP_INCH) / width,
        1 - (top_inch + 0.1) / height,
        picture.caption,
        color=FAINT,
        fontsize=9,
        ha="right",
        va="center",
    )
    for row, row_name in enumerate(ROWS):
        for column, column_name in enumerate(COLUMNS):
            left = left_inch + LEFT_INCH + column * (PANEL_INCH + GAP_INCH)
            bottom = height - top_inch - TOP_INCH - row * (PANEL_INCH + GAP_INCH) - PANEL_INCH
            axes = figure.add_axes((left / width, bottom / height, PANEL_INCH / width, PANEL_INCH / height))
            _show(axes, picture.panels[row][column], _window(row, column), picture.pixel_mm[column], LETTERS[column])
            if row == 0:
                axes.set_title(column_name, color=TEXT, fontsize=9, pad=4)
            if column == 0:
                words: dict[str, Any] = {"color": TEXT, "fontsize": 9, "rotation": 90, "ha": "center", "va": "center"}
                axes.text(-0.06, 0.5, row_name, transform=axes.transAxes, **words)


def framed_panel(figure: Figure, left_inch: float, top_inch: float, width_inch: float, height_inch: float) -> Axes:
    """Empty axes for a diagram, so far from the left and upper edge of the figure."""
    width, height = figure.get_size_inches()
    bottom = height - top_inch - height_inch
    axes = figure.add_axes((left_inch / width, bottom / height, width_inch / width, height_inch / height))
    axes.set_facecolor(BACKGROUND)
    axes.tick_params(colors=FAINT, labelsize=8)
    for spine in axes.spines.values():
        spine.set_color(FAINT)
    return axes


def write_sides(axes: Axes, letters: Sequence[str]) -> None:
    """The sides of the patient at the left and the right edge, legible on any gray."""
    from matplotlib.patheffects import withStroke

    for share, letter, side in ((0.03, letters[0], "left"), (0.97, letters[1], "right")):
        text = axes.text(share, 0.5, letter, color=ACCENT, fontsize=8, ha=side, va="center", transform=axes.transAxes)
        text.set_path_effects([withStroke(linewidth=2.0, foreground=BACKGROUND)])


def draw_picture(picture: CasePicture) -> Figure:
    """The picture as a figure of its own."""
    from matplotlib.figure import Figure

    width, height = picture_size_inch()
    figure = Figure(figsize=(width + 0.2, height + 0.2), dpi=100, facecolor=BACKGROUND)
    draw_case(figure, picture, 0.1, 0.1)
    return figure


def pixels_of(figure: Figure) -> np.ndarray:
    """(rows, columns, 3) uint8."""
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def write_png(target: Path, pixels: np.ndarray) -> None:
    """Whole or not at all."""
    from PIL import Image

    with written_together(target) as (draft,):
        Image.fromarray(pixels).save(draft, format="png")


def _planes(volume: Tensor) -> list[Tensor]:
    """Coronal, axial and sagittal, through the middle of a (D, H, W) volume."""
    d, h, w = (size // 2 for size in volume.shape)
    return [volume[d], volume[:, h], volume[:, :, w].T]


def _window(row: int, column: int) -> tuple[float, float]:
    if row < len(ROWS) - 1:
        return CT_WINDOW_HU if column < len(COLUMNS) - 1 else FILM_WINDOW
    return DIFFERENCE_WINDOW_HU if column < len(COLUMNS) - 1 else FILM_DIFFERENCE_WINDOW


def _show(
    axes: Axes, pixels: Tensor, window: tuple[float, float], pixel_mm: tuple[float, float], letters: Sequence[str]
) -> None:
    height_mm, width_mm = pixels.shape[0] * pixel_mm[0], pixels.shape[1] * pixel_mm[1]
    extent = (0.0, width_mm, height_mm, 0.0)
    axes.imshow(pixels.numpy(), cmap="gray", vmin=window[0], vmax=window[1], interpolation="bilinear", extent=extent)
    axes.set_axis_off()
    write_sides(axes, letters)

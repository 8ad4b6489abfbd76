"""The picture of an evaluation: truth, cascade, baseline and error of some patients, with their films."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from xct_components.geometry import ChestView, VolumeGrid
from xct_components.metrics.image import Window
from xct_components.metrics.projection import true_film

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: HU shown as black and white; differences in HU, and of films in line integrals.
SHOWN_HU: Window = (-1000.0, 400.0)
DIFFERENCE_HU, DIFFERENCE_FILM, FILM = 500.0, 1.0, (0.0, 7.0)
VIEWS: tuple[ChestView, ...] = ("PA", "LL")
COLUMNS = ("coronal", "axial", "sagittal", "frontal film (DRR)", "lateral film (DRR)")
PANEL_INCH, TITLE_INCH, DPI = 2.3, 0.28, 100


@dataclass(frozen=True, eq=False)
class PicturedCase:
    """One patient's volumes at one size.

    Args:
        case: its name.
        field: where they lie.
        truth_hu: (1, 1, D, H, W).
        volumes: caption -> likewise; the first is the cascade's, and its error is shown.
    """

    case: str
    field: VolumeGrid
    truth_hu: Tensor
    volumes: dict[str, Tensor]


def write_sheet(path: Path, cases: Sequence[PicturedCase]) -> None:
    """A PNG: for every case a row for the truth, for each volume, and for the error of the first volume.

    The patient's right is on the viewer's left; lateral and sagittal show the front on the left.
    """
    from matplotlib.figure import Figure

    rows = sum(len(case.volumes) + 2 for case in cases)
    height = rows * PANEL_INCH + len(cases) * TITLE_INCH + TITLE_INCH
    figure = Figure(figsize=(len(COLUMNS) * PANEL_INCH + 0.3, height), dpi=DPI, facecolor="black")
    top = height - TITLE_INCH
    for case in cases:
        shape = " x ".join(map(str, case.field.shape))
        title = f"{case.case}, {shape} voxels; HU {SHOWN_HU[0]:g} to {SHOWN_HU[1]:g}; errors +- {DIFFERENCE_HU:g} HU and "
        title += f"{DIFFERENCE_FILM:g} in films; the patient's right is on the left"
        figure.text(0.02, (top - 0.6 * TITLE_INCH) / height, title, color="white", fontsize=10, va="center")
        top -= TITLE_INCH
        ours = next(iter(case.volumes.values()))
        lines = [("truth", case.truth_hu, False), *((name, volume, False) for name, volume in case.volumes.items())]
        for name, volume, signed in [*lines, (f"{next(iter(case.volumes))}: error", ours, True)]:
            top -= PANEL_INCH
            places = [
                figure.add_axes(
                    (
                        (0.3 + number * PANEL_INCH) / figure.get_figwidth(),
                        top / height,
                        0.98 * PANEL_INCH / figure.get_figwidth(),
                        0.98 * PANEL_INCH / height,
                    )
                )
                for number in range(len(COLUMNS))
            ]
            _draw(places, case, volume, signed=signed)
            figure.text(0.012, (top + PANEL_INCH / 2) / height, name, color="white", fontsize=8, rotation=90, va="center")
    for number, column in enumerate(COLUMNS):
        place = (0.3 + (number + 0.5) * PANEL_INCH) / figure.get_figwidth()
        figure.text(place, 1 - 0.5 * TITLE_INCH / height, column, color="white", fontsize=9, ha="center", va="center")
    figure.savefig(path, format="png", facecolor="black")


def _draw(places: Sequence[Axes], case: PicturedCase, volume: Tensor, *, signed: bool) -> None:
    shown = volume - case.truth_hu if signed else volume
    pictures = [*_planes(shown), *_films(case, volume, signed=signed)]
    windows = [((-DIFFERENCE_HU, DIFFERENCE_HU) if signed else SHOWN_HU)] * 3
    windows += [((-DIFFERENCE_FILM, DIFFERENCE_FILM) if signed else FILM)] * 2
    for axes, picture, (low, high) in zip(places, pictures, windows, strict=True):
        axes.imshow(picture.numpy(), cmap="RdBu_r" if signed else "gray", vmin=low, vmax=high, interpolation="bilinear")
        axes.set_axis_off()


def _planes(volume: Tensor) -> list[Tensor]:
    """Coronal, axial and sagittal through the middle of a lung, as a person is used to see them."""
    plain = volume[0, 0]
    d, h, w = plain.shape
    return [plain[int(0.45 * d)], plain[:, h // 2], plain[:, :, int(0.36 * w)].T]


def _films(case: PicturedCase, volume: Tensor, *, signed: bool) -> list[Tensor]:
    pictures = []
    for view in VIEWS:
        film = true_film(volume, case.field, view).line_integrals
        pictures.append(film - true_film(case.truth_hu, case.field, view).line_integrals if signed else film)
    return [torch.as_tensor(picture)[0, 0, 0] for picture in pictures]

"""Contact sheets: slices and films of phantoms and real CTs in the same windows, side by side."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from xct_components.geometry import VolumeGrid, chest_beam_covering
from xct_components.physics.attenuation import hu_to_mu_per_mm
from xct_components.physics.projector import project

#: Windows in HU: lung and soft tissue; grey values of the films are line integrals.
_LUNG, _SOFT = (-1000.0, 300.0), (-200.0, 300.0)
_PA, _LATERAL = (0.5, 6.0), (0.5, 8.5)
#: Axis, place along it, window.
_SLICES = (
    (0, 0.47, _LUNG),
    (0, 0.62, _LUNG),
    (1, 0.36, _LUNG),
    (1, 0.47, _LUNG),
    (1, 0.62, _SOFT),
    (1, 0.80, _SOFT),
    (2, 0.50, _SOFT),
    (2, 0.30, _LUNG),
)


def write_sheet(chests: list[tuple[str, Tensor]], path: Path, spacing_mm: float) -> None:
    """One row per chest: 2 coronal, 4 axial and 2 sagittal slices, a PA and a left lateral film.

    Args:
        chests: title and (n, n, n) HU in canonical orientation.
        path: the PNG to write.
        spacing_mm: of the volumes.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.2 * (len(_SLICES) + 2), 2.25 * len(chests)))
    for number, (title, hu) in enumerate(chests):
        for column, (picture, low, high) in enumerate(_pictures(hu.float(), spacing_mm)):
            axes = figure.add_subplot(len(chests), len(_SLICES) + 2, number * (len(_SLICES) + 2) + column + 1)
            axes.imshow(picture.numpy(), cmap="gray", vmin=low, vmax=high)
            axes.axis("off")
            if column == 0:
                axes.set_title(title, fontsize=7, loc="left")
    figure.subplots_adjust(0.0, 0.0, 1.0, 0.98, 0.01, 0.06)
    figure.savefig(path, dpi=80)


def _pictures(hu: Tensor, spacing_mm: float) -> list[tuple[Tensor, float, float]]:
    grid = VolumeGrid.chest(hu.shape, spacing_mm)
    mu_per_mm = hu_to_mu_per_mm(hu[None, None])
    slices = [
        (cut.T if axis == 2 else cut, *window)
        for axis, place, window in _SLICES
        for cut in [hu.select(axis, int(place * hu.shape[axis]))]
    ]
    films = []
    for view, window in (("PA", _PA), ("LL", _LATERAL)):
        beam = chest_beam_covering(grid, view, hu.shape[1], hu.shape[2] if view == "PA" else hu.shape[0])  # type: ignore[arg-type]
        films.append((project(mu_per_mm, grid, [beam])[0, 0, 0], *window))
    return [*slices, *films]

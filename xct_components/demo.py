"""``xct demo``: a real chest film becomes a CT; and the other way round, radiographs of a real CT beside its slices."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xct_components.data.atomic_files import written_together
from xct_components.failures import CannotWrite, Failure
from xct_components.generate_command import generate
from xct_components.simulate_command import simulate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor

    from xct_components.geometry import VolumeGrid

#: File name -> view of the films.
FILMS = {"pa": "PA", "lateral": "LATERAL"}
#: Slices are read at this pixel size over the film's field.
SLICE_PIXEL_MM = 1.0
#: HU shown as black and white: lungs and bones both have detail.
SLICE_WINDOW_HU = (-1050.0, 450.0)
#: Row and column directions (RAS) and their letters (left, right edge), as radiologists look at them.
PLANES: dict[str, tuple[tuple[float, float, float], tuple[float, float, float], str]] = {
    "Coronal": ((0.0, 0.0, -1.0), (-1.0, 0.0, 0.0), "RL"),
    "Axial": ((0.0, -1.0, 0.0), (-1.0, 0.0, 0.0), "RL"),
    "Sagittal": ((0.0, 0.0, -1.0), (0.0, -1.0, 0.0), "AP"),
}
SCALE_BAR_MM = 50.0
#: Possible CTs beside the mean.
MEMBERS = 2

_BACKGROUND, _TEXT, _FAINT, _ACCENT, _ALERT = "#0b0e13", "#e8ecf2", "#8b95a5", "#5cc8ff", "#ffb454"
_WIDTH_INCH, _HEIGHT_INCH = 12.0, 11.15
_MARGIN_INCH, _GAP_INCH, _HEADER_INCH, _TITLE_INCH = 0.3, 0.2, 1.1, 0.42


def demo(
    film: str = "tests/data/films/00000001_000.png",
    ct: str = "tests/data/cip-ct-64.nrrd",
    *,
    output: str = "demo_output",
    stages: int = 3,
    bundles: str | None = None,
) -> list[Path]:
    """Make a CT of a real film with the whole cascade, and films of a real CT.

    Args:
        film: a frontal chest film, as for generate; by default one in the repository, if that is the current folder.
        ct: a CT, as for simulate; likewise.
        output: folder for ct_of_film/ (CT, uncertainty, report.html, preview.png, report.json), films and radiographs.png. It
            is made if missing; files of an earlier demo are replaced.
        stages: as for generate.
        bundles: as for generate.

    Returns:
        What was written, the pictures first.
    """
    if find_spec("matplotlib") is None:
        raise Failure("the demo's picture needs matplotlib: pip install 'xct-components[report]'")
    folder = Path(output)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CannotWrite(f"cannot make the folder {folder}: {error.strerror}") from error
    written: list[Path] = []
    for name, view in FILMS.items():
        for suffix in (".nii.gz", ".png"):
            written += simulate(ct, output=str(folder / (name + suffix)), view=view, overwrite=True)
    picture = folder / "radiographs.png"
    with written_together(picture) as (draft,):
        _draw(draft, ct, folder)
    made = generate(film, output=str(folder / "ct_of_film"), members=MEMBERS, overwrite=True, stages=stages, bundles=bundles)
    pictures = [picture, *(path for path in made if path.suffix in (".png", ".html"))]
    return [*reversed(pictures), *(path for path in [*made, *dict.fromkeys(written)] if path not in pictures)]


def _draw(picture: Path, ct: str, folder: Path) -> None:
    """Two films above three slices."""
    from matplotlib.figure import Figure
    from skimage.io import imread

    from xct_components.data.ct.reading import read_ct
    from xct_components.data.simulate.film_files import WHITE

    figure = Figure(figsize=(_WIDTH_INCH, _HEIGHT_INCH), dpi=110, facecolor=_BACKGROUND)
    bottom = _HEIGHT_INCH - _HEADER_INCH
    films = zip(FILMS, ("PA film", "Left lateral film"), ("RL", "AP"), _row_of_axes(figure, 2, bottom), strict=True)
    for name, title, letters, axes in films:
        geometry = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        pixel_mm = geometry["pixel_size_mm"]["patient"][1]
        _show(axes, imread(folder / f"{name}.png"), (0.0, float(WHITE)), pixel_mm, title, letters)
    ct_hu, grid = read_ct(ct)
    slices = zip(PLANES.items(), _row_of_axes(figure, 3, bottom - _panel_inch(2) - _TITLE_INCH), strict=True)
    for (title, (row, col, letters)), axes in slices:
        slice_hu = _slice_hu(ct_hu, grid, geometry["isocenter_mm"], row, col, geometry["field"]["size_in_patient_mm"][0])
        _show(axes, slice_hu, SLICE_WINDOW_HU, SLICE_PIXEL_MM, f"{title} slice of the CT", letters)
    _write_captions(figure, Path(ct).name, geometry)
    figure.savefig(picture, format="png", facecolor=_BACKGROUND)


def _panel_inch(count: int) -> float:
    """Side of the square panels, ``count`` in a row."""
    return (_WIDTH_INCH - 2 * _MARGIN_INCH - (count - 1) * _GAP_INCH) / count


def _row_of_axes(figure: "Figure", count: int, top_inch: float) -> "list[Axes]":
    """Square panels side by side, their upper edges at ``top_inch`` above the figure's lower edge."""
    side = _panel_inch(count)
    lefts = [_MARGIN_INCH + index * (side + _GAP_INCH) for index in range(count)]
    boxes = [(left / _WIDTH_INCH, (top_inch - side) / _HEIGHT_INCH, side / _WIDTH_INCH, side / _HEIGHT_INCH) for left in lefts]
    return [figure.add_axes(box) for box in boxes]


def _write_captions(figure: "Figure", ct_name: str, geometry: dict[str, Any]) -> None:
    left, right, top = _MARGIN_INCH / _WIDTH_INCH, 1 - _MARGIN_INCH / _WIDTH_INCH, 1 - 0.42 / _HEIGHT_INCH
    figure.text(left, top, "Radiographs simulated from a CT", color=_TEXT, fontsize=20, weight="bold", va="center")
    figure.text(right, top, "SIMULATED - NOT FOR DIAGNOSIS", color=_ALERT, fontsize=12, weight="bold", ha="right", va="center")
    rig = (
        f"{geometry['source_to_detector_mm']:.0f} mm to the detector, {geometry['source_to_patient_mm']:.0f} mm to the patient"
    )
    values = f"line integrals at {geometry['physics']['energy_kev']:.0f} keV, mean over each pixel"
    caption = f"{ct_name}   |   {rig}   |   {values}   |   {geometry['software']}"
    figure.text(left, 0.2 / _HEIGHT_INCH, caption, color=_FAINT, fontsize=9.5, va="center")


def _show(axes: "Axes", pixels: Any, window: tuple[float, float], pixel_mm: float, title: str, letters: str) -> None:
    """One picture with its title, side marks and scale bar."""
    axes.imshow(pixels, cmap="gray", vmin=window[0], vmax=window[1], interpolation="bicubic")
    axes.set_axis_off()
    axes.set_title(title, color=_TEXT, fontsize=12, loc="left", pad=6)
    rows, cols = pixels.shape
    for place, letter, side in ((0.03, letters[0], "left"), (0.97, letters[1], "right")):
        axes.text(place * cols, 0.5 * rows, letter, color=_ACCENT, fontsize=13, weight="bold", ha=side, va="center")
    right, low, length = cols * 0.97, rows * 0.965, SCALE_BAR_MM / pixel_mm
    axes.plot([right - length, right], [low, low], color=_TEXT, linewidth=2.5, solid_capstyle="butt")
    axes.text(right - length / 2, low - rows * 0.015, f"{SCALE_BAR_MM:.0f} mm", color=_TEXT, fontsize=9, ha="center")


def _slice_hu(ct_hu: "Tensor", grid: "VolumeGrid", center_mm: Any, row: Any, col: Any, size_mm: float) -> Any:
    """A plane through ``center_mm`` as (pixels, pixels) HU, trilinear; air outside the CT."""
    import torch
    import torch.nn.functional as F

    from xct_components.data.ct.reading import AIR_HU

    pixels = round(size_mm / SLICE_PIXEL_MM)
    steps_mm = (torch.arange(pixels, dtype=torch.float64) - (pixels - 1) / 2)[:, None] * SLICE_PIXEL_MM
    rows_mm, cols_mm = (steps_mm * torch.tensor(direction, dtype=torch.float64) for direction in (row, col))
    world_mm = torch.tensor(center_mm, dtype=torch.float64) + rows_mm[:, None] + cols_mm[None]
    voxels = grid.voxels_from_world(world_mm) * 2 / (torch.tensor(grid.shape) - 1) - 1
    positions = voxels.flip(-1)[None, None].float()
    return F.grid_sample(ct_hu - AIR_HU, positions, align_corners=True)[0, 0, 0].add(AIR_HU).numpy()

"""What a person sees of a result: planes of the CT, the film beside the DRR of the CT, and the record as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxtyping import Float
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from xct_components.inferers.generated_ct import GeneratedCt

SCHEMA, SCHEMA_VERSION = "xct-generated-ct", 1
#: Name -> HU shown as black and white.
WINDOWS_HU = {"mediastinum": (-160.0, 240.0), "lung": (-1350.0, 150.0)}
#: Line integrals shown as black and white, and the largest difference shown.
FILM_WINDOW, DIFFERENCE = (0.0, 6.5), 0.5
#: Standard deviation shown as white, HU.
STD_WINDOW_HU = (0.0, 800.0)
SCALE_BAR_MM = 50.0
#: Of the members so many are shown, and in this window.
MOST_MEMBERS_SHOWN, MEMBER_WINDOW = 3, "mediastinum"
WARNING = "SYNTHETIC - NOT FOR DIAGNOSIS"

_BACKGROUND, _TEXT, _FAINT, _ACCENT, _ALERT = "#0b0e13", "#e8ecf2", "#8b95a5", "#5cc8ff", "#ffb454"
_WIDTH_INCH, _MARGIN_INCH, _GAP_INCH, _HEADER_INCH, _TITLE_INCH, _FOOTER_INCH = 12.0, 0.3, 0.2, 0.9, 0.42, 0.6


def write_preview(path: Path, ct: GeneratedCt) -> None:
    """A PNG: film, DRR of the CT and their difference; planes of the CT in two windows, of members, of the std.

    The patient's right is on the viewer's left.

    Args:
        path: where to write, whatever the ending.
        ct: the result.
    """
    from matplotlib.figure import Figure

    volume, members = ct.volume[0].as_subclass(Tensor), shown_members(ct)
    rows = len(WINDOWS_HU) + 1 + len(members) + (ct.std is not None)
    side = (_WIDTH_INCH - 2 * _MARGIN_INCH - 2 * _GAP_INCH) / 3
    height = _HEADER_INCH + rows * (side + _TITLE_INCH) + _FOOTER_INCH
    figure = Figure(figsize=(_WIDTH_INCH, height), dpi=100, facecolor=_BACKGROUND)
    _draw_films(_axes(figure, 0, side), ct)
    for number, (name, window) in enumerate(WINDOWS_HU.items()):
        _draw_planes(_axes(figure, number + 1, side), volume, ct, f"{name} window", window)
    for row, (name, member) in enumerate(members.items(), start=len(WINDOWS_HU) + 1):
        _draw_planes(_axes(figure, row, side), member, ct, name, WINDOWS_HU[MEMBER_WINDOW])
    if ct.std is not None:
        _draw_planes(_axes(figure, rows - 1, side), ct.std[0].as_subclass(Tensor), ct, "standard deviation", STD_WINDOW_HU)
    _write_captions(figure, ct)
    figure.savefig(path, format="png", facecolor=_BACKGROUND)


def shown_members(ct: GeneratedCt) -> dict[str, Float[Tensor, "d h w"]]:
    """Members by what they are called: each is a bent CT of another patient, one of many CTs that explain the film."""
    shown = enumerate(ct.members[:MOST_MEMBERS_SHOWN], start=1)
    return {f"possible CT {number} of {len(ct.members)}": one[0].as_subclass(Tensor).float() for number, one in shown}


def estimate_name(settings: dict[str, Any]) -> str:
    """What the volume is, from the settings of a record."""
    if settings["mode"] == "sample":
        return f"mean of {settings['samples']} samples" if settings["samples"] > 1 else "one sample"
    return "posterior mean" if settings["mode"] == "mean" else "one bent CT"


@dataclass(frozen=True)
class ComparedFilm:
    """A film beside the film of the CT, on the rays that were measured.

    Args:
        film: (rows, cols) line integrals; of an estimated film with the gain and offset that fit best.
        drr: (rows, cols) line integrals of the CT on the same rays.
        pixel_mm: height and width of a pixel in the middle of the field.
        fitted: what was done to the film, for people; empty if nothing.
        letters: the patient's side at the first and at the last column.
    """

    film: Float[Tensor, "rows cols"]
    drr: Float[Tensor, "rows cols"]
    pixel_mm: tuple[float, float]
    fitted: str
    letters: str


def compared_film(ct: GeneratedCt, view: int = 0) -> ComparedFilm:
    """Lay one of the films that the CT was made of beside the film that the CT would give."""
    from xct_components.geometry import ConeBeam
    from xct_components.inferers.stage_films import stage_films
    from xct_components.physics.attenuation import hu_to_mu_per_mm
    from xct_components.physics.gain_and_offset import fit_gain_offset
    from xct_components.physics.projector import project

    pixels, field = ct.film.line_integrals, ct.field
    films = stage_films(pixels, [ct.film.beams], [field], [field], body_share=ct.film.body_share)
    film, beam, fitted = films.measured[:, view : view + 1], films.measured_beams[0][view], ""
    drr = project(hu_to_mu_per_mm(ct.volume[None].as_subclass(Tensor)), field, [beam])
    if not ct.film.exact:
        gain, offset = fit_gain_offset(film, drr)
        film, fitted = gain * film + offset, f"film x {float(gain):.2f} {float(offset):+.2f}"
    magnification = beam.magnification_at(field.center_mm) if isinstance(beam, ConeBeam) else 1.0
    height_mm, width_mm = beam.detector.pitch_mm
    pixel_mm = (height_mm / magnification, width_mm / magnification)
    return ComparedFilm(film[0, 0, 0], drr[0, 0, 0], pixel_mm, fitted, _side_letters(beam.col_direction))


def _side_letters(columns_grow: tuple[float, float, float]) -> str:
    """Patient sides at the first and the last column, from the direction (RAS) in which columns grow."""
    axis = max(range(3), key=[abs(part) for part in columns_grow].__getitem__)
    letters = ("LR", "PA", "FH")[axis]
    return letters if columns_grow[axis] > 0 else letters[::-1]


def write_json(path: Path, ct: GeneratedCt) -> None:
    """The record of a run."""
    from xct_components.data.readable_json import readable_json

    path.write_text(readable_json({"schema": SCHEMA, "schema_version": SCHEMA_VERSION, **ct.record}), encoding="utf-8")


def _draw_films(places: list[Axes], ct: GeneratedCt) -> None:
    pair = compared_film(ct)
    _show(places[0], pair.film, FILM_WINDOW, pair.pixel_mm, pair.fitted or "film", pair.letters)
    _show(places[1], pair.drr, FILM_WINDOW, pair.pixel_mm, "film of the CT (DRR)", pair.letters)
    name = f"difference; film error {', '.join(f'{error:.1%}' for error in ct.shown_film_error)}"
    _show(places[2], pair.film - pair.drr, (-DIFFERENCE, DIFFERENCE), pair.pixel_mm, name, pair.letters)


def _draw_planes(places: list[Axes], volume: Tensor, ct: GeneratedCt, name: str, window: tuple[float, float]) -> None:
    d, h, w = (size // 2 for size in volume.shape)
    d_mm, h_mm, w_mm = ct.field.spacing_mm
    _show(places[0], volume[d], window, (h_mm, w_mm), f"coronal, {name}", "RL")
    _show(places[1], volume[:, h], window, (d_mm, w_mm), f"axial, {name}", "RL")
    _show(places[2], volume[:, :, w].T, window, (h_mm, d_mm), f"sagittal, {name}", "AP")


def _axes(figure: Figure, row: int, side: float) -> list[Axes]:
    """Three square panels side by side."""
    width, height = figure.get_size_inches()
    top = height - _HEADER_INCH - row * (side + _TITLE_INCH) - _TITLE_INCH
    lefts = [_MARGIN_INCH + number * (side + _GAP_INCH) for number in range(3)]
    return [figure.add_axes((left / width, (top - side) / height, side / width, side / height)) for left in lefts]


def _show(
    axes: Axes, pixels: Tensor, window: tuple[float, float], pixel_mm: tuple[float, float], title: str, letters: str
) -> None:
    """One picture in mm with its title, side marks and scale bar."""
    height_mm, width_mm = pixels.shape[0] * pixel_mm[0], pixels.shape[1] * pixel_mm[1]
    low, high = window
    axes.imshow(
        pixels.numpy(), cmap="gray", vmin=low, vmax=high, interpolation="bilinear", extent=(0.0, width_mm, height_mm, 0.0)
    )
    axes.set_axis_off()
    axes.set_title(title, color=_TEXT, fontsize=11, loc="left", pad=5)
    for share, letter, side in ((0.03, letters[0], "left"), (0.97, letters[1], "right")):
        axes.text(share * width_mm, 0.5 * height_mm, letter, color=_ACCENT, fontsize=13, weight="bold", ha=side, va="center")
    right, low_edge = width_mm * 0.97, height_mm * 0.965
    axes.plot([right - SCALE_BAR_MM, right], [low_edge, low_edge], color=_ACCENT, linewidth=2.5, solid_capstyle="butt")
    middle = right - SCALE_BAR_MM / 2
    axes.text(middle, low_edge - height_mm * 0.015, f"{SCALE_BAR_MM:.0f} mm", color=_ACCENT, fontsize=9, ha="center")


def _write_captions(figure: Figure, ct: GeneratedCt) -> None:
    width, height = figure.get_size_inches()
    left, right = _MARGIN_INCH / width, 1 - _MARGIN_INCH / width
    top = 1 - 0.42 / height
    figure.text(left, top, "CT estimated from a chest film", color=_TEXT, fontsize=19, weight="bold", va="center")
    figure.text(right, top, WARNING, color=_ALERT, fontsize=13, weight="bold", ha="right", va="center")
    settings, shape = ct.record["settings"], " x ".join(map(str, ct.volume.shape[-3:]))
    spacing = " x ".join(f"{mm:g}" for mm in ct.field.spacing_mm)
    kind = estimate_name(settings)
    known = "exact line integrals" if ct.film.exact else "calibrated from a displayed film"
    voxels, made = f"{shape} voxels of {spacing} mm", f"{kind}, seed {settings['seed']}"
    caption = "   |   ".join((voxels, made, f"film: {known}", ct.record["software"]))
    told = "" if ct.std is None else f"\n{ct.std_title}, black {STD_WINDOW_HU[0]:.0f} HU, white {STD_WINDOW_HU[1]:.0f} HU"
    figure.text(left, 0.5 * _FOOTER_INCH / height, caption + told, color=_FAINT, fontsize=9.5, va="center", linespacing=1.6)

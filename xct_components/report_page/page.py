"""``report.html``: what the cascade made of a film, what is known of it, and a viewer; one file that asks for nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from xct_components.report import (
    DIFFERENCE,
    FILM_WINDOW,
    MEMBER_WINDOW,
    SCALE_BAR_MM,
    STD_WINDOW_HU,
    WARNING,
    WINDOWS_HU,
    compared_film,
    estimate_name,
    shown_members,
)
from xct_components.report_page.embedded_volume import EmbeddedVolume, embedded_volume
from xct_components.report_page.markup import asset, data_block, escaped, notice, page, script_text
from xct_components.report_page.pictures import DIVERGING, GREY, HEAT, Picture, data_uri
from xct_components.report_page.record_tables import calibration, film_table, settings_table, stage_table, warnings_of
from xct_components.report_page.viewer_file import HOW_TO_GET, LICENCE, NAME, VERSION, viewer_script

if TYPE_CHECKING:
    from xct_components.inferers.generated_ct import GeneratedCt

#: Name -> HU shown as black and white.
PRESETS_HU = {**WINDOWS_HU, "soft tissue": (-75.0, 175.0), "bone": (-500.0, 1300.0)}
#: Below this a deviation is not laid over the planes.
LEAST_STD_HU = 50.0
#: The deviation is smooth: blocks of 2 voxels, steps of 8 HU.
STD_BLOCK, STD_STEP_HU = 2, 8
#: Members are sharper and take more room; they begin with coarser steps.
MEMBER_STEP_HU = 8
_MEANING = (
    "The film fixes the sum along each ray. Where along it things lie comes from CTs of other patients and networks that have "
    "learned from such: findings may be missing, misplaced or invented."
)
_MEMBERS_MEANING = (
    "The CT is a mean, blurred where the film leaves depth open. A possible CT is one of those other patients' CTs, bent until "
    "it explains the film: as sharp as a CT, and on average further from the truth."
)


def write_page(path: Path, ct: GeneratedCt) -> None:
    """Write the page; without the viewer's file its pictures stand still.

    Args:
        path: where to write, whatever the ending.
        ct: the result.
    """
    viewer = viewer_script()
    film = ct.record["film"].get("file", {}).get("name", "a film")
    body = "\n".join([_header(ct, film), _films(ct), _volume(ct, viewer is not None), _facts(ct, viewer is not None)])
    scripts, comment = [], ""
    if viewer is not None:
        body += _data(ct)
        scripts, comment = [script_text(viewer), script_text(asset("viewer.js"))], asset("licences.txt")
    text = page(f"Synthetic CT of {film}", body, style=asset("page.css"), scripts=scripts, comment=comment)
    path.write_text(text, encoding="utf-8")


def _header(ct: GeneratedCt, film: str) -> str:
    settings, record = ct.record["settings"], ct.record
    spacing = " x ".join(f"{mm:g}" for mm in sorted(set(ct.field.spacing_mm)))
    shown, raw = (", ".join(f"{error:.1%}" for error in errors) for errors in (ct.shown_film_error, ct.film_error))
    scale = "on the film's own scale" if ct.film.exact else f"after gain and offset; {raw} before"
    kind = estimate_name(settings)
    sure = [] if ct.typical_std_hu is None else [("uncertainty", f"± {ct.typical_std_hu:.0f} HU", "median over the body")]
    cards = (
        ("film error", shown, scale),
        *sure,
        ("voxels", " x ".join(map(str, ct.volume.shape[-3:])), f"{spacing} mm"),
        ("film", "exact" if ct.film.exact else "calibrated", "simulated" if ct.film.exact else "scale estimated"),
        ("estimate", kind, _drawn(ct)),
        ("computed in", f"{sum(stage['seconds'] for stage in record['stages']):.0f} s", f"{len(record['stages'])} stages"),
    )
    tiles = "".join(f"<div><dt>{escaped(a)}</dt><dd>{escaped(b)}<small>{escaped(c)}</small></dd></div>" for a, b, c in cards)
    head = f"<h1>CT estimated from a chest film</h1><p>{escaped(film)}</p><dl>{tiles}</dl>{_warnings(record)}"
    return f"{notice(WARNING, 'estimated from a chest film; research only')}<header>{head}</header>"


def _drawn(ct: GeneratedCt) -> str:
    """What was drawn beside the estimate, or which of several it is."""
    settings = ct.record["settings"]
    if settings["mode"] == "member":
        return f"number {settings['seed']}"
    if settings["mode"] == "sample" or settings["samples"] > 1:
        return f"{settings['samples']} sample{'s' if settings['samples'] > 1 else ''}, seed {settings['seed']}"
    return f"and {len(ct.members)} possible CT{'s' if len(ct.members) > 1 else ''}" if ct.members else "no samples drawn"


def _warnings(record: dict[str, Any]) -> str:
    lines = "".join(f"<li>{escaped(warning)}</li>" for warning in warnings_of(record))
    return f'<div class="warnings"><h2>Warnings</h2><ul>{lines}</ul></div>' if lines else ""


def _films(ct: GeneratedCt) -> str:
    figures = "".join(_film_figures(ct, view) for view in range(len(ct.film.beams)))
    return (
        '<section aria-labelledby="films"><h2 id="films">What the film shows, and what the CT would show</h2>'
        f'<div class="three">{figures}</div></section>'
    )


def _film_figures(ct: GeneratedCt, view: int) -> str:
    pair = compared_film(ct, view)
    sides, error = f"{pair.letters}HF", f"{ct.shown_film_error[view]:.1%}"
    low, high = FILM_WINDOW
    pictures = (
        (
            pair.film,
            FILM_WINDOW,
            GREY,
            "Film",
            f"line integrals {low:g} to {high:g}" + (f", {pair.fitted}" if pair.fitted else ""),
        ),
        (pair.drr, FILM_WINDOW, GREY, "Film of the CT (DRR)", f"line integrals {low:g} to {high:g}"),
        (
            pair.film - pair.drr,
            (-DIFFERENCE, DIFFERENCE),
            DIVERGING,
            f"Film error {error}",
            f"film minus DRR, blue {-DIFFERENCE:g} to orange {DIFFERENCE:+g}",
        ),
    )
    return "".join(
        _figure(Picture(values, window, pair.pixel_mm, sides, colours), title, note)
        for values, window, colours, title, note in pictures
    )


def _figure(picture: Picture, title: str, note: str) -> str:
    alt = f"{title}. {WARNING}."
    return (
        f'<figure><img src="{data_uri(picture)}" alt="{escaped(alt)}">'
        f"<figcaption><b>{escaped(title)}</b><span>{escaped(note)}</span></figcaption></figure>"
    )


def _volume(ct: GeneratedCt, has_viewer: bool) -> str:
    still = "".join(_plane_figures(ct.volume[0].as_subclass(Tensor), ct, name, WINDOWS_HU[name]) for name in WINDOWS_HU)
    for name, member in shown_members(ct).items():
        still += _plane_figures(member, ct, f"{name}, {MEMBER_WINDOW}", WINDOWS_HU[MEMBER_WINDOW])
    if ct.std is not None:
        still += _plane_figures(ct.std[0].as_subclass(Tensor), ct, ct.std_title, STD_WINDOW_HU, HEAT)
    missing = "" if has_viewer else f'<p class="missing">No viewer in this page: {escaped(HOW_TO_GET)}, then run again.</p>'
    moving = _viewer(ct) if has_viewer else ""
    meaning = f"{_MEANING} {_MEMBERS_MEANING}" if ct.members else _MEANING
    return (
        f'<section aria-labelledby="ct"><h2 id="ct">The CT</h2><p class="meaning">{escaped(meaning)}</p>{missing}{moving}'
        f'<div id="still" class="three">{still}</div></section>'
    )


def _plane_figures(
    volume: Tensor, ct: GeneratedCt, name: str, window: tuple[float, float], colours: Sequence[str] = GREY
) -> str:
    """The three middle planes; the patient's right is on the viewer's left, the front to the left of the sagittal one."""
    d, h, w = (size // 2 for size in volume.shape)
    d_mm, h_mm, w_mm = ct.field.spacing_mm
    planes = (
        ("Axial", volume[:, h], (d_mm, w_mm), "RLAP"),
        ("Coronal", volume[d], (h_mm, w_mm), "RLHF"),
        ("Sagittal", volume[:, :, w].T, (h_mm, d_mm), "APHF"),
    )
    note = f"{name}, {window[0]:g} to {window[1]:g} HU"
    return "".join(
        _figure(Picture(plane, window, pixel_mm, sides, tuple(colours)), title, note)
        for title, plane, pixel_mm, sides in planes
    )


def _viewer(ct: GeneratedCt) -> str:
    """The controls and canvases; the script shows them once they work."""
    windows = "".join(
        f'<button type="button" data-window="{name}" aria-pressed="false" title="{low:g} to {high:g} HU">'
        f"{name.capitalize()}</button>"
        for name, (low, high) in PRESETS_HU.items()
    )
    shows = "".join(
        f'<button type="button" data-show="{name}" aria-pressed="false">{name.capitalize()}</button>'
        for name in ("all", "axial", "coronal", "sagittal")
    )
    std = (
        '<fieldset><legend>Uncertainty</legend><button type="button" id="std-toggle" aria-pressed="false">Show</button>'
        '<label>opacity <input type="range" id="std-opacity" min="0" max="100" value="60"></label></fieldset>'
    )
    members = [(_member_id(number), f"Possible {number}", name) for number, name in enumerate(shown_members(ct), start=1)]
    volumes = "".join(
        f'<button type="button" data-volume="{name}" aria-pressed="false" title="{escaped(title)}">{escaped(label)}</button>'
        for name, label, title in (("ct", "CT", estimate_name(ct.record["settings"])), *members)
    )
    volumes = f"<fieldset><legend>Volume</legend>{volumes}</fieldset>" if ct.members else ""
    std = std if ct.std is not None else ""
    return asset("viewer.html").format(volumes=volumes, windows=windows, shows=shows, std=std, warning=WARNING)


def _member_id(number: int) -> str:
    """Name of a member in the page's data."""
    return f"member_{number}"


def _facts(ct: GeneratedCt, has_viewer: bool) -> str:
    record, second = ct.record, ct.record["film"].get("second_film")
    films = f"<h3>Film</h3>{film_table(record['film'])}" + (f"<h3>Second film</h3>{film_table(second)}" if second else "")
    embedded = f" The viewer is {NAME} {VERSION} ({LICENCE}); licences at the top of this file's source." if has_viewer else ""
    return (
        '<section class="two"><div><h2>Calibration</h2>'
        f"<h3>Display grey to line integral</h3>{calibration(record['film'], exact=ct.film.exact)}</div>"
        f"<div><h2>Source</h2>{films}</div></section>"
        f"<section><h2>Provenance</h2>{stage_table(record)}<h3>Settings</h3>{settings_table(record)}"
        "<p>Film error: ||DRR(CT) - film|| / ||film||, as it is and with the gain and offset that fit best. "
        "Every decision is in report.json.</p></section>"
        f"<footer>{escaped(record['notice'])} Not a medical device. This page loads nothing from anywhere.{embedded}</footer>"
    )


def _data(ct: GeneratedCt) -> str:
    """What the viewer's script reads."""
    volumes = {"ct": embedded_volume(ct.volume[0].as_subclass(Tensor), ct.field)}
    for number, member in enumerate(shown_members(ct).values(), start=1):
        volumes[_member_id(number)] = embedded_volume(member, ct.field, finest_step_hu=MEMBER_STEP_HU)
    if ct.std is not None:
        std = ct.std[0].as_subclass(Tensor)
        volumes["std"] = embedded_volume(std, ct.field, least_block=STD_BLOCK, finest_step_hu=STD_STEP_HU)
    facts = {
        "volumes": {name: _volume_facts(volume) for name, volume in volumes.items()},
        "presets": PRESETS_HU,
        "std_window": (LEAST_STD_HU, STD_WINDOW_HU[1]),
        "warning": WARNING,
        "scale_bar_mm": SCALE_BAR_MM,
        "shown": {name: _shown(volume, name) for name, volume in volumes.items()},
    }
    blocks = [data_block("facts", "application/json", json.dumps(facts))]
    blocks += [data_block(f"voxels-{name}", "text/plain", volume.voxels) for name, volume in volumes.items()]
    return "\n".join(blocks)


def _volume_facts(volume: EmbeddedVolume) -> dict[str, Any]:
    return {"header": volume.header, "shape": volume.shape, "spacing_mm": volume.spacing_mm}


def _shown(volume: EmbeddedVolume, name: str) -> str:
    """How coarse the page's copy of a volume is."""
    voxels, mm = " x ".join(map(str, volume.shape)), " x ".join(f"{mm:g}" for mm in sorted(set(volume.spacing_mm)))
    of = "every voxel" if volume.block == 1 else f"means of {volume.block} x {volume.block} x {volume.block} of its voxels"
    return f"Shown: {voxels} voxels of {mm} mm ({of}), HU in steps of {volume.step_hu}; {name}.nii.gz holds all."

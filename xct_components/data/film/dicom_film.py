"""A CR or DX film, or a secondary capture of one, from one DICOM file: grey values as displayed, and what its tags say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from xct_components.data.film.dicom_admission import concerns_and_warnings, require_single_film
from xct_components.data.film.dicom_decoding import pixel_layout, stored_pixels, syntax_name
from xct_components.data.film.dicom_geometry import film_scale
from xct_components.data.film.dicom_presentation import presented
from xct_components.data.film.dicom_presentation_state import states_of
from xct_components.data.film.dicom_reading import damage_named, film_dataset
from xct_components.data.film.dicom_shutter import opening
from xct_components.data.film.dicom_view import facing, tagged_view, upright
from xct_components.data.film.source import FilmSource


def film_from_dicom(path: Path) -> FilmSource:
    """The film in a DICOM file.

    Raises:
        UnreadableInput: for a damaged file, or a compression without a decoder.
        RefusedInput: for another modality, several frames, colours, or a size that no film has.
    """
    dataset = film_dataset(path)
    with damage_named(path):
        require_single_film(dataset, path.name)
        return _film(dataset, path)


def _film(dataset: Any, path: Path) -> FilmSource:
    layout = pixel_layout(dataset, path.name)
    shown = presented(dataset, stored_pixels(dataset, layout, path.name), layout)
    grey, facts = shown.grey, {**shown.facts, "transfer_syntax": syntax_name(dataset)}
    opened = opening(dataset, (layout.rows, layout.cols))
    if opened is not None:
        grey = opened.of(grey)
        facts["shutter_crop"] = {"rows": list(opened.rows), "cols": list(opened.cols)}
    grey, turns, side_known = upright(dataset, grey)
    if turns:
        facts["turned_by_tags"] = turns
    scale, (view, position, contradictions) = film_scale(dataset), tagged_view(dataset)
    concerns, warnings = concerns_and_warnings(dataset)
    pixel_mm = scale.pixel_mm[::-1] if scale.pixel_mm and "rows to columns" in turns else scale.pixel_mm
    return FilmSource(
        np.ascontiguousarray(grey),
        "dicom",
        polarity=shown.polarity,
        pixel_mm=pixel_mm,
        pixel_mm_source=scale.source,
        magnification=scale.magnification,
        view=view,
        view_position=position,
        side_known=side_known,
        facing=facing(dataset),
        facts=facts,
        concerns=tuple(concerns),
        warnings=(*warnings, *shown.warnings, *scale.warnings, *contradictions, *states_of(path, dataset)),
    )

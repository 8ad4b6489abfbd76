"""A patient's films as the tensor that MONAI carries: pixels, and in the metadata how they were taken."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from torch import Tensor

from xct_components.geometry import Beam, VolumeGrid, chest_beam_covering
from xct_components.geometry.fields import required
from xct_components.geometry.vectors import as_vector3
from xct_components.inferers.cascade_film import CascadeFilm

if TYPE_CHECKING:
    from monai.data import MetaTensor

#: Key of the metadata. The value is one string, as MONAI's batches tear lists and numbers apart.
FILM = "xct_film"


def film_tensor(film: CascadeFilm, file_name: str) -> MetaTensor:
    """(V, rows, cols) line integrals that ``films_of`` turns back into the film.

    Args:
        film: of one patient.
        file_name: kept where MONAI keeps it, for those who name results after their inputs.
    """
    from monai.data import MetaTensor

    described = {
        "beams": [beam.to_json() for beam in film.beams],
        "center_mm": list(film.center_mm),
        "exact": film.exact,
        "record": film.record,
    }
    return MetaTensor(film.line_integrals[0, :, 0], meta={"filename_or_obj": file_name, FILM: json.dumps(described)})


def films_of(pixels: Tensor, field: VolumeGrid) -> list[CascadeFilm]:
    """The patients of a batch.

    Args:
        pixels: (B, V, rows, cols), or (V, rows, cols) of a single patient, from ``film_tensor``. Without metadata it is one
            frontal film in the cascade's own geometry, an estimate.
        field: where a film without metadata lies.

    Raises:
        ValueError: if there are several views and no metadata that says how they lie.
    """
    batch = pixels if pixels.ndim == 4 else pixels[None]
    texts = getattr(pixels, "meta", {}).get(FILM)
    films = batch.as_subclass(Tensor).float()[:, :, None].split(1)
    if texts is None:
        return [_canonical(film, field) for film in films]
    texts = [texts] if isinstance(texts, str) else texts
    return [_described(film, text) for film, text in zip(films, texts, strict=True)]


def _described(film: Tensor, text: str) -> CascadeFilm:
    beams, center_mm, exact, record = required(json.loads(text), "beams", "center_mm", "exact", "record")
    taken = tuple(Beam.from_json(beam) for beam in beams)
    return CascadeFilm(film, taken, as_vector3(center_mm, "center_mm"), exact, record)


def _canonical(film: Tensor, field: VolumeGrid) -> CascadeFilm:
    if film.shape[1] != 1:
        raise ValueError(f"pixels must be one frontal film where nothing says how they lie, got {film.shape[1]} views")
    beam = chest_beam_covering(field, "PA", *film.shape[-2:])
    return CascadeFilm(film, (beam,), field.center_mm)

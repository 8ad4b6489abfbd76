"""What films of many chests have in common: the shipped reference that views, places and grey values are judged by.

``scripts/make_film_reference.py`` measures it on cone-beam films simulated from real CTs. Nothing of a single patient is kept.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from xct_components.data.film.agreement import MeanFilm, ranked
from xct_components.data.film.grey_reference import QUANTILES, GreyReference, grey_reference_of, usual

#: Films are compared on pixels of this size in the patient.
PIXEL_MM = 8.0
#: Places that fewer films show say nothing about the mean.
LEAST_SHARE = 0.5
#: The mediastinum is sought this far to both sides of the middle, the abdomen this far below the lungs' middle.
MEDIASTINUM_HALF_WIDTH_MM, ABDOMEN_BELOW_MM = 24.0, 108.0
#: Paths through lung that make a pixel lung, or leave it free of lung, in mm.
LUNG_PATH_MM, NO_LUNG_PATH_MM = 60.0, 20.0
#: The same for lateral rays, which cross both lungs. Where the mean patient has less than this, but that much, they cross
#: heart, hila or chest wall.
LATERAL_LUNG_PATH_MM, LATERAL_MEDIASTINUM_PATH_MM = 120.0, 40.0
#: The abdomen of a lateral film is sought this far below the lungs' middle, and this far to the front and back of it.
LATERAL_ABDOMEN_BELOW_MM, LATERAL_ABDOMEN_HALF_DEPTH_MM = 88.0, 64.0
#: Around a lateral chest every CT shows air: there the mean line integral is less than this.
CHEST_INTEGRAL = 0.7


@dataclass(frozen=True)
class ChestFilms:
    """Films of one CT in the reference frame: the middle of the lungs in the middle, pixels of PIXEL_MM in the patient.

    Args:
        name: of the CT.
        frontal: (n, n) line integrals of the PA film.
        lateral: (n, n) line integrals of the left lateral film.
        frontal_covered: (n, n) share of each pixel whose rays cross the whole body within the CT.
        lateral_covered: likewise.
        lung_path_mm: (n, n) path of the PA rays in lung.
        lateral_lung_path_mm: (n, n) path of the lateral rays in lung, both lungs together.
    """

    name: str
    frontal: Float[Tensor, "n n"]
    lateral: Float[Tensor, "n n"]
    frontal_covered: Float[Tensor, "n n"]
    lateral_covered: Float[Tensor, "n n"]
    lung_path_mm: Float[Tensor, "n n"]
    lateral_lung_path_mm: Float[Tensor, "n n"]


@dataclass(frozen=True)
class FilmReference:
    """Mean films, regions and their grey values.

    Args:
        frontal_greys: of PA films.
        lateral_greys: of left lateral films.
        line_integrals: (n, n) mean line integrals of the PA film.
        provenance: where the numbers come from.
    """

    frontal_greys: GreyReference
    lateral_greys: GreyReference
    line_integrals: Float[Tensor, "n n"]
    provenance: dict[str, Any]

    @property
    def frontal(self) -> MeanFilm:
        """Mean PA film."""
        return self.frontal_greys.mean

    @property
    def lateral(self) -> MeanFilm:
        """Mean left lateral film: the patient faces the picture's left."""
        return self.lateral_greys.mean

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dictionary of thousandths; ``from_json`` restores it to 0.0005."""
        images = {
            "frontal_values": self.frontal.values,
            "frontal_weights": self.frontal.weights,
            "lateral_values": self.lateral.values,
            "lateral_weights": self.lateral.weights,
            "line_integrals": self.line_integrals,
            **{f"region_{name}": region for name, region in self.frontal_greys.regions.items()},
            "lateral_chest": self.lateral_greys.chest,
            **{f"lateral_region_{name}": region for name, region in self.lateral_greys.regions.items()},
        }
        return {
            "provenance": self.provenance,
            "pixel_mm": self.frontal.pixel_mm,
            "quantiles_at": list(QUANTILES),
            "quantiles": _rounded(self.frontal_greys.quantiles),
            "lateral_quantiles": _rounded(self.lateral_greys.quantiles),
            "images_in_thousandths": {name: (image * 1000).round().int().tolist() for name, image in images.items()},
        }

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> FilmReference:
        """The reference that ``to_json`` described."""
        images = {name: torch.tensor(rows) / 1000.0 for name, rows in document["images_in_thousandths"].items()}
        greys = []
        for view, prefix in (("frontal", ""), ("lateral", "lateral_")):
            mean = MeanFilm(images[f"{view}_values"], images[f"{view}_weights"], float(document["pixel_mm"]))
            quantiles = {name: list(map(float, values)) for name, values in document[f"{prefix}quantiles"].items()}
            chest = images["lateral_chest"] if prefix else _shown(mean)
            regions = {name: images[f"{prefix}region_{name}"] for name in quantiles}
            greys.append(GreyReference(mean, chest, regions, quantiles))
        return cls(greys[0], greys[1], images["line_integrals"], document["provenance"])


def _rounded(quantiles: dict[str, list[float]]) -> dict[str, list[float]]:
    return {name: [round(value, 4) for value in values] for name, values in quantiles.items()}


@cache
def film_reference() -> FilmReference:
    """The shipped reference; read once, not to be changed."""
    text = resources.files(__package__).joinpath("film_reference.json").read_text(encoding="utf-8")
    return FilmReference.from_json(json.loads(text))


def reference_of(films: Sequence[ChestFilms], provenance: dict[str, Any]) -> FilmReference:
    """The reference of some CTs.

    Raises:
        ValueError: for no CT at all.
    """
    if not films:
        raise ValueError("films must hold at least one CT's films, got none")
    frontals, laterals = [film.frontal for film in films], [film.lateral for film in films]
    frontal_covered, lateral_covered = [film.frontal_covered for film in films], [film.lateral_covered for film in films]
    frontal, lateral = _mean_film(frontals, frontal_covered), _mean_film(laterals, lateral_covered)
    frontal_greys = grey_reference_of(
        frontals, frontal_covered, frontal, _shown(frontal), _where_shown(_frontal_regions(films), frontal)
    )
    chest = (_mean_integrals(laterals, lateral_covered) > CHEST_INTEGRAL).float()
    lateral_greys = grey_reference_of(laterals, lateral_covered, lateral, chest, _where_shown(_lateral_regions(films), lateral))
    return FilmReference(frontal_greys, lateral_greys, _mean_integrals(frontals, frontal_covered), provenance)


def _mean_integrals(films: list[Tensor], covered: list[Tensor]) -> Tensor:
    weights = torch.stack(covered)
    return (torch.stack(films) * weights).sum(0) / weights.sum(0).clamp_min(1e-6)


def _shown(mean: MeanFilm) -> Tensor:
    return (mean.weights > 0.0).float()


def _where_shown(regions: dict[str, Tensor], mean: MeanFilm) -> dict[str, Tensor]:
    shown = mean.weights > 0.0
    return {name: (region & shown).float() for name, region in regions.items()}


def _mean_film(films: list[Tensor], covered: list[Tensor]) -> MeanFilm:
    total, weights = torch.zeros_like(films[0]), torch.zeros_like(films[0])
    for film, part in zip(films, covered, strict=True):
        ranks, shown = torch.zeros_like(film), part > 0.5
        ranks[shown] = ranked(film[shown][None])[0]
        total, weights = total + ranks * shown, weights + shown
    share = weights / len(films)
    return MeanFilm(total / weights.clamp_min(1.0), torch.where(share < LEAST_SHARE, 0.0, share), PIXEL_MM)


def _frontal_regions(films: Sequence[ChestFilms]) -> dict[str, Tensor]:
    paths = torch.stack([film.lung_path_mm for film in films])
    offset_mm = _offsets_mm(paths.shape[-1])
    lung, free = usual(paths > LUNG_PATH_MM), usual(paths < NO_LUNG_PATH_MM)
    lung_rows = lung.any(1)[:, None]
    central = (offset_mm.abs() <= MEDIASTINUM_HALF_WIDTH_MM)[None, :]
    return {
        "lung": lung,
        "mediastinum": lung_rows & central & ~lung,
        "abdomen": free & (offset_mm >= ABDOMEN_BELOW_MM)[:, None] & (offset_mm.abs() <= ABDOMEN_BELOW_MM)[None, :],
    }


def _lateral_regions(films: Sequence[ChestFilms]) -> dict[str, Tensor]:
    paths = torch.stack([film.lateral_lung_path_mm for film in films])
    offset_mm = _offsets_mm(paths.shape[-1])
    lung, mean_mm = usual(paths > LATERAL_LUNG_PATH_MM), paths.mean(0)
    free = usual(paths < NO_LUNG_PATH_MM)
    below = (offset_mm >= LATERAL_ABDOMEN_BELOW_MM)[:, None]
    return {
        "lung": lung,
        "mediastinum": (mean_mm > LATERAL_MEDIASTINUM_PATH_MM) & (mean_mm < LATERAL_LUNG_PATH_MM) & ~lung,
        "abdomen": free & below & (offset_mm.abs() <= LATERAL_ABDOMEN_HALF_DEPTH_MM)[None, :],
    }


def _offsets_mm(count: int) -> Tensor:
    """Of pixels from the middle."""
    return (torch.arange(count) - (count - 1) / 2) * PIXEL_MM

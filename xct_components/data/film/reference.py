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
from xct_components.data.film.match import Pose, laid_over, refined

#: Films are compared on pixels of this size in the patient.
PIXEL_MM = 8.0
#: Places that fewer films show say nothing about the mean.
LEAST_SHARE = 0.5
#: A region is where at least this share of the patients has it.
REGION_SHARE = 0.75
#: Quantiles by which grey values are compared.
QUANTILES = (0.05, 0.15, 0.3, 0.5, 0.7, 0.85, 0.95)
#: The mediastinum is sought this far to both sides of the middle, the abdomen this far below the lungs' middle.
MEDIASTINUM_HALF_WIDTH_MM, ABDOMEN_BELOW_MM = 24.0, 108.0
#: Paths through lung that make a pixel lung, or leave it free of lung, in mm.
LUNG_PATH_MM, NO_LUNG_PATH_MM = 60.0, 20.0

REGIONS = ("lung", "mediastinum", "abdomen")


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
    """

    name: str
    frontal: Float[Tensor, "n n"]
    lateral: Float[Tensor, "n n"]
    frontal_covered: Float[Tensor, "n n"]
    lateral_covered: Float[Tensor, "n n"]
    lung_path_mm: Float[Tensor, "n n"]


@dataclass(frozen=True)
class FilmReference:
    """Mean films, regions and their grey values.

    Args:
        frontal: mean PA film.
        lateral: mean left lateral film.
        line_integrals: (n, n) mean line integrals of the PA film.
        regions: name -> (n, n), 1 where the region lies, else 0.
        quantiles: name -> mean over patients of the region's line integrals at QUANTILES.
        provenance: where the numbers come from.
    """

    frontal: MeanFilm
    lateral: MeanFilm
    line_integrals: Float[Tensor, "n n"]
    regions: dict[str, Tensor]
    quantiles: dict[str, list[float]]
    provenance: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dictionary of thousandths; ``from_json`` restores it to 0.0005."""
        images = {
            "frontal_values": self.frontal.values,
            "frontal_weights": self.frontal.weights,
            "lateral_values": self.lateral.values,
            "lateral_weights": self.lateral.weights,
            "line_integrals": self.line_integrals,
            **{f"region_{name}": region for name, region in self.regions.items()},
        }
        return {
            "provenance": self.provenance,
            "pixel_mm": self.frontal.pixel_mm,
            "quantiles_at": list(QUANTILES),
            "quantiles": {name: [round(value, 4) for value in values] for name, values in self.quantiles.items()},
            "images_in_thousandths": {name: (image * 1000).round().int().tolist() for name, image in images.items()},
        }

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> FilmReference:
        """The reference that ``to_json`` described."""
        images = {name: torch.tensor(rows) / 1000.0 for name, rows in document["images_in_thousandths"].items()}
        pixel_mm = float(document["pixel_mm"])
        return cls(
            frontal=MeanFilm(images["frontal_values"], images["frontal_weights"], pixel_mm),
            lateral=MeanFilm(images["lateral_values"], images["lateral_weights"], pixel_mm),
            line_integrals=images["line_integrals"],
            regions={name: images[f"region_{name}"] for name in document["quantiles"]},
            quantiles={name: list(map(float, values)) for name, values in document["quantiles"].items()},
            provenance=document["provenance"],
        )


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
    frontal = _mean_film([film.frontal for film in films], [film.frontal_covered for film in films])
    lateral = _mean_film([film.lateral for film in films], [film.lateral_covered for film in films])
    regions = _regions(films, frontal.weights)
    quantiles = [_own_quantiles(film, frontal, regions) for film in films]
    means = {name: torch.stack([own[name] for own in quantiles]).nanmean(0).tolist() for name in REGIONS}
    covered = torch.stack([film.frontal_covered for film in films])
    total = (torch.stack([film.frontal for film in films]) * covered).sum(0)
    return FilmReference(frontal, lateral, total / covered.sum(0).clamp_min(1e-6), regions, means, provenance)


def region_quantiles(
    values: Float[Tensor, "n n"], covered: Float[Tensor, "n n"], regions: dict[str, Tensor]
) -> dict[str, Float[Tensor, " q"]]:
    """Each region's values at QUANTILES; NaN where less than half of it is covered."""
    found = {}
    for name, region in regions.items():
        inside = (region > 0.5) & (covered > 0.5)
        enough = bool(inside.sum() >= 0.5 * region.sum())
        levels = torch.tensor(QUANTILES)
        found[name] = values[inside].quantile(levels) if enough else torch.full_like(levels, float("nan"))
    return found


def _own_quantiles(film: ChestFilms, frontal: MeanFilm, regions: dict[str, Tensor]) -> dict[str, Tensor]:
    """The film's quantiles once it is laid over the mean film as films from outside are."""
    n = film.frontal.shape[0]
    pose = refined(film.frontal, frontal, Pose(0, False, ((n - 1) / 2, (n - 1) / 2), (PIXEL_MM, PIXEL_MM), agreement=1.0))
    values, _ = laid_over(film.frontal, frontal, pose.middle, pose.mm_per_pixel)
    covered, _ = laid_over(film.frontal_covered, frontal, pose.middle, pose.mm_per_pixel)
    return region_quantiles(values, covered, regions)


def _mean_film(films: list[Tensor], covered: list[Tensor]) -> MeanFilm:
    total, weights = torch.zeros_like(films[0]), torch.zeros_like(films[0])
    for film, part in zip(films, covered, strict=True):
        ranks, shown = torch.zeros_like(film), part > 0.5
        ranks[shown] = ranked(film[shown][None])[0]
        total, weights = total + ranks * shown, weights + shown
    share = weights / len(films)
    return MeanFilm(total / weights.clamp_min(1.0), torch.where(share < LEAST_SHARE, 0.0, share), PIXEL_MM)


def _regions(films: Sequence[ChestFilms], weights: Tensor) -> dict[str, Tensor]:
    paths = torch.stack([film.lung_path_mm for film in films])
    n = weights.shape[0]
    offset_mm = (torch.arange(n) - (n - 1) / 2) * PIXEL_MM
    lung = (paths > LUNG_PATH_MM).float().mean(0) >= REGION_SHARE
    free = (paths < NO_LUNG_PATH_MM).float().mean(0) >= REGION_SHARE
    lung_rows = lung.any(1)[:, None]
    central = (offset_mm.abs() <= MEDIASTINUM_HALF_WIDTH_MM)[None, :]
    masks = {
        "lung": lung,
        "mediastinum": lung_rows & central & ~lung,
        "abdomen": free & (offset_mm >= ABDOMEN_BELOW_MM)[:, None] & (offset_mm.abs() <= ABDOMEN_BELOW_MM)[None, :],
    }
    shown = weights > 0.0
    return {name: (mask & shown).float() for name, mask in masks.items()}

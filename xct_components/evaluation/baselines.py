"""What needs no network: the mean volume, the atlas made to explain the film, the CT of the most similar film."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from xct_components.data.cases.cases import prepared_items
from xct_components.evaluation.held_out_case import HeldOutCase, loaded
from xct_components.geometry import ChestView, VolumeGrid, chest_beam_covering
from xct_components.inferers.stage_films import stage_films
from xct_components.networks.cascade_stage import CascadeStage
from xct_components.networks.explained_volume import explained_hu
from xct_components.physics.attenuation import hu_to_mu_per_mm, mu_per_mm_to_hu
from xct_components.physics.projector import project

TRAIN = "train"
MEAN, MEASURED, ATLAS = "mean volume", "atlas without film", "atlas + consistency"
NEIGHBOUR, PREVIOUS = "nearest film's CT", "previous stage + consistency"
#: What the first stage starts from, if it holds CTs: other patients, bent to the film, and no network.
BENT = "CTs bent to the film + consistency"


def films_of(ct_hu: Tensor, grid: VolumeGrid, views: Sequence[ChestView] = ("PA",)) -> Tensor:
    """(1, V, 1, rows, cols) exact films in the cascade's own room, a pixel a voxel: what neighbours are told by."""
    return project(hu_to_mu_per_mm(ct_hu), grid, [chest_beam_covering(grid, view, *grid.shape[1:]) for view in views])


@dataclass(frozen=True, eq=False)
class TrainSide:
    """What the training side of a prepared folder knows.

    Args:
        prepared: the folder.
        cases: their names; none if the folder has no training side.
        mean_hu: size -> (1, 1, D, H, W), the mean of their volumes; empty for no cases.
        films: case -> what ``films_of`` takes of it at the coarsest size.
        views: of those films, those that the cascade is given.
    """

    prepared: Path
    cases: tuple[str, ...]
    mean_hu: dict[int, Tensor]
    films: dict[str, Tensor]
    views: tuple[ChestView, ...] = ("PA",)

    def neighbour(self, films: Tensor) -> str:
        """The training case whose films differ least: ||films - others||."""
        return min(self.films, key=lambda name: float((self.films[name] - films).norm()))


def read_train_side(
    prepared: Path, sizes: Sequence[int], on_case: Callable[[str], None] = lambda _: None, *, lateral: bool = False
) -> TrainSide:
    """Read all training CTs once: mean volumes and films.

    Args:
        prepared: output of ``xct prepare``.
        sizes: voxels a side; films are taken of the first.
        on_case: called with the name of every case before it is read.
        lateral: whether the cascade is given lateral films too: then neighbours are told by both.
    """
    views: tuple[ChestView, ...] = ("PA", "LL") if lateral else ("PA",)
    names = [item["case"] for item in prepared_items(prepared, TRAIN, sizes[0])]
    mean_hu: dict[int, Tensor] = {}
    films: dict[str, Tensor] = {}
    for name in names:
        on_case(name)
        for size in sizes:
            ct_hu, grid = loaded(prepared, TRAIN, name, size)
            mean_hu[size] = mean_hu.get(size, torch.zeros_like(ct_hu)) + ct_hu / len(names)
            if size == sizes[0]:
                films[name] = films_of(ct_hu, grid, views)
    return TrainSide(prepared, tuple(names), mean_hu, films, views)


def baseline_volumes(case: HeldOutCase, stages: Sequence[CascadeStage], train: TrainSide) -> dict[int, dict[str, Tensor]]:
    """Size -> method -> (1, 1, D, H, W) HU.

    The atlas of stage 1 is a mean volume too, of the CTs and phantoms that the weights saw. Without a training side it is the
    mean volume, and there is no neighbour.
    """
    volumes: dict[int, dict[str, Tensor]] = {}
    coarsest, nearest = stages[0].field.shape[0], None
    if train.cases:
        nearest = train.neighbour(films_of(case.truth_hu[coarsest], case.fields[coarsest], train.views))
    for stage in stages:
        size, field = stage.field.shape[0], case.fields[stage.field.shape[0]]
        atlas_hu = mu_per_mm_to_hu(stages[0].atlas.mu_per_mm(field.shape).cpu())
        volumes[size] = {MEAN: train.mean_hu.get(size, atlas_hu)}
        if nearest is not None:
            volumes[size][MEASURED] = atlas_hu
        volumes[size][ATLAS] = explained_by_film(atlas_hu, case, field)
        if nearest is not None:
            volumes[size][NEIGHBOUR] = loaded(train.prepared, TRAIN, nearest, size)[0]
    return volumes


def explained_by_film(volume_hu: Tensor, case: HeldOutCase, field: VolumeGrid) -> Tensor:
    """The volume made consistent with the film, as the cascade does it."""
    films = stage_films(case.film.line_integrals, [case.film.beams], [field], [field])
    return explained_hu(volume_hu, films.measured, [field], films.measured_beams, [case.film.believed])

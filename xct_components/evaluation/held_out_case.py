"""A CT that the cascade has not seen, with the film that the cascade is given of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from xct_components.data.cases.cases import load_case, prepared_items, present_items
from xct_components.evaluation.held_patients import require_no_other_name
from xct_components.failures import RefusedInput, UsageFailure
from xct_components.geometry import ChestView, VolumeGrid, chest_beam_covering
from xct_components.inferers.cascade_film import CascadeFilm
from xct_components.networks.cascade_stage import CascadeStage
from xct_components.networks.explained_volume import HIGHEST_HU, LOWEST_HU
from xct_components.physics.attenuation import hu_to_mu_per_mm
from xct_components.physics.projector import project

#: Films are rendered from voxels no finer than these: 1.25 mm.
FINEST_FILM = 256
SIDES = ("val", "test")


@dataclass(frozen=True, eq=False)
class HeldOutCase:
    """One patient.

    Args:
        name: the case.
        truth_hu: size -> (1, 1, D, H, W) HU.
        fields: size -> where it lies.
        film: what the cascade is given.
        film_size: voxels a side of the volume that the film was rendered from.
    """

    name: str
    truth_hu: dict[int, Tensor]
    fields: dict[int, VolumeGrid]
    film: CascadeFilm
    film_size: int


def cases_of_side(prepared: Path, side: str, sizes: Sequence[int]) -> list[str]:
    """Names of the cases of a side.

    Raises:
        UsageFailure: for another side than val and test, one without cases, or a size that was not prepared.
        UnreadableInput: if the folder is none of ``xct prepare``.
    """
    if side not in SIDES:
        raise UsageFailure(f"side must be val or test, got {side!r}; the training side would flatter")
    names = [item["case"] for item in present_items(prepared, side, sizes[0])]
    for size in sizes[1:]:
        prepared_items(prepared, side, size)
    return names


def held_out_case(prepared: Path, side: str, name: str, stages: Sequence[CascadeStage], *, lateral: bool) -> HeldOutCase:
    """Load a case and take its films in the cascade's own room, from the finest volume there is (up to 256 voxels).

    A film of finer voxels than those that are scored is no inverse crime: no stage can explain it by its own grid alone. Where
    the stages hold the patient's own CT, it is not among those that his film bends.

    Args:
        prepared: output of ``xct prepare``.
        side: val or test.
        name: of the case.
        stages: those that will run; they say which sizes are needed.
        lateral: whether the cascade is given the lateral film too.

    Raises:
        RefusedInput: if the case does not lie on the stages' field, or its CT is held under another name.
    """
    truth, fields = {}, {}
    for stage in stages:
        size = stage.field.shape[0]
        truth[size], fields[size] = loaded(prepared, side, name, size)
        own = VolumeGrid.chest(stage.field.shape, stage.field.spacing_mm, fields[size].center_mm)
        if fields[size].shape != own.shape or float((own.affine - fields[size].affine).abs().amax()) > 1e-3:
            raise RefusedInput(f"{name} does not lie on the field of the stage of {size} voxels; prepare it with `xct prepare`")
    require_no_other_name(stages, name, truth[stages[0].field.shape[0]])
    finest = finest_size(prepared, name, max(truth))
    film_hu, grid = (truth[finest], fields[finest]) if finest in truth else loaded(prepared, side, name, finest)
    views: tuple[ChestView, ...] = ("PA", "LL") if lateral else ("PA",)
    beams = tuple(chest_beam_covering(grid, view, finest, finest) for view in views)
    film = CascadeFilm(project(hu_to_mu_per_mm(film_hu), grid, beams), beams, grid.center_mm, exact=True, without=name)
    return HeldOutCase(name, truth, fields, film, finest)


def loaded(prepared: Path, side: str, name: str, size: int) -> tuple[Tensor, VolumeGrid]:
    """(1, 1, D, H, W) HU of one case in the cascade's range, and its grid."""
    item = next(item for item in prepared_items(prepared, side, size) if item["case"] == name)
    case = load_case(item)
    return case["ct_hu"].to(torch.float32).clamp(LOWEST_HU, HIGHEST_HU), VolumeGrid.from_json(case["grid"])


def finest_size(prepared: Path, name: str, at_least: int) -> int:
    """The finest volume of a case up to 256 voxels a side; ``at_least`` where there is no finer one."""
    manifest = json.loads((prepared / "manifest.json").read_text(encoding="utf-8"))
    outputs = next(case["outputs"] for case in manifest["cases"] if case["case"] == name)
    return max([at_least, *(int(size) for size in outputs if size.isdigit() and int(size) <= FINEST_FILM)])

"""A small result to make pages of: a chest with a ball in the left lung, and a film of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from monai.data import MetaTensor
from torch import Tensor

from tests.inferers.tiny_stages import FIELD_MM, chest_hu
from xct_components.geometry import VolumeGrid, chest_beam_covering
from xct_components.inferers.cascade_film import CascadeFilm
from xct_components.inferers.generated_ct import GeneratedCt
from xct_components.physics.attenuation import hu_to_mu_per_mm
from xct_components.physics.projector import project

SIZE, CENTER_MM = 32, (33.0, -21.0, 140.0)
CURVE = {"black": 0.0, "white": 255.0, "offset": -0.1, "gain": 5.0, "exponent": 0.6, "knots": [[0.0, 0.0], [255.0, 4.9]]}
#: The film does not show the abdomen.
FIT = {
    "quantiles_grey": {"lung": [0.2, 0.3], "abdomen": [None, None]},
    "quantiles_reference": {"lung": [1.7, 2.3], "abdomen": [4.0, 5.0]},
    "rms_misfit": 0.2,
}


def result(
    name: str = "film.png", *, with_std: bool = False, members: int = 0, said: str = "the pixel size is unknown"
) -> GeneratedCt:
    """A result of a film with this name, whose record says something."""
    grid = VolumeGrid.chest((SIZE,) * 3, FIELD_MM / SIZE, CENTER_MM)
    hu = chest_hu(grid).float()
    beam = chest_beam_covering(grid, "PA", 64, 64)
    film = CascadeFilm(
        project(hu_to_mu_per_mm(hu), grid, [beam]), (beam,), CENTER_MM, exact=False, record=_film_record(name, said)
    )
    std = MetaTensor(torch.linspace(0.0, 400.0, SIZE).expand(1, SIZE, SIZE, SIZE).clone(), affine=grid.affine)
    others = tuple(MetaTensor(member_hu(hu[0], number), affine=grid.affine) for number in range(members))
    record = _record(film, said)
    return GeneratedCt(MetaTensor(hu[0], affine=grid.affine), std if with_std else None, (0.0123,), film, record, others)


def member_hu(hu: Tensor, number: int) -> Tensor:
    """The chest denser by so many hundred HU."""
    return (hu + 100.0 * (number + 1)).to(torch.int16)


def renamed(ct: GeneratedCt, name: str) -> GeneratedCt:
    """The same of a film with another name, which also stands in every text of the record that a file could set."""
    film = replace(ct.film, record=_film_record(name, name))
    return replace(ct, film=film, record=_record(film, name))


def _film_record(name: str, said: str) -> dict[str, Any]:
    return {
        "file": {"name": name, "sha256": "a" * 64, "format": said, "size": [64, 64]},
        "view": {"tags": said, "user": None, "side": said, "best": {"view": "frontal", "agreement": 0.8}},
        "pixel_mm_from": said,
        "warnings": [said],
        "accepted_despite": [said],
        "response": {"curve": CURVE, "fit": FIT},
        "geometry_from": said,
    }


def _record(film: CascadeFilm, said: str) -> dict[str, Any]:
    stage = {"stage": 1, "voxels": [SIZE] * 3, "spacing_mm": [10.0] * 3, "film_error": [0.0123], "seconds": 1.5}
    return {
        "notice": "Synthetic CT estimated from a chest film. Research only, not for diagnosis.",
        "software": "xct-components 0",
        "versions": {"python": "3"},
        "machine": {"processor": said},
        "settings": {"steps": 4, "samples": 2, "mode": "mean", "members": 0, "seed": 7, "column": None},
        "deviation": {"bent_cts": 8, "samples": 2, "factor": 1.1, "patients": 10},
        "weights": [{"bundle": "stage1", "file": said, "sha256": "b" * 64}],
        "stages": [stage],
        "film_error_after_gain_and_offset": [0.01],
        "film": film.record,
    }

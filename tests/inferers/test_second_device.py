"""A cascade on a second device makes the CTs of one on the processor, to the bit, and hands them over on the processor."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.generate_runs import REAL_FILM
from tests.inferers.tiny_stages import chest_hu, held_voxels_mm, tiny_stage
from tests.second_device import second_device
from xct_components.cascade import UnifiedHybridViTCascade
from xct_components.geometry import VolumeGrid, chest_beam_covering
from xct_components.inferers.cascade_film import CascadeFilm
from xct_components.networks.cascade_stage import CascadeStage
from xct_components.physics.attenuation import hu_to_mu_per_mm
from xct_components.physics.projector import project

SMALL, LARGE = 16, 32
GRID = VolumeGrid.chest((64, 64, 64), 5.0)
PA, LL = (chest_beam_covering(GRID, view, 64, 64) for view in ("PA", "LL"))


def film(*beams: Any, exact: bool = True) -> CascadeFilm:
    return CascadeFilm(project(hu_to_mu_per_mm(chest_hu(GRID)), GRID, list(beams)), beams, GRID.center_mm, exact=exact)


#: What is shown, what is asked for, and how many CTs the first stage bends to it: bending takes most of the time.
SHOWN: dict[str, tuple[Any, dict[str, Any], int]] = {
    "the mean": (film(PA), {}, 0),
    "a displayed film": (REAL_FILM, {"seed": 1}, 0),
    "two films that were estimated": (film(PA, LL, exact=False), {}, 0),
    "one sample of two": (film(PA), {"mode": "sample", "samples": 2, "steps": 2}, 0),
    "samples beside the mean": (film(PA, exact=False), {"samples": 2, "steps": 1}, 0),
    "columns": (film(PA, exact=False), {"column": 24}, 0),
    "two films, and a member with its detail beside the mean": (film(PA, LL), {"members": 1}, 2),
    "a coarse volume that was given": (film(PA), {"coarse": torch.zeros(1, SMALL, SMALL, SMALL)}, 0),
    "a film that is not believed": (film(PA), {"consistency": "off"}, 0),
}


def stages(device: str, held: int) -> list[CascadeStage]:
    """The first holds CTs, the second their detail, measured where the stage lies."""
    first = tiny_stage(SMALL, atlas_cts=held).to(device)
    second = tiny_stage(LARGE, needs_coarse=True, detail_step_hu=10.0).to(device)
    assert second.detail is not None
    fine = [(f"in {mm} mm", chest_hu(VolumeGrid.chest((32, 32, 32), mm))) for mm in held_voxels_mm(held)]
    second.detail.measure(fine)
    return [first, second]


def numbers(device: str, shown: Any, settings: dict[str, Any], held: int) -> list[Tensor]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a film without pixel size
        made = UnifiedHybridViTCascade(stages(device, held)).generate(shown, accept=True, **settings)
    volumes = [one for one in (made.volume, made.std, *made.members) if one is not None]
    return [*(one.as_tensor() for one in volumes), torch.tensor(made.film_error)]


@pytest.mark.parametrize("name", SHOWN)
def test_a_film_becomes_the_ct_that_the_processor_makes_of_it(name: str) -> None:
    here = numbers("cpu", *SHOWN[name])
    with second_device():
        there = numbers("cuda", *SHOWN[name])
    assert len(here) == len(there) >= 2
    for one, other in zip(here, there, strict=True):
        assert other.device.type == "cpu"
        assert torch.equal(one, other)

"""Predictions on the array of a published protocol: where its voxels are, and the original CT they are scored against."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.evaluation.made_prepared import CENTER_MM, made_ct, write_nifti
from xct_components.data.protocols.protocol import PERX2CT, X2CT
from xct_components.data.protocols.volume import prepare_for_protocol
from xct_components.evaluation.case_rows import Predictions
from xct_components.evaluation.held_out_case import HeldOutCase
from xct_components.evaluation.protocol_rows import on_protocol, original_ct, protocol_rows
from xct_components.failures import UnreadableInput
from xct_components.geometry import VolumeGrid, chest_beam_covering
from xct_components.inferers.cascade_film import CascadeFilm

#: The protocols' steps on arrays that are ten times coarser.
COARSE: dict[str, Any] = {"spacing_mm": 10.0, "cube_voxels": 32, "model_voxels": 16}


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of CTs and the prepared folder's list of them."""
    folder = tmp_path_factory.mktemp("originals")
    write_nifti(folder / "chest.nii.gz", *made_ct(150.0, 64))
    (folder / "sources.json").write_text(json.dumps({"cases": {"held-out": "chest.nii.gz"}}))
    return folder


def case_of(size: int) -> HeldOutCase:
    hu, grid = made_ct(150.0, size)
    beam = chest_beam_covering(grid, "PA", 4, 4)
    return HeldOutCase("held-out", {size: hu}, {size: grid}, CascadeFilm(torch.zeros(1, 1, 1, 4, 4), (beam,)), size)


def test_a_ramp_is_read_where_the_voxels_lie_and_air_beyond_the_field():
    field = VolumeGrid.chest((20, 20, 20), 10.0, CENTER_MM)
    index = torch.stack(torch.meshgrid(*[torch.arange(20)] * 3, indexing="ij"), dim=-1)
    slope = torch.tensor([1.0, 2.0, -0.5], dtype=torch.float64)

    def ramp(world_mm: torch.Tensor) -> torch.Tensor:
        return (world_mm - torch.tensor(CENTER_MM)) @ slope

    volume = ramp(field.world_from_voxels(index)).float()[None, None]
    target = prepare_for_protocol(*made_ct(0.0, 32), replace(X2CT, body_mask=False, **COARSE))
    found = on_protocol(volume, field, target, X2CT) * 2500.0 - 1024.0
    there = target.grid.world_from_voxels(torch.stack(torch.meshgrid(*[torch.arange(16)] * 3, indexing="ij"), dim=-1))
    away_mm = (there - torch.tensor(CENTER_MM)).abs().amax(dim=-1)
    inside, outside = away_mm < 95.0, away_mm > 100.0 + 1e-6
    assert inside.sum() > 200
    np.testing.assert_allclose(found[inside], ramp(there)[inside].clamp(-1024.0, 1476.0), atol=0.05)
    assert (found[outside] == -1024.0).all()


@pytest.mark.parametrize(
    ("protocol", "names"), [(X2CT, {"psnr_3d_db", "ssim_slices"}), (PERX2CT, {"psnr_slices_db", "ssim_3d"})]
)
def test_every_method_is_scored_on_the_original_ct(protocol, names, originals):
    case = case_of(32)
    good, bad = case.truth_hu[32], case.truth_hu[32] + 150.0
    rows = protocol_rows(
        case, Predictions({32: {"good": good, "bad": bad}}), replace(protocol, **COARSE), originals, originals, lambda _: None
    )
    assert [(row.method, row.size) for row in rows] == [("good", 16), ("bad", 16)]
    assert names <= set(rows[0].scores)
    psnr, similarity = (next(name for name in names if name.startswith(kind)) for kind in ("psnr", "ssim"))
    # Voxels of 5 and of 10 mm of one chest, against 150 HU everywhere: 20 log10(4095 / 150) is 28.7 dB.
    assert rows[0].scores[psnr] > rows[1].scores[psnr] + 2.0
    assert rows[0].scores[similarity] > rows[1].scores[similarity]


def test_an_original_that_is_not_there_is_refused(originals, tmp_path):
    with pytest.raises(UnreadableInput, match=r"no sources\.json that names"):
        original_ct(originals, originals, "another")
    with pytest.raises(UnreadableInput):
        original_ct(originals, tmp_path, "held-out")

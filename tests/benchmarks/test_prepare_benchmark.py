"""What the table of benchmarks/prepare.py says about films is what the issue asks: under 1 % on a real CT."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks.prepare import GOAL_DIFFERENCE, film_difference, shares_inside
from xct_components.data.ct.reading import read_ct
from xct_components.data.prepare.prepared_case import patient_only, prepared_volumes
from xct_components.geometry import VolumeGrid

DATA = Path(__file__).parent.parent / "data"


def test_films_of_the_prepared_volume_agree_with_films_of_the_original():
    patient = patient_only(*read_ct(DATA / "cip-ct-64.nrrd"))
    finest = prepared_volumes(patient)["256"]
    assert 0.0 < film_difference(patient, finest, "PA") < GOAL_DIFFERENCE


def test_voxels_on_the_rim_of_the_field_count_in_part():
    affine = torch.zeros(4, 4, dtype=torch.float64)
    affine[2, 0] = affine[1, 1] = affine[0, 2] = -2.0
    affine[:3, 3] = torch.tensor([9.0, 9.0, 9.0])
    affine[3, 3] = 1.0
    field = VolumeGrid.chest((4, 6, 8), 1.0)  # 4 mm front to back, 6 mm top to bottom, 8 mm across
    shares = shares_inside(VolumeGrid.from_affine((10, 10, 10), affine), field)
    assert [float(share.sum()) * 2.0 for share in shares] == pytest.approx([6.0, 4.0, 8.0])
    assert set(shares[0].tolist()) <= {0.0, 0.5, 1.0}

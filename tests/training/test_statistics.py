"""Atlas and scales beside the same numbers computed directly from the batches."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tests.networks.small_stages import chest_hu, small_stage
from tests.training.small_training import drawn, phantoms
from xct_components.networks.atlas import Atlas
from xct_components.physics.attenuation import hu_to_mu_per_mm
from xct_components.physics.tissue_groups import tissue_mu_per_mm
from xct_components.training.prepare_batch import PrepareStageBatch
from xct_components.training.statistics import measure_statistics

#: float32 volumes, summed in float64 here and there.
ROUNDING = 1e-5


def test_atlas_and_scales_are_those_of_the_training_cases() -> None:
    stage = small_stage()
    stage.atlas.tissue.zero_()
    prepare, cases = PrepareStageBatch(stage), drawn(phantoms(seed=1))
    scales = measure_statistics(prepare, [cases[:1], cases[1:]])
    batches = [prepare.batch(cases[:1]), prepare.batch(cases[1:])]
    truth = torch.cat([batch.truth_hu for batch in batches]).double()
    prior = torch.cat([batch.prior_hu for batch in batches]).double()
    assert float(stage.hu_mean) == pytest.approx(float(truth.mean()), rel=ROUNDING)
    assert float(stage.hu_std) == pytest.approx(float(truth.std(unbiased=False)), rel=ROUNDING)
    assert float(stage.residual_scale_hu) == pytest.approx(float((truth - prior).square().mean().sqrt()), rel=ROUNDING)
    assert scales == pytest.approx({name: float(getattr(stage, name)) for name in scales}, rel=ROUNDING)
    normalised = torch.cat([stage.residual(batch.truth_hu, batch.prior_hu) for batch in batches])
    assert float(normalised.square().mean()) == pytest.approx(1.0, rel=1e-4)
    tissue = tissue_mu_per_mm(truth.float()).mean(0, keepdim=True)
    # the atlas has voxels of 5 mm, the phantoms of 20 mm: each phantom voxel fills four of them along every axis
    torch.testing.assert_close(F.avg_pool3d(stage.atlas.tissue, 4), tissue, rtol=1e-4, atol=1e-8)


def test_an_atlas_knows_whether_it_was_measured() -> None:
    assert [Atlas().is_measured, small_stage().atlas.is_measured] == [False, True]


def test_an_atlas_that_was_measured_stays() -> None:
    stage = small_stage()
    before = stage.atlas.tissue.clone()
    prepare = PrepareStageBatch(stage, real_coarse_share=0.3)
    measure_statistics(prepare, [drawn(phantoms())])
    assert torch.equal(stage.atlas.tissue, before)
    assert prepare.real_coarse_share == 0.3


def test_the_atlas_of_one_chest_is_that_chest() -> None:
    atlas = Atlas((16, 16, 16))
    atlas.measure([chest_hu()])
    torch.testing.assert_close(atlas.mu_per_mm((16, 16, 16)), hu_to_mu_per_mm(chest_hu()), rtol=ROUNDING, atol=1e-9)
    half = F.avg_pool3d(hu_to_mu_per_mm(chest_hu()), 2)
    small = Atlas((8, 8, 8))
    small.measure([chest_hu()])
    torch.testing.assert_close(small.mu_per_mm((8, 8, 8)), half, rtol=1e-4, atol=1e-8)

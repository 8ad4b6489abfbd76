"""Atlas and scales beside the same numbers computed directly from the batches."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from monai.data import Dataset

from tests.networks.small_stages import chest_hu, small_stage
from tests.training.small_training import drawn, phantoms
from xct_components.data.cases.cases import TrainingCases
from xct_components.networks.atlas import Atlas
from xct_components.networks.multi_atlas import BYTE_LOWEST_HU, BYTE_STEP_HU, key_of
from xct_components.physics.attenuation import hu_to_mu_per_mm
from xct_components.physics.tissue_groups import tissue_mu_per_mm
from xct_components.training.prepare_batch import PrepareStageBatch
from xct_components.training.statistics import measure_statistics, patients_to_hold

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


def test_a_stage_keeps_the_cts_of_its_patients_as_they_are() -> None:
    stage = small_stage(atlas_cts=3)
    stage.atlas.tissue.zero_()
    cases = phantoms(seed=1)
    measure_statistics(PrepareStageBatch(stage), [drawn(cases)], cases.patients(3))
    held = stage.multi_atlas
    assert held is not None
    assert held.key.tolist() == [key_of("phantom-0"), key_of("phantom-1"), 0]
    for kept, (_, ct_hu) in zip(held.ct, cases.patients(3), strict=False):
        own = kept.float() * BYTE_STEP_HU + BYTE_LOWEST_HU
        assert float((own - ct_hu.clamp(BYTE_LOWEST_HU, 1526.0)).abs().amax()) <= BYTE_STEP_HU / 2


def test_a_later_stage_keeps_the_detail_of_those_whom_the_first_holds() -> None:
    first, second, cases = small_stage(atlas_cts=3), small_stage(32, needs_coarse=True, detail_step_hu=10.0), phantoms(seed=1)
    assert second.detail is not None
    assert first.multi_atlas is not None
    for held, expected in ((["phantom-1", "somebody else"], ["phantom-1"]), ([], [])):
        first.multi_atlas.measure((name, chest_hu(first.field)) for name in held)
        second.atlas.tissue.zero_()
        prepare = PrepareStageBatch(second, [first])
        measure_statistics(prepare, [drawn(cases)], patients_to_hold(second, prepare.parents, cases))
        assert second.detail.key.tolist() == [key_of(name) for name in expected]
    assert [name for name, _ in patients_to_hold(first, [], cases)] == ["phantom-0", "phantom-1"]
    assert list(patients_to_hold(small_stage(), [], cases)) == []


def test_patients_are_told_apart_and_stand_before_phantoms() -> None:
    def cases(*names: str) -> TrainingCases:
        volume = torch.zeros(1, 1, 4, 4, 4, dtype=torch.int16)
        return TrainingCases(Dataset([{"case": name, "ct_hu": volume + k} for k, name in enumerate(names)]))

    mixed = cases("b", "phantom-0", "a", "b", "c", "a", "d")
    assert [(name, int(ct_hu[0, 0, 0, 0, 0])) for name, ct_hu in mixed.patients(9)] == [("a", 2), ("b", 0), ("c", 4), ("d", 6)]
    assert [name for name, _ in mixed.patients(2)] == ["a", "c"]
    assert [name for name, _ in mixed.patients(1, lambda name: name in "bd")] == ["b"]
    assert [name for name, _ in cases("phantom-1", "phantom-0").patients(9)] == ["phantom-0", "phantom-1"]


def test_the_atlas_of_one_chest_is_that_chest() -> None:
    atlas = Atlas((16, 16, 16))
    atlas.measure([chest_hu()])
    torch.testing.assert_close(atlas.mu_per_mm((16, 16, 16)), hu_to_mu_per_mm(chest_hu()), rtol=ROUNDING, atol=1e-9)
    half = F.avg_pool3d(hu_to_mu_per_mm(chest_hu()), 2)
    small = Atlas((8, 8, 8))
    small.measure([chest_hu()])
    torch.testing.assert_close(small.mu_per_mm((8, 8, 8)), half, rtol=1e-4, atol=1e-8)

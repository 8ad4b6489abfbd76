"""Batches of a stage: made again from the same cases, other in every epoch, and complete."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.networks.small_stages import SIDE, small_stage
from tests.training.small_training import drawn, phantoms
from xct_components.data.cases.cases import render_batch
from xct_components.geometry import VolumeGrid
from xct_components.networks.cascade_stage import CascadeStage
from xct_components.networks.explained_volume import HIGHEST_HU, LOWEST_HU
from xct_components.physics.attenuation import hu_to_mu_per_mm
from xct_components.physics.consistency import relative_film_error
from xct_components.training.prepare_batch import PrepareStageBatch, consistency_of, means_of, names_of
from xct_components.training.stage_batch import StageBatch

#: What consistency leaves on voxels of 20 mm, where borders are steps of one voxel (0.01 on those of the first stage).
FILM_ERROR = 0.03
PLAIN = {"augment": False, "randomize_exposure": False}


@pytest.fixture(scope="module")
def stage() -> CascadeStage:
    return small_stage()


@pytest.fixture(scope="module")
def parent() -> CascadeStage:
    return small_stage()


def tensors(batch: StageBatch) -> dict[str, Tensor]:
    values = {field.name: getattr(batch, field.name) for field in fields(batch)}
    return {name: value for name, value in values.items() if isinstance(value, Tensor)}


def test_the_same_cases_make_the_same_batch_again(stage: CascadeStage, parent: CascadeStage) -> None:
    prepare = PrepareStageBatch(stage, [parent], film_dropout=0.5, column_pixels=8, columns=2)
    first = prepare.batch(drawn(phantoms(seed=3)))
    torch.manual_seed(99)  # chance from outside must not get in
    second = PrepareStageBatch(stage, [parent], film_dropout=0.5, column_pixels=8, columns=2).batch(drawn(phantoms(seed=3)))
    for name, value in tensors(first).items():
        assert torch.equal(value, tensors(second)[name]), name
    assert first.columns == second.columns
    assert first.beams == second.beams


def test_every_epoch_draws_anew(stage: CascadeStage) -> None:
    prepare, cases = PrepareStageBatch(stage), phantoms(seed=3)
    first, second = (tensors(prepare.batch(drawn(cases, epoch))) for epoch in (0, 1))
    for name in ("film", "truth_hu", "prior_hu", "noise"):
        assert not torch.equal(first[name], second[name]), name
    always_noisy = PrepareStageBatch(stage, pure_noise_share=0.0)
    times = torch.stack([always_noisy.batch(drawn(cases, epoch)).time for epoch in range(4)])
    assert len(set(times.flatten().tolist())) == 8


def test_a_batch_holds_films_truth_and_a_prior_that_explains_them() -> None:
    stage, cases = small_stage(), drawn(phantoms(**PLAIN))
    stage.atlas.measure(case["ct_hu"].float() for case in cases)  # a prior can only be dense where its atlas is
    batch, target = PrepareStageBatch(stage)(cases, "cpu", False)
    assert batch is target
    assert batch.film.shape == (2, 1, 1, SIDE, SIDE)
    assert torch.equal(batch.film, batch.line_integrals)
    assert LOWEST_HU <= float(batch.truth_hu.amin()) <= float(batch.truth_hu.amax()) <= HIGHEST_HU
    for case in range(2):
        film, field, beams = batch.film[case : case + 1], batch.fields[case], batch.beams[case]
        prior, truth = (hu_to_mu_per_mm(hu[case : case + 1]) for hu in (batch.prior_hu, batch.truth_hu))
        assert float(relative_film_error(prior, film, field, beams)) <= FILM_ERROR
        assert float(relative_film_error(truth, film, field, beams)) <= 1e-4  # the film was projected from it
    assert batch.noise.shape == batch.truth_hu.shape
    assert batch.coarse_noise.tolist() == [0.0, 0.0]


def test_two_films_of_every_case_can_be_asked_for(stage: CascadeStage) -> None:
    batch = PrepareStageBatch(stage, views=("PA", "LL")).batch(drawn(phantoms(**PLAIN)))
    assert batch.film.shape == (2, 2, 1, SIDE, SIDE)
    assert [len(views) for views in batch.beams] == [2, 2]


@pytest.mark.parametrize(("dropout", "present"), [(0.0, [1.0, 1.0]), (1.0, [0.0, 0.0])])
def test_films_are_hidden_as_often_as_asked(stage: CascadeStage, dropout: float, present: list[float]) -> None:
    assert PrepareStageBatch(stage, film_dropout=dropout).batch(drawn(phantoms())).film_present.tolist() == present


def test_the_share_of_pure_noise_is_as_asked(stage: CascadeStage) -> None:
    cases = drawn(phantoms())
    assert PrepareStageBatch(stage, pure_noise_share=0.999).batch(cases).time.tolist() == [1.0, 1.0]
    assert float(PrepareStageBatch(stage, pure_noise_share=0.0).batch(cases).time.amax()) < 1.0


@pytest.mark.parametrize("real", [True, False])
def test_a_later_stage_starts_from_its_parents_output_or_from_the_truth_made_coarse(
    stage: CascadeStage, parent: CascadeStage, real: bool
) -> None:
    """Both beside the same thing done by hand, without noise on the coarse volume."""
    settings: dict[str, Any] = {"real_coarse_share": float(real), "coarse_noise": 0.0}
    cases = drawn(phantoms(**PLAIN))
    batch = PrepareStageBatch(stage, [parent], **settings).batch(cases)
    beams = [list(views) for views in batch.beams]
    from_atlas = PrepareStageBatch(stage).batch(cases)
    rendered = render_batch(cases, rows=SIDE, cols=SIDE)
    consistency = consistency_of(rendered)
    coarse = means_of([parent], rendered, consistency, names_of(cases)) if real else rendered.ct_hu
    expected = stage.prior_hu(batch.film, batch.fields, beams, consistency, coarse)
    assert torch.equal(batch.prior_hu, expected)
    assert not torch.equal(batch.prior_hu, from_atlas.prior_hu)


@pytest.mark.parametrize("parents", [False, True])
def test_no_case_starts_from_the_ct_of_its_own_patient(parents: bool) -> None:
    """Whatever stands there in its place; another patient's does change it."""
    first = small_stage(atlas_cts=3)
    prepare = (
        PrepareStageBatch(small_stage(needs_coarse=True), [first], real_coarse_share=1.0)
        if parents
        else PrepareStageBatch(first)
    )
    cases, held = drawn(phantoms(**PLAIN)), first.multi_atlas
    assert held is not None
    held.measure(phantoms(**PLAIN).patients(2))
    before = prepare.batch(cases).prior_hu
    held.ct[0] = held.ct[0].flip(1)
    after = prepare.batch(cases).prior_hu
    assert torch.equal(after[0], before[0])
    assert not torch.equal(after[1], before[1])


def test_noise_on_the_coarse_volume_is_as_large_as_it_is_told(stage: CascadeStage, parent: CascadeStage) -> None:
    settings: dict[str, Any] = {"real_coarse_share": 0.0}
    cases = drawn(phantoms(seed=2))
    clean = PrepareStageBatch(stage, [parent], coarse_noise=0.0, **settings).batch(cases)
    noisy = PrepareStageBatch(stage, [parent], coarse_noise=0.5, **settings).batch(cases)
    assert clean.coarse_noise.tolist() == [0.0, 0.0]
    assert 0.0 < float(noisy.coarse_noise.amin()) <= float(noisy.coarse_noise.amax()) <= 0.5
    roughness = [float((b - a).std()) for a, b in zip(clean.prior_hu, noisy.prior_hu, strict=True)]
    # 100 HU at level 1, where consistency does not scale it away (air cannot fall below -1000 HU)
    for deviation, level in zip(roughness, noisy.coarse_noise.tolist(), strict=True):
        assert 20.0 * level < deviation < 130.0 * level


def test_parents_are_frozen(stage: CascadeStage) -> None:
    parent = small_stage().train()
    PrepareStageBatch(stage, [parent])
    assert not parent.training
    assert not any(parameter.requires_grad for parameter in parent.parameters())


def test_columns_stand_on_the_networks_lattice_and_move_with_the_epochs(stage: CascadeStage) -> None:
    prepare, cases = PrepareStageBatch(stage, column_pixels=8), phantoms()
    corners = set()
    for epoch in range(6):
        batch = prepare.batch(drawn(cases, epoch))
        (column,) = batch.columns
        for span in column:
            assert 0 <= span.start < span.stop <= SIDE
            assert span.stop - span.start == 8
            assert span.start % stage.network.coarsest == 0
        assert batch.noise.shape == (2, 1, SIDE, 8, 8)
        assert batch.truth_hu.shape == (2, 1, SIDE, SIDE, SIDE)
        corners.add((column[0].start, column[1].start))
    assert len(corners) > 1


def test_several_columns_of_a_case_have_each_noise_and_time_of_their_own(stage: CascadeStage) -> None:
    prepare = PrepareStageBatch(stage, column_pixels=8, columns=3, pure_noise_share=0.0)
    batch = prepare.batch(drawn(phantoms()))
    assert len(batch.columns) == 3
    assert batch.noise.shape == (3 * 2, 1, SIDE, 8, 8)
    assert len(set(batch.time.tolist())) == len(batch.noise.flatten(1)[:, 0].unique()) == 6
    assert batch.truth_hu.shape == (2, 1, SIDE, SIDE, SIDE)


def test_whole_volumes_are_trained_on_once_whatever_the_number_of_columns(stage: CascadeStage) -> None:
    batch = PrepareStageBatch(stage, columns=3).batch(drawn(phantoms()))
    assert (batch.columns, batch.noise.shape) == ([], (2, 1, SIDE, SIDE, SIDE))


def test_no_column_at_all_is_refused(stage: CascadeStage) -> None:
    with pytest.raises(ValueError, match="columns must be at least 1, got 0"):
        PrepareStageBatch(stage, column_pixels=8, columns=0)


def test_fields_lie_where_the_phantoms_lie(stage: CascadeStage) -> None:
    batch = PrepareStageBatch(stage).batch(drawn(phantoms()))
    assert batch.fields == [VolumeGrid.chest((SIDE,) * 3, 20.0)] * 2


@pytest.mark.parametrize("pixels", [6, 20])
def test_columns_that_do_not_fit_are_refused(stage: CascadeStage, pixels: int) -> None:
    with pytest.raises(ValueError, match=rf"column_pixels must be a multiple of 4 and fit .* got {pixels}; 0 trains on whole"):
        PrepareStageBatch(stage, column_pixels=pixels)

"""One step: prediction beside truth, columns beside their own shadow, and every parameter at work."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.networks.small_stages import SIDE, gradients, small_stage
from tests.training.small_training import drawn, phantoms
from xct_components.losses.hybrid import HybridLoss
from xct_components.losses.projection import ProjectionLoss
from xct_components.networks.cascade_stage import CascadeStage
from xct_components.physics.attenuation import hu_to_mu_per_mm
from xct_components.physics.projector import project
from xct_components.training.prepare_batch import PrepareStageBatch
from xct_components.training.stage_step import SHADOW_MARGIN, StageStep

#: float32 sums of the projector, over a part of the volume and over the whole.
ROUNDING = 1e-4
COLUMN = 8


@pytest.fixture(scope="module")
def stage() -> CascadeStage:
    return small_stage()


def test_the_terms_lay_the_prediction_beside_the_truth(stage: CascadeStage) -> None:
    batch = PrepareStageBatch(stage).batch(drawn(phantoms()))
    terms = StageStep(stage)(batch)
    torch.testing.assert_close(terms.clean * stage.residual_scale_hu + batch.prior_hu, batch.truth_hu, rtol=0.0, atol=1e-2)
    torch.testing.assert_close(terms.volume_hu, batch.prior_hu + stage.residual_scale_hu * terms.clean_prediction)
    assert torch.equal(terms.mu_per_mm, hu_to_mu_per_mm(terms.volume_hu))
    assert torch.equal(terms.line_integrals, batch.line_integrals)
    assert torch.equal(terms.time, batch.time)


def test_the_true_depth_distribution_adds_up_to_the_film(stage: CascadeStage) -> None:
    """At the distribution's resolution; sharp borders on voxels of 20 mm, so only about."""
    batch = PrepareStageBatch(stage).batch(drawn(phantoms(augment=False, randomize_exposure=False)))
    terms = StageStep(stage)(batch)
    assert terms.target_mass is not None
    rows = terms.target_mass.shape[-1]
    film = torch.nn.functional.adaptive_avg_pool2d(batch.line_integrals.flatten(0, 1), rows)
    mass = terms.target_mass.sum((2, 3))
    assert float((mass - film).norm() / film.norm()) < 0.05


def test_a_column_is_compared_with_its_own_shadow(stage: CascadeStage) -> None:
    """The same film, made the long way: all other voxels emptied, the whole field projected, the window cut out."""
    batch = PrepareStageBatch(stage, column_pixels=COLUMN).batch(drawn(phantoms()))
    terms = StageStep(stage)(batch)
    ((rows, cols),) = batch.columns
    alone = torch.zeros_like(batch.truth_hu)
    alone[..., rows, cols] = hu_to_mu_per_mm(batch.truth_hu[..., rows, cols])
    width = COLUMN + 2 * SHADOW_MARGIN
    starts = [max(0, min(span.start - SHADOW_MARGIN, SIDE - width)) for span in (rows, cols)]
    window = [slice(start, start + width) for start in starts]
    expected = project(alone, batch.fields, batch.beams)[..., window[0], window[1]]
    torch.testing.assert_close(terms.line_integrals, expected, rtol=ROUNDING, atol=ROUNDING)
    assert terms.truth_hu.shape == terms.clean.shape == terms.volume_hu.shape == (2, 1, SIDE, COLUMN, COLUMN)


def test_several_columns_are_what_each_is_alone(stage: CascadeStage) -> None:
    batch = PrepareStageBatch(stage, column_pixels=COLUMN, columns=3).batch(drawn(phantoms()))
    assert len({(rows.start, cols.start) for rows, cols in batch.columns}) > 1
    together, step = StageStep(stage)(batch), StageStep(stage)
    for number, column in enumerate(batch.columns):
        mine = slice(2 * number, 2 * number + 2)
        alone = step(replace(batch, columns=[column], noise=batch.noise[mine], time=batch.time[mine]))
        for name in ("clean_prediction", "clean", "truth_hu", "line_integrals"):
            torch.testing.assert_close(getattr(together, name)[mine], getattr(alone, name), rtol=1e-4, atol=1e-4)  # float32
        assert together.grids[mine] == alone.grids


@pytest.mark.parametrize("column_pixels", [0, COLUMN])
def test_the_physics_loss_is_zero_at_the_truth_and_not_at_the_prediction(stage: CascadeStage, column_pixels: int) -> None:
    batch = PrepareStageBatch(stage, column_pixels=column_pixels).batch(drawn(phantoms()))
    terms, loss = StageStep(stage)(batch), ProjectionLoss()
    at_truth = loss.per_sample(hu_to_mu_per_mm(terms.truth_hu), terms.line_integrals, terms.grids, terms.beams)
    at_prediction = loss.per_sample(terms.mu_per_mm, terms.line_integrals, terms.grids, terms.beams)
    assert float(at_truth.amax()) < 1e-3 * float(at_prediction.amin())


@pytest.mark.parametrize(
    ("lifting", "adaln", "column_pixels"), [(True, True, 0), (False, True, 0), (True, False, 0), (True, True, COLUMN)]
)
def test_every_parameter_gets_a_gradient(lifting: bool, adaln: bool, column_pixels: int) -> None:
    """DistributedDataParallel waits for every one of them."""
    stage = small_stage(use_depth_lifting=lifting, use_adaln=adaln)
    batch = PrepareStageBatch(stage, column_pixels=column_pixels).batch(drawn(phantoms()))
    HybridLoss(1.0, 0.2, 0.1 if lifting else 0.0)(StageStep(stage)(batch))["loss"].backward()
    found = gradients(stage)
    assert [name for name, gradient in found.items() if gradient is None] == []
    assert [name for name, gradient in found.items() if gradient is not None and not bool(gradient.isfinite().all())] == []

"""Any two volumes beside each other: all figures, and what does not fit is refused."""

from __future__ import annotations

import pytest
import torch

from tests.inferers.tiny_stages import chest_hu
from xct_components.geometry import VolumeGrid
from xct_components.metrics.image import psnr_db
from xct_components.metrics.pair import TrueVolume, evaluate_pair

GRID = VolumeGrid.chest((32, 32, 32), 10.0)


@pytest.fixture(scope="module")
def truth() -> torch.Tensor:
    return chest_hu(GRID).float()


def test_the_truth_beside_itself_has_every_best_value(truth):
    scores = evaluate_pair(truth, truth, GRID, std_hu=torch.zeros_like(truth))
    best = {"rmse_hu": 0.0, "ssim": 1.0, "lateral_film_error": 0.0, "dice_body": 1.0, "hd95_mm_bone": 0.0, "coverage_90": 1.0}
    assert {name: scores[name] for name in best} == pytest.approx(best, abs=1e-6)


def test_values_beyond_the_cascades_range_do_not_count(truth):
    metal = truth.clone()
    metal[..., 16, 16, 16] = 9000.0
    held = truth.clone()
    held[..., 16, 16, 16] = 1500.0
    assert evaluate_pair(metal, held, GRID)["rmse_hu"] == 0.0


def test_uncertainty_is_told_only_where_there_is_one(truth):
    noisy = truth + 50.0
    assert "crps_hu" not in evaluate_pair(truth, noisy, GRID)
    scores = evaluate_pair(truth, noisy, GRID, std_hu=torch.full_like(truth, 40.0))
    # Everywhere in the body: 50 HU wrong, and the interval reaches 66 HU.
    assert scores["coverage_90"] == 1.0


def test_the_window_is_the_callers(truth):
    predicted = (truth + 30.0).clamp(-1024.0, 1500.0)
    scores = evaluate_pair(truth, predicted, GRID, window_hu=(-1000.0, 500.0))
    assert scores["psnr_db"] == pytest.approx(psnr_db(predicted[0, 0].numpy(), truth[0, 0].numpy(), (-1000.0, 500.0)))


@pytest.mark.parametrize("wrong", ["shape", "nan"])
def test_a_prediction_that_does_not_fit_is_refused(truth, wrong):
    prediction = truth[..., 1:] if wrong == "shape" else truth / 0.0 * 0.0
    with pytest.raises(ValueError, match="prediction_hu must be finite and have the truth's shape"):
        TrueVolume(truth, GRID).scores(prediction)

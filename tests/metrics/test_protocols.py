"""The published figures, each computed again slice by slice."""

from __future__ import annotations

import math

import numpy as np
import pytest
from skimage.metrics import structural_similarity

from xct_components.data.protocols.protocol import PROTOCOLS
from xct_components.metrics.protocols import LEFT_OUT, PLANES, liftxr_scores, perx2ct_scores, psct_scores, x2ct_scores

SHAPE = (9, 11, 13)


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray]:
    """A prediction and a truth in [0, 1] whose first two axial slices are equal, as blank ones are."""
    rng = np.random.default_rng(3)
    truth = rng.uniform(0.0, 1.0, SHAPE).astype(np.float32)
    predicted = np.clip(truth + rng.normal(0.0, 0.1, SHAPE), 0.0, 1.0).astype(np.float32)
    predicted[:2] = truth[:2]
    return predicted, truth


def whole_numbers(volume: np.ndarray) -> np.ndarray:
    return np.trunc(volume.astype(np.float64) * 2500.0)


def slice_db(predicted: np.ndarray, truth: np.ndarray, axis: int, peak: float) -> float:
    """One slice after the other."""
    found = []
    for index in range(truth.shape[axis]):
        mse = np.mean((predicted.take(index, axis) - truth.take(index, axis)) ** 2)
        found.append(100.0 if mse == 0 else 10.0 * math.log10(peak**2 / mse))
    return float(np.mean(found))


def slice_ssim(predicted: np.ndarray, truth: np.ndarray, axis: int, data_range: float) -> float:
    slices = range(truth.shape[axis])
    return float(
        np.mean([structural_similarity(predicted.take(i, axis), truth.take(i, axis), data_range=data_range) for i in slices])
    )


def test_x2ct_counts_blank_slices_100_db_and_a_peak_of_4095(pair):
    scores = x2ct_scores(*pair)
    stored = [whole_numbers(volume) for volume in pair]
    mse = np.mean((stored[0] - stored[1]) ** 2)
    assert scores["psnr_3d_db"] == pytest.approx(20.0 * math.log10(4095.0) - 10.0 * math.log10(mse), abs=1e-9)
    assert scores["psnr_slices_db"] == pytest.approx(
        np.mean([slice_db(stored[0], stored[1], axis, 4095.0) for axis in range(3)]), abs=1e-9
    )
    doubled = [volume.astype(np.float64) for volume in pair]
    assert scores["ssim_slices"] == pytest.approx(
        np.mean([slice_ssim(doubled[0], doubled[1], axis, 1.0) for axis in range(3)]), abs=1e-9
    )
    assert scores["mae"] == pytest.approx(np.abs(stored[0] - stored[1]).mean())
    flat = [volume.ravel() for volume in doubled]
    assert scores["cosine"] == pytest.approx(flat[0] @ flat[1] / math.sqrt((flat[0] @ flat[0]) * (flat[1] @ flat[1])))


def test_the_peak_of_4095_is_worth_4_29_db_over_that_of_2500(pair):
    gain = x2ct_scores(*pair)["psnr_3d_db"] - psct_scores(*pair)["psnr_3d_db"]
    assert gain == pytest.approx(20.0 * math.log10(4095.0 / 2500.0), abs=1e-9)


def test_psct_takes_true_for_an_axis_as_scikit_image_does(pair):
    """Its own call, on the three arrays that it turns: ``channel_axis=True``."""
    stored = [whole_numbers(volume) for volume in pair]
    turns = [(1, 2, 0), (0, 2, 1), (0, 1, 2)]
    theirs = [
        structural_similarity(*(volume.transpose(turn) for volume in stored), data_range=2500.0, channel_axis=True)
        for turn in turns
    ]
    assert psct_scores(*pair)["ssim_slices"] == pytest.approx(np.mean(theirs), abs=1e-9)


def test_predictions_outside_the_window_are_clipped_by_x2ct(pair):
    predicted, truth = pair
    beyond = predicted.copy()
    beyond[beyond == 1.0] = 7.0
    assert (beyond == 7.0).any()
    assert x2ct_scores(beyond, truth) == x2ct_scores(predicted, truth)


def test_perx2ct_is_the_mean_over_three_planes(pair):
    planes = [dict.fromkeys(PLANES, volume) for volume in pair]
    scores = perx2ct_scores(*planes)
    stored = [whole_numbers(volume) for volume in pair]
    # The slices along the last axis of (z, y, x), (y, z, x) and (x, z, y): x, x and y.
    assert scores["psnr_slices_db"] == pytest.approx(
        np.mean([slice_db(stored[0], stored[1], axis, 4095.0) for axis in (2, 2, 1)]), abs=1e-9
    )
    doubled = [volume.astype(np.float64) for volume in pair]
    assert scores["ssim_3d"] == pytest.approx(structural_similarity(*doubled, data_range=2.0), abs=1e-9)


def test_perx2ct_needs_all_planes(pair):
    with pytest.raises(ValueError, match="coronal is missing"):
        perx2ct_scores({"axial": pair[0]}, {"axial": pair[1]})


def test_what_liftxr_leaves_unsaid_is_refused_until_it_is_chosen(pair):
    with pytest.raises(ValueError, match="does not publish"):
        liftxr_scores(*pair)
    truth = np.zeros((12, 12, 12), dtype=np.float32)
    scores = liftxr_scores(truth + np.float32(0.1), truth, psnr_over="volume", ssim_window="gaussian")
    assert scores["psnr_volume_db"] == pytest.approx(20.0, abs=1e-5)
    assert set(scores) == {"psnr_volume_db", "ssim_3d_gaussian"}


def test_every_protocol_says_what_is_left_out():
    assert set(LEFT_OUT) == set(PROTOCOLS)

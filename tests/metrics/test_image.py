"""RMSE, MAE, PSNR and SSIM against numpy, scikit-image's own PSNR and MONAI's SSIM."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from xct_components.metrics.image import mae_hu, psnr_db, rmse_hu, ssim, ssim_map

WINDOW = (-1024.0, 1024.0)
#: MONAI convolves in float32 with a kernel of float32; volumes are in [0, 1].
MONAI_TOLERANCE = 1e-5


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray]:
    """A smooth field and the same with noise, both partly outside the window."""
    rng = np.random.default_rng(0)
    steps = np.linspace(0.0, 3.0, 20)
    truth = 1300.0 * np.sin(steps[:, None, None]) * np.cos(2.0 * steps[None, :, None]) - 300.0 * steps[None, None, :]
    return (truth + rng.normal(0.0, 150.0, truth.shape)).astype(np.float32), truth.astype(np.float32)


def test_errors_in_hu_are_those_of_numpy(pair):
    predicted, truth = pair
    error = predicted.astype(float) - truth
    assert rmse_hu(predicted, truth) == pytest.approx(math.sqrt((error**2).mean()), rel=1e-12)
    assert mae_hu(predicted, truth) == pytest.approx(np.abs(error).mean(), rel=1e-12)


def test_a_mask_leaves_everything_else_out(pair):
    predicted, truth = pair
    mask = np.zeros(truth.shape, dtype=bool)
    mask[6:12, 7:13, 8:14] = True
    ruined = np.where(mask, predicted, np.float32(9999.0))
    for measure in (rmse_hu, mae_hu):
        assert measure(ruined, truth, mask) == measure(predicted, truth, mask)
    assert psnr_db(ruined, truth, WINDOW, mask) == psnr_db(predicted, truth, WINDOW, mask)


def test_an_empty_mask_is_refused(pair):
    with pytest.raises(ValueError, match="mask must hold at least one voxel"):
        rmse_hu(pair[0], pair[1], np.zeros((20, 20, 20), dtype=bool))


def test_psnr_is_that_of_scikit_image_on_the_clipped_volumes(pair):
    from skimage.metrics import peak_signal_noise_ratio

    predicted, truth = (np.clip(volume, *WINDOW).astype(np.float64) for volume in pair)
    expected = peak_signal_noise_ratio(truth, predicted, data_range=2048.0)
    assert psnr_db(pair[0], pair[1], WINDOW) == pytest.approx(expected, abs=1e-9)


def test_a_constant_error_of_a_tenth_of_the_window_is_20_db():
    truth = np.zeros((12, 12, 12), dtype=np.float32)
    assert psnr_db(truth + np.float32(204.8), truth, WINDOW) == pytest.approx(20.0, abs=1e-5)
    assert psnr_db(truth, truth, WINDOW) == math.inf


def test_a_wider_window_gives_more_decibels_for_the_same_error():
    truth = np.zeros((12, 12, 12), dtype=np.float32)
    wide, usual = (psnr_db(truth + np.float32(50.0), truth, window) for window in ((-1024.0, 1500.0), WINDOW))
    assert wide - usual == pytest.approx(20.0 * math.log10(2524.0 / 2048.0), abs=1e-9)


def test_ssim_is_that_of_monai(pair):
    from monai.metrics.regression import SSIMMetric

    unit = [torch.from_numpy((np.clip(volume, *WINDOW) + 1024.0) / 2048.0)[None, None] for volume in pair]
    expected = SSIMMetric(spatial_dims=3, data_range=1.0, win_size=11, kernel_sigma=1.5)(*unit)
    assert ssim(pair[0], pair[1], WINDOW) == pytest.approx(float(expected), abs=MONAI_TOLERANCE)


def test_ssim_inside_a_mask_is_the_mean_of_its_map_there(pair):
    mask = np.zeros((20, 20, 20), dtype=bool)
    mask[:, 5:9, 10:] = True
    expected = ssim_map(pair[0], pair[1], WINDOW)[:, 0:4, 5:]
    assert ssim(pair[0], pair[1], WINDOW, mask) == pytest.approx(float(expected.mean(dtype=float)), rel=1e-6)


def test_equal_volumes_have_ssim_1_and_inverted_ones_less_than_0(pair):
    truth = pair[1]
    assert ssim(truth, truth, WINDOW) == pytest.approx(1.0, abs=1e-6)
    assert ssim(-truth, truth, WINDOW) < 0.0


@pytest.mark.parametrize("window", [(100.0, 100.0), (200.0, -200.0), (-math.inf, 1024.0)])
def test_a_window_without_width_is_refused(pair, window):
    with pytest.raises(ValueError, match="window_hu must be"):
        psnr_db(pair[0], pair[1], window)


def test_a_volume_smaller_than_the_window_of_ssim_is_refused():
    small = np.zeros((10, 20, 20), dtype=np.float32)
    with pytest.raises(ValueError, match="more than 10 voxels"):
        ssim(small, small, WINDOW)

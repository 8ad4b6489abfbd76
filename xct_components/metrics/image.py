"""Voxel by voxel: RMSE and MAE in HU, PSNR of the volume, and 3-D Gaussian SSIM, each over a stated window."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Bool, Float

#: (lowest, highest) HU; what is beyond is clipped, and the width is the range that PSNR and SSIM refer to.
Window = tuple[float, float]

#: The window of LiftXR and SPARC, and of this project's figures unless said otherwise.
USUAL_WINDOW_HU: Window = (-1024.0, 1024.0)
#: Width of SSIM's Gaussian in voxels, cut at 3.5 of them: 11 voxels a side (Wang 2004, IEEE Trans Image Process 13:600).
SSIM_SIGMA, SSIM_RADIUS = 1.5, 5

_Volume = Float[np.ndarray, "d h w"]
_Mask = Bool[np.ndarray, "d h w"]


def rmse_hu(predicted: _Volume, truth: _Volume, mask: _Mask | None = None) -> float:
    """Root of the mean squared difference, HU; 0 is best. Of all voxels, or of those in ``mask``."""
    return math.sqrt(float(np.mean(np.square(_difference(predicted, truth, mask)))))


def mae_hu(predicted: _Volume, truth: _Volume, mask: _Mask | None = None) -> float:
    """Mean absolute difference, HU; 0 is best. Of all voxels, or of those in ``mask``."""
    return float(np.mean(np.abs(_difference(predicted, truth, mask))))


def psnr_db(predicted: _Volume, truth: _Volume, window_hu: Window = USUAL_WINDOW_HU, mask: _Mask | None = None) -> float:
    """Peak signal-to-noise ratio of the volume, not of slices: 20 log10(width / RMSE), both clipped to the window.

    Args:
        predicted: HU.
        truth: HU.
        window_hu: its width is the peak. A figure without its window says nothing: the same volumes score 1.8 dB more over
            -1024 to 1500 HU.
        mask: the voxels that count; None for all.

    Returns:
        dB; infinite for equal volumes.
    """
    low, high = _checked(window_hu)
    rmse = rmse_hu(np.clip(predicted, low, high), np.clip(truth, low, high), mask)
    return math.inf if rmse == 0.0 else 20.0 * math.log10((high - low) / rmse)


def ssim_map(predicted: _Volume, truth: _Volume, window_hu: Window = USUAL_WINDOW_HU) -> Float[np.ndarray, "dc hc wc"]:
    """Structural similarity of every voxel's neighbourhood (Wang 2004), without the 5 voxels along each face.

    Volumes are clipped to the window and brought to [0, 1], as the luminance term is made for values from 0 on; K1 = 0.01,
    K2 = 0.03, covariances of the population. scikit-image computes it: its filters are separable and it returns the map, which
    a body mask needs. MONAI's SSIMMetric agrees to 1e-5, with 1331 products a voxel instead of 33, and returns the mean alone.

    Raises:
        ValueError: for a volume smaller than the window of 11 voxels.
    """
    from skimage.metrics import structural_similarity

    low, high = _checked(window_hu)
    if min(truth.shape) <= 2 * SSIM_RADIUS:
        raise ValueError(f"volumes must have more than {2 * SSIM_RADIUS} voxels along each axis for SSIM, got {truth.shape}")
    unit = [(np.clip(one, low, high) - low) / (high - low) for one in (predicted, truth)]
    _, similarity = structural_similarity(
        *unit, data_range=1.0, gaussian_weights=True, sigma=SSIM_SIGMA, use_sample_covariance=False, full=True
    )
    return _without_faces(similarity)


def ssim(predicted: _Volume, truth: _Volume, window_hu: Window = USUAL_WINDOW_HU, mask: _Mask | None = None) -> float:
    """Mean of ``ssim_map``: 1 for equal volumes, at least -1. Over all its voxels, or over those in ``mask``."""
    return mean_of_map(ssim_map(predicted, truth, window_hu), mask)


def mean_of_map(similarity: Float[np.ndarray, "dc hc wc"], mask: _Mask | None = None) -> float:
    """Mean of a map of ``ssim_map``; ``mask`` belongs to the whole volume."""
    inside = similarity if mask is None else similarity[_without_faces(mask)]
    return float(_some(inside).mean(dtype=np.float64))


def _difference(predicted: np.ndarray, truth: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    difference = np.subtract(predicted, truth, dtype=np.float64)
    return difference if mask is None else _some(difference[mask])


def _some(values: np.ndarray) -> np.ndarray:
    if values.size == 0:
        raise ValueError("mask must hold at least one voxel, got none; leave it out to judge the whole volume")
    return values


def _without_faces(volume: np.ndarray) -> np.ndarray:
    inner = slice(SSIM_RADIUS, -SSIM_RADIUS)
    return volume[inner, inner, inner]


def _checked(window_hu: Window) -> Window:
    if not -math.inf < window_hu[0] < window_hu[1] < math.inf:
        raise ValueError(f"window_hu must be (lowest, highest), got {window_hu}; most use (-1024, 1024)")
    return window_hu

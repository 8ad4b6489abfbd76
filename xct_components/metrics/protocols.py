"""The figures of four published systems, computed as their code does, with its turns: for comparison with their tables alone.

They are higher than the truth by convention (4.29 dB for a peak of 4095 on values up to 2500; blank slices that count 100 dB).
Volumes are those of ``data/protocols``: axes (z, y, x), in [0, 1]. Written from the formulas in

- X2CT 3DGAN/lib/utils/metrics_np.py and 3DGAN/test.py (kylekma/X2CT at a9f0473; "std" data sets, which are not transposed)
- PerX2CT utils/metrics.py and main_test.py (dek924/PerX2CT at be4c354)
- PSCT-Net lib/utils/metrics_np.py and test.py (DYDevelop/PSCT-Net at b174d1c)
- LiftXR, whose code is not released

LPIPS (perx2ct with VGG, psct with AlexNet) needs weights that this project does not download; it is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

#: Both windows of 2500 HU (-1024 to 1476) become whole numbers from 0 to this.
STORED_RANGE = 2500.0
#: X2CT and PerX2CT take this for the peak, although no value exceeds 2500.
CLAIMED_PEAK = 4095.0
#: What a slice without error counts, dB.
PERFECT_SLICE_DB = 100.0
#: The range that scikit-image 0.19 assumes for float images when none is given (-1 to 1), as in PerX2CT.
ASSUMED_RANGE = 2.0
#: What each protocol publishes and this project does not compute.
LEFT_OUT: dict[str, tuple[str, ...]] = {
    "x2ct": (),
    "psct": ("LPIPS (AlexNet)",),
    "perx2ct": ("LPIPS (VGG)",),
    "liftxr": ("Dice and HD95 of an external segmenter",),
}

_Volume = Float[np.ndarray, "z y x"]
PlaneName = Literal["axial", "coronal", "sagittal"]
#: The order of axes of each PerX2CT volume: slices first, as its files hold them.
PLANES: dict[PlaneName, tuple[int, int, int]] = {"axial": (0, 1, 2), "coronal": (1, 0, 2), "sagittal": (2, 0, 1)}


def x2ct_scores(predicted: _Volume, truth: _Volume) -> dict[str, float]:
    """X2CT-GAN: PSNR against a peak of 4095, of the volume and averaged over slices of three axes; SSIM of slices.

    Args:
        predicted: in [0, 1]; clipped to it, as test.py does.
        truth: in [0, 1].

    Returns:
        ``psnr_3d_db``, ``psnr_slices_db``, ``ssim_slices``, ``mae`` and ``mse`` (of whole numbers up to 2500), ``mae_unit``,
        ``mse_unit``, ``cosine`` (of [0, 1]).
    """
    predicted, truth = (np.clip(one, 0.0, 1.0).astype(np.float64) for one in (predicted, truth))
    norms = float(np.linalg.norm(predicted) * np.linalg.norm(truth))
    return {
        **_stored_scores(predicted, truth, CLAIMED_PEAK),
        "ssim_slices": _mean(_slice_ssim(predicted, truth, axis, 1.0) for axis in range(3)),
        "mae_unit": float(np.abs(predicted - truth).mean()),
        "mse_unit": float(np.square(predicted - truth).mean()),
        "cosine": float((predicted * truth).sum()) / norms if norms else 0.0,
    }


def psct_scores(predicted: _Volume, truth: _Volume) -> dict[str, float]:
    """PSCT-Net: as X2CT, but against the true peak of 2500, and SSIM on whole numbers up to 2500.

    Its SSIM passes ``channel_axis=True``, which numpy reads as axis 1 of each of the three arrays that were turned for axes
    0, 1 and 2: sagittal slices count twice, coronal ones once, axial ones never.
    """
    predicted, truth = (np.clip(one, 0.0, 1.0).astype(np.float64) for one in (predicted, truth))
    stored = _stored(predicted), _stored(truth)
    return {
        **_stored_scores(predicted, truth, STORED_RANGE),
        "ssim_slices": _mean(_slice_ssim(*stored, axis, STORED_RANGE) for axis in (2, 2, 1)),
        "mae_unit": float(np.abs(predicted - truth).mean()),
        "mse_unit": float(np.square(predicted - truth).mean()),
    }


def perx2ct_scores(predicted: Mapping[PlaneName, _Volume], truth: Mapping[PlaneName, _Volume]) -> dict[str, float]:
    """PerX2CT: the mean over its axial, coronal and sagittal volume, which differ by how they were resampled.

    PSNR: peak 4095, averaged over the slices along the *last* axis of each array with the slices first (x, x and y). SSIM: of
    the whole array, 7³ windows, with the range left out: scikit-image 0.19 then takes 2 for values in [0, 1].

    Args:
        predicted: by plane, each (z, y, x); not clipped by the original, so bring it to [0, 1].
        truth: likewise.

    Raises:
        ValueError: if a plane is missing.
    """
    from skimage.metrics import structural_similarity

    psnr, similarity = [], []
    for plane, order in PLANES.items():
        if plane not in predicted or plane not in truth:
            raise ValueError(f"predicted and truth must hold {', '.join(PLANES)}, {plane} is missing; see docs/protocols.md")
        one, other = (volume[plane].transpose(order).astype(np.float64) for volume in (predicted, truth))
        psnr.append(_slice_psnr_db(_stored(one), _stored(other), 2, CLAIMED_PEAK))
        similarity.append(float(structural_similarity(one, other, data_range=ASSUMED_RANGE)))
    return {"psnr_slices_db": _mean(psnr), "ssim_3d": _mean(similarity)}


def liftxr_scores(
    predicted: _Volume,
    truth: _Volume,
    *,
    psnr_over: Literal["volume", "slices"] | None = None,
    ssim_window: Literal["gaussian", "uniform"] | None = None,
) -> dict[str, float]:
    """LiftXR on [-1024, 1024] HU brought to [0, 1]. Its text says neither what PSNR is averaged over nor SSIM's window.

    Args:
        predicted: in [0, 1].
        truth: in [0, 1].
        psnr_over: your choice: the volume, or slices of three axes. State it beside the number.
        ssim_window: your choice of a 3-D window: Gaussian of 1.5 voxels, or uniform of 7. State it too.

    Raises:
        ValueError: if either is not chosen.
    """
    from skimage.metrics import structural_similarity

    if psnr_over is None or ssim_window is None:
        raise ValueError(
            "psnr_over and ssim_window must be chosen for liftxr, which does not publish them: nothing is guessed; give "
            'psnr_over="volume" and ssim_window="gaussian", and state it beside the numbers'
        )
    one, other = (volume.astype(np.float64) for volume in (predicted, truth))
    psnr = _volume_psnr_db(one, other, 1.0)
    if psnr_over == "slices":
        psnr = _mean(_slice_psnr_db(one, other, axis, 1.0) for axis in range(3))
    window: dict[str, Any] = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    similarity = structural_similarity(one, other, data_range=1.0, **(window if ssim_window == "gaussian" else {}))
    return {f"psnr_{psnr_over}_db": psnr, f"ssim_3d_{ssim_window}": float(similarity)}


#: Protocols that are scored volume against volume, without a choice to make.
PAIRWISE: dict[str, Callable[[np.ndarray, np.ndarray], dict[str, float]]] = {"x2ct": x2ct_scores, "psct": psct_scores}


def _stored_scores(predicted: np.ndarray, truth: np.ndarray, peak: float) -> dict[str, float]:
    one, other = _stored(predicted), _stored(truth)
    return {
        "psnr_3d_db": _volume_psnr_db(one, other, peak),
        "psnr_slices_db": _mean(_slice_psnr_db(one, other, axis, peak) for axis in range(3)),
        "mae": float(np.abs(one - other).mean()),
        "mse": float(np.square(one - other).mean()),
    }


def _stored(unit: np.ndarray) -> np.ndarray:
    """Whole numbers up to 2500, cut and not rounded."""
    return (unit * STORED_RANGE).astype(np.int32).astype(np.float64)


def _volume_psnr_db(predicted: np.ndarray, truth: np.ndarray, peak: float) -> float:
    return _mean(_psnr_db(np.square(predicted - truth).mean(keepdims=True), peak))


def _slice_psnr_db(predicted: np.ndarray, truth: np.ndarray, axis: int, peak: float) -> float:
    """Mean over the slices across an axis; one without error counts 100 dB."""
    across = tuple(other for other in range(3) if other != axis)
    return _mean(_psnr_db(np.square(predicted - truth).mean(axis=across), peak))


def _psnr_db(mean_squares: np.ndarray, peak: float) -> np.ndarray:
    exact = mean_squares == 0.0
    decibels = 20.0 * np.log10(peak) - 10.0 * np.log10(np.where(exact, 1.0, mean_squares))
    return np.where(exact, PERFECT_SLICE_DB, decibels)


def _slice_ssim(predicted: np.ndarray, truth: np.ndarray, axis: int, data_range: float) -> float:
    """Mean over the slices across an axis, uniform windows of 7 x 7."""
    from skimage.metrics import structural_similarity

    return float(structural_similarity(predicted, truth, data_range=data_range, channel_axis=axis))


def _mean(values: Any) -> float:
    return float(np.mean(list(values)))

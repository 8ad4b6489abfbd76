"""All that can be said of a volume beside its truth, by name: what `xct evaluate` prints, for any two volumes."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from torch import Tensor

from xct_components.geometry import ChestView, VolumeGrid
from xct_components.metrics.anatomy import anatomy_scores
from xct_components.metrics.image import USUAL_WINDOW_HU, Window, mae_hu, mean_of_map, psnr_db, rmse_hu, ssim_map
from xct_components.metrics.projection import film_error, true_film
from xct_components.metrics.regions import chest_regions
from xct_components.metrics.uncertainty import coverage_90, crps_hu, error_correlation

#: The range of CT numbers that volumes are compared in: that of the cascade, so that metal does not decide.
LOWEST_HU, HIGHEST_HU = -1024.0, 1500.0
#: The film that the cascade is given, and the one that tells whether its depth is right.
VIEWS: dict[str, ChestView] = {"frontal": "PA", "lateral": "LL"}


class TrueVolume:
    """A CT with all that is needed of it to judge predictions: made once, used for many.

    Args:
        truth_hu: (1, 1, D, H, W).
        field: where it lies, axes P, I, L.
        window_hu: of PSNR and SSIM.
    """

    def __init__(self, truth_hu: Float[Tensor, "1 1 d h w"], field: VolumeGrid, window_hu: Window = USUAL_WINDOW_HU) -> None:
        self.truth_hu, self.field, self.window_hu = _compared(truth_hu), field, window_hu
        self.regions = chest_regions(_array(self.truth_hu), field)
        self.body = self.regions.body_on(field.shape)
        self.films = {name: true_film(self.truth_hu, field, view) for name, view in VIEWS.items()}

    def scores(
        self, prediction_hu: Float[Tensor, "1 1 d h w"], std_hu: Float[Tensor, "1 1 d h w"] | None = None
    ) -> dict[str, float]:
        """Every metric of docs/metrics.md for one prediction on the same field.

        Raises:
            ValueError: if the prediction has another shape or is not finite, or the truth shows no body.
        """
        _require_fit(prediction_hu, self.truth_hu)
        predicted, truth, body = _array(_compared(prediction_hu)), _array(self.truth_hu), self.body
        if not body.any():
            raise ValueError("truth_hu must show a body, got none; is it in HU?")
        similarity = ssim_map(predicted, truth, self.window_hu)
        scores = {
            "rmse_hu": rmse_hu(predicted, truth),
            "mae_hu": mae_hu(predicted, truth),
            "psnr_db": psnr_db(predicted, truth, self.window_hu),
            "ssim": mean_of_map(similarity),
            "body_rmse_hu": rmse_hu(predicted, truth, body),
            "body_mae_hu": mae_hu(predicted, truth, body),
            "body_psnr_db": psnr_db(predicted, truth, self.window_hu, body),
            "body_ssim": mean_of_map(similarity, body),
            **{
                f"{name}_film_error": film_error(_compared(prediction_hu), self.field, film)
                for name, film in self.films.items()
            },
            **anatomy_scores(chest_regions(predicted, self.field), self.regions),
        }
        return scores if std_hu is None else scores | self._uncertainty(predicted, truth, _array(std_hu))

    def _uncertainty(self, predicted: np.ndarray, truth: np.ndarray, std: np.ndarray) -> dict[str, float]:
        """Inside the body: air around it is certain, and would flatter."""
        measures = {"coverage_90": coverage_90, "error_correlation": error_correlation, "crps_hu": crps_hu}
        return {name: measure(predicted, std, truth, self.body) for name, measure in measures.items()}


def evaluate_pair(
    truth_hu: Float[Tensor, "1 1 d h w"],
    prediction_hu: Float[Tensor, "1 1 d h w"],
    field: VolumeGrid,
    *,
    std_hu: Float[Tensor, "1 1 d h w"] | None = None,
    window_hu: Window = USUAL_WINDOW_HU,
) -> dict[str, float]:
    """Every metric of docs/metrics.md for any two volumes on one grid; both are clipped to -1024 to 1500 HU first.

    Args:
        truth_hu: the true CT.
        prediction_hu: what is judged; a mean, if there is a deviation.
        field: where both lie, axes P, I, L.
        std_hu: the prediction's standard deviation; None leaves the metrics of uncertainty out.
        window_hu: of PSNR and SSIM; write it beside them.

    Raises:
        ValueError: for shapes, axes or a window that do not fit.

    Example:
        >>> import torch
        >>> field = VolumeGrid.chest((16, 16, 16), 20.0)
        >>> truth = torch.full((1, 1, 16, 16, 16), -1000.0)
        >>> truth[..., 4:12, 2:14, 3:13] = 40.0
        >>> scores = evaluate_pair(truth, truth + 10.0, field)
        >>> scores["rmse_hu"], scores["dice_body"], scores["dice_lung_left"]
        (10.0, 1.0, 0.0)
    """
    return TrueVolume(truth_hu, field, window_hu).scores(prediction_hu, std_hu)


def _compared(volume_hu: Tensor) -> Tensor:
    return volume_hu.detach().cpu().float().clamp(LOWEST_HU, HIGHEST_HU)


def _array(volume: Tensor) -> np.ndarray:
    return volume[0, 0].as_subclass(Tensor).detach().cpu().float().numpy()


def _require_fit(prediction_hu: Tensor, truth_hu: Tensor) -> None:
    if prediction_hu.shape != truth_hu.shape or not bool(prediction_hu.isfinite().all()):
        raise ValueError(
            f"prediction_hu must be finite and have the truth's shape {tuple(truth_hu.shape)}, got "
            f"{tuple(prediction_hu.shape)}; resample it to the truth's grid"
        )

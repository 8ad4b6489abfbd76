"""Edges of a predicted volume against the true ones."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

#: From air to water: a step of this many HU between two voxels counts as 1.
AIR_TO_WATER_HU = 1000.0


class GradientLoss(nn.Module):
    """Mean absolute difference between the forward differences of prediction and truth along the three axes.

    Args:
        unit: what the volumes are divided by, so that the loss is of order 0.1; 1000 for volumes in HU, 1 for normalised ones.

    Raises:
        ValueError: if the unit is not positive.
    """

    def __init__(self, unit: float = AIR_TO_WATER_HU) -> None:
        super().__init__()
        if not unit > 0.0:
            raise ValueError(f"unit must be positive, got {unit}; 1000 is the step from air to water in HU")
        self.unit = unit

    def per_sample(self, prediction: Float[Tensor, "b 1 d h w"], truth: Float[Tensor, "b 1 d h w"]) -> Float[Tensor, " b"]:
        """The loss of each sample.

        Args:
            prediction: volume in HU (or in ``unit``).
            truth: likewise; at least 2 voxels along every axis.
        """
        error = (prediction.float() - truth.float()) / self.unit
        steps = [error.diff(dim=axis).abs().mean(dim=(1, 2, 3, 4)) for axis in (2, 3, 4)]
        return (steps[0] + steps[1] + steps[2]) / 3.0

    def forward(self, prediction: Tensor, truth: Tensor) -> Tensor:
        """The mean over the batch, a scalar."""
        return self.per_sample(prediction, truth).mean()

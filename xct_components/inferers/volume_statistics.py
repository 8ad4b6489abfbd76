"""Mean and variance of volumes that are seen one after the other and not kept."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor


class VolumeStatistics:
    """Running mean and variance, voxel by voxel (Welford, Technometrics 1962;4:419)."""

    def __init__(self) -> None:
        self.count = 0
        self._mean: Tensor | None = None
        self._squares: Tensor | None = None

    def add(self, volume: Float[Tensor, "*shape"]) -> None:
        """See one more volume; the first one gives shape and device, and is kept itself until there is a second."""
        self.count += 1
        if self._mean is None:
            self._mean = volume
            return
        before = volume - self._mean
        if self._squares is None:
            self._mean = self._mean.add(before, alpha=1.0 / self.count)
            self._squares = before.mul_(volume - self._mean)
            return
        self._mean.add_(before, alpha=1.0 / self.count)
        self._squares.add_(before.mul_(volume - self._mean))

    @property
    def mean(self) -> Float[Tensor, "*shape"]:
        """Mean of what was seen.

        Raises:
            ValueError: if nothing was seen.
        """
        if self._mean is None:
            raise ValueError("statistics must have seen at least one volume, got none; call add first")
        return self._mean

    @property
    def variance(self) -> Float[Tensor, "*shape"] | None:
        """Variance (of a sample: divided by count - 1); None for fewer than two volumes."""
        if self._squares is None or self.count < 2:
            return None
        return self._squares / (self.count - 1)

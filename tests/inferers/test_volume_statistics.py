"""Running mean and variance."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from xct_components.inferers.volume_statistics import VolumeStatistics

# Sums of a few float32 numbers near 1 in another order.
ROUNDING = 1e-6


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_mean_and_variance_are_those_of_all_volumes_and_the_volumes_are_left_alone(count):
    volumes = torch.rand(count, 1, 1, 3, 4, 5, generator=torch.Generator().manual_seed(0)) + 1.0
    seen, statistics = volumes.clone(), VolumeStatistics()
    for volume in seen:
        statistics.add(volume)
    assert torch.equal(seen, volumes)
    np.testing.assert_allclose(statistics.mean, volumes.double().mean(0), atol=ROUNDING)
    if count == 1:
        assert statistics.variance is None
        return
    for _ in range(2):  # asking changes nothing
        assert statistics.variance is not None
        np.testing.assert_allclose(statistics.variance, volumes.double().var(0), atol=ROUNDING)


def test_statistics_of_nothing_are_refused():
    with pytest.raises(ValueError, match="at least one volume"):
        _ = VolumeStatistics().mean

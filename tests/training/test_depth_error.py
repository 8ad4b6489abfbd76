"""How far depth lifting is off, in millimetres, on distributions whose distance is known."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import wasserstein_distance
from torch import Tensor

from xct_components.training.depth_error import depth_error_mm

BINS, BIN_MM = 16, 20.0


def peak(place: int, weight: float = 1.0) -> Tensor:
    """One ray of one tissue with everything in one bin: (1, 1, 1, K, 1, 1)."""
    mass = torch.zeros(1, 1, 1, BINS, 1, 1)
    mass[:, :, :, place] = weight
    return mass


@pytest.mark.parametrize(("there", "here", "error_mm"), [(3, 3, 0.0), (3, 5, 40.0), (9, 2, 140.0)])
def test_a_peak_in_another_bin_is_as_wrong_as_it_is_far(there: int, here: int, error_mm: float) -> None:
    assert float(depth_error_mm(peak(here).log(), peak(there, 2.5), BIN_MM)) == pytest.approx(error_mm, abs=1e-4)


def test_it_is_the_earth_movers_distance_of_scipy() -> None:
    generator = torch.Generator().manual_seed(0)
    predicted, measured = torch.rand(2, 1, 1, 4, BINS, 1, 1, generator=generator)
    share = predicted / predicted.sum()
    bins = range(BINS)
    both = [one.sum(2).flatten().numpy() for one in (share, measured)]
    expected = wasserstein_distance(bins, bins, *both) * BIN_MM
    assert float(depth_error_mm(share.log(), measured, BIN_MM)) == pytest.approx(expected, rel=1e-5)


def test_rays_count_by_what_they_meet_and_air_does_not() -> None:
    """Three rays: 40 mm off with 3 units of attenuation, right with 1, and one through air."""
    right_and_wrong = torch.cat([peak(5), peak(3), peak(0)], dim=-1)
    measured = torch.cat([peak(3, 3.0), peak(3, 1.0), peak(0, 0.0)], dim=-1)
    assert float(depth_error_mm(right_and_wrong.log(), measured, BIN_MM)) == pytest.approx(30.0, abs=1e-4)

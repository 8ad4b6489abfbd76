"""Detail that displays add to films, and that calibration takes away again."""

from __future__ import annotations

import json
import math
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from xct_components.data.film.calibration import calibrated_film
from xct_components.data.film.detail import (
    BANDS_MM,
    DetailReference,
    band_strengths,
    detail_reference,
    detail_reference_of,
    tamed_detail,
)
from xct_components.data.film.reading import read_film
from xct_components.data.simulate.chest_exposure import FIELD_MM

FILMS = Path(__file__).parents[1] / "data" / "films"
SIZE = 256
EVERYWHERE = torch.ones((SIZE, SIZE), dtype=torch.bool)
AS_MEASURED = DetailReference((0.0, 0.0, 0.0), (9.0, 9.0, 9.0))  # leaves any film as it is


def wave(period_mm: float) -> Tensor:
    """A wave along the columns, amplitude 0.1, on line integrals that rise from row to row: the upper part is the darkest."""
    place_mm = (torch.arange(SIZE) + 0.5) / SIZE * FIELD_MM
    return slope() + 0.1 * torch.cos(2 * math.pi * place_mm / period_mm)


def slope() -> Tensor:
    """(SIZE, SIZE), 2 to 6 from top to bottom: no smoothing changes it, but at the edges."""
    return torch.linspace(2.0, 6.0, SIZE)[:, None].expand(SIZE, SIZE)


def kept_by_gaussian(period_mm: float, sigma_mm: float) -> float:
    """Of a wave's amplitude: the Fourier transform of a Gaussian."""
    return math.exp(-2.0 * (math.pi * sigma_mm / period_mm) ** 2)


@pytest.mark.parametrize("period_mm", [8.0, 20.0, 40.0])
def test_a_wave_is_in_the_bands_that_the_gaussians_transform_puts_it_in(period_mm: float) -> None:
    kept = [1.0, *(kept_by_gaussian(period_mm, sigma) for sigma in BANDS_MM)]
    expected = [0.1 * (finer - coarser) / math.sqrt(2) for finer, coarser in pairwise(kept)]
    # The box holds no whole number of periods: a twentieth of the wave.
    assert band_strengths(wave(period_mm), EVERYWHERE) == pytest.approx(expected, abs=0.05 * 0.1)


def test_a_film_with_no_more_detail_than_films_of_cts_is_left_as_it_is() -> None:
    film = wave(8.0)
    found, record = tamed_detail(film, EVERYWHERE, AS_MEASURED)
    assert torch.equal(found, film)
    assert record["gain"] == [1.0, 1.0, 1.0]


def test_detail_beyond_that_of_films_of_cts_is_brought_down_to_it_and_the_rest_stays() -> None:
    film = wave(6.0)
    strength = (band_strengths(film, EVERYWHERE) or [])[0]
    reference = DetailReference((math.log(strength / 2) - 0.1, 0.0, 0.0), (0.1, 9.0, 9.0))
    found, record = tamed_detail(film, EVERYWHERE, reference)
    assert record["gain"] == pytest.approx([0.5, 1.0, 1.0], abs=1e-4)
    finest = (1.0 - kept_by_gaussian(6.0, BANDS_MM[0])) * (film - slope())
    inside = slice(10, -10)  # the wave does not go on beyond the film
    torch.testing.assert_close(found[inside, inside], (film - 0.5 * finest)[inside, inside], rtol=0.0, atol=2e-3)


def test_a_film_whose_lungs_are_not_covered_is_left_as_it_is_and_says_so() -> None:
    covered = EVERYWHERE.clone()
    covered[:150] = False
    film = wave(6.0)
    found, record = tamed_detail(film, covered, DetailReference((-9.0,) * 3, (0.1,) * 3))
    assert torch.equal(found, film)
    assert "too little of the lungs" in record["note"]


def test_the_reference_of_patients_is_their_geometric_mean_and_one_standard_deviation_more() -> None:
    reference = detail_reference_of([(0.1, 0.2, 0.4), (0.4, 0.2, 0.1)])
    spread = math.log(4.0) / math.sqrt(2)
    assert reference.most == pytest.approx([0.2 * math.exp(spread), 0.2, 0.2 * math.exp(spread)])
    with pytest.raises(ValueError, match="must hold 3 bands"):
        DetailReference((0.0,), (1.0,))


def test_the_detail_of_a_real_film_falls_to_what_films_of_cts_have() -> None:
    film = calibrated_film(read_film(FILMS / "00000001_000.png"), SIZE, SIZE)
    detail = json.loads(json.dumps(film.record["response"]["detail"]))
    assert all(0.2 < gain < 1.0 for gain in detail["gain"])  # it is sharpened, as every real film that was measured
    left = band_strengths(film.line_integrals[0, 0, 0], film.covered[0, 0, 0]) or []
    # Scaling one band moves a little into its neighbours, and the darkest part of the box is then another.
    assert left == pytest.approx(brought_down(detail), rel=0.2)
    assert detail["most"] == pytest.approx(detail_reference("frontal").most, abs=1e-4)


def brought_down(detail: dict[str, list[float]]) -> list[float]:
    return [gain * strength for gain, strength in zip(detail["gain"], detail["strength"], strict=True)]


def test_the_same_film_on_finer_pixels_is_brought_down_alike() -> None:
    chest = read_film(FILMS / "00000001_000.png")
    coarse, fine = (calibrated_film(chest, size, size).line_integrals for size in (256, 512))
    averaged = F.avg_pool2d(fine[0], 2)[None]
    # 0.6 mm pixels show detail that 1.25 mm pixels average away, which counts in the finest band.
    assert float((averaged - coarse).norm() / coarse.norm()) < 0.01

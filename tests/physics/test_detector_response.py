"""Blur and quanta, against sums over pixels and the statistics of counting."""

import math

import pytest
import torch

from xct_components.physics.detector_response import detector_blur, gaussian_overlap, pixel_photons, quantum_noise

FLOAT64 = 1e-12
#: Standard errors within which a seeded statistic must fall; chance exceeds it once in 1.7 million draws.
STANDARD_ERRORS = 5.0
PHOTONS = 400.0
PIXELS = (256, 256)
CPU = torch.device("cpu")


def noise_of(intensity, seed=0, photons=PHOTONS):
    film = torch.full(PIXELS, intensity, dtype=torch.float64)
    return quantum_noise(film, photons, torch.Generator().manual_seed(seed)) - intensity


def test_the_overlap_is_the_integral_of_the_gaussian_over_each_pixel():
    overlap = gaussian_overlap(7, 0.3, 0.5, torch.float64, CPU)
    for i in range(7):
        for j in range(7):
            low, high = (((i - j + side) * 0.3) / (0.5 * math.sqrt(2.0)) for side in (-0.5, 0.5))
            assert overlap[i, j].item() == pytest.approx((math.erf(high) - math.erf(low)) / 2.0, rel=FLOAT64)


def test_a_uniform_film_stays_uniform_up_to_its_edge():
    film = torch.full((9, 5), 0.7, dtype=torch.float64)
    torch.testing.assert_close(detector_blur(film, (0.2, 0.4), 0.5), film, rtol=FLOAT64, atol=0.0)


def test_a_point_spreads_by_sigma_in_mm_whatever_the_pixels():
    film = torch.zeros(161, 161, dtype=torch.float64)
    film[80, 80] = 1.0
    pixel_mm, sigma_mm = (0.1, 0.2), 0.6
    spot = detector_blur(film, pixel_mm, sigma_mm)
    assert spot.sum().item() == pytest.approx(1.0, rel=FLOAT64)  # the edges are 13 sigma away
    for axis, pitch_mm in enumerate(pixel_mm):
        offset_mm = (torch.arange(161, dtype=torch.float64) - 80) * pitch_mm
        variance_mm2 = (spot.sum(dim=1 - axis) * offset_mm**2).sum().item()
        # Sheppard: reading a Gaussian with pixels adds the variance of one pixel.
        assert variance_mm2 == pytest.approx(sigma_mm**2 + pitch_mm**2 / 12.0, rel=1e-6)


def test_half_of_the_contrast_is_left_at_the_frequency_the_docstring_names():
    sigma_mm, pitch_mm = 0.15, 0.02
    across_mm = torch.arange(400, dtype=torch.float64) * pitch_mm
    frequency = 0.187 / sigma_mm
    grating = torch.sin(2.0 * math.pi * frequency * across_mm).expand(3, -1)
    middle = slice(100, 300)  # 13 sigma from the edges
    left = detector_blur(grating, (pitch_mm, pitch_mm), sigma_mm)[1, middle].std() / grating[1, middle].std()
    assert left.item() == pytest.approx(0.5, rel=0.01)  # 0.187 is rounded; the pixel itself takes 0.1 %


def test_a_vanishing_sigma_leaves_the_film_alone():
    film = torch.rand(6, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(detector_blur(film, (0.2, 0.2), 1e-6), film, rtol=FLOAT64, atol=0.0)


@pytest.mark.parametrize("intensity", [1.0, 0.2])
def test_the_noise_has_the_mean_and_variance_of_counting(intensity):
    noise = noise_of(intensity)
    variance = intensity / PHOTONS
    assert abs(noise.mean().item()) < STANDARD_ERRORS * math.sqrt(variance / noise.numel())
    assert noise.var().item() == pytest.approx(variance, rel=STANDARD_ERRORS * math.sqrt(2.0 / noise.numel()))


def test_four_times_the_photons_halve_the_noise():
    torch.testing.assert_close(noise_of(0.5, photons=4.0 * PHOTONS), noise_of(0.5) / 2.0, rtol=1e-9, atol=1e-12)


def test_the_same_seed_gives_the_same_noise_and_another_seed_another():
    assert torch.equal(noise_of(0.5, seed=3), noise_of(0.5, seed=3))
    difference = noise_of(0.5, seed=3) - noise_of(0.5, seed=4)
    # Independent noises: the difference has twice the variance.
    expected = 2.0 * 0.5 / PHOTONS
    assert difference.var().item() == pytest.approx(expected, rel=STANDARD_ERRORS * math.sqrt(2.0 / difference.numel()))


def test_blur_correlates_neighbouring_pixels_and_takes_noise_away():
    pitch_mm, sigma_mm = 0.1, 0.15
    white = noise_of(0.5)
    blurred = detector_blur(white, (pitch_mm, pitch_mm), sigma_mm)[20:-20, 20:-20]
    overlap = gaussian_overlap(41, pitch_mm, sigma_mm, torch.float64, CPU)[20]
    kept = (overlap**2).sum().item()
    neighbour = (overlap[1:] * overlap[:-1]).sum().item() / kept
    # Correlated pixels count for fewer independent ones: the sum of squared correlations is sigma sqrt(2 pi) / pitch per axis.
    independent = blurred.numel() / (2.0 * math.pi * (sigma_mm / pitch_mm) ** 2)
    tolerance = STANDARD_ERRORS * math.sqrt(2.0 / independent)
    assert blurred.var().item() == pytest.approx(0.5 / PHOTONS * kept**2, rel=tolerance)
    correlation = (blurred[:, 1:] * blurred[:, :-1]).mean().item() / blurred.var().item()
    assert correlation == pytest.approx(neighbour, abs=tolerance)


def test_a_pixel_without_quanta_keeps_a_finite_gradient():
    film = torch.tensor([[0.0, 1e-9, 0.5]], requires_grad=True)
    quantum_noise(film, 100.0, torch.Generator().manual_seed(0)).sum().backward()
    assert film.grad is not None
    assert bool(torch.isfinite(film.grad).all())


def test_gradients_pass_noise_and_blur():
    film = torch.rand(2, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2)).add(0.1).requires_grad_()

    def detect(intensity):
        noisy = quantum_noise(intensity, 50.0, torch.Generator().manual_seed(5))
        return detector_blur(noisy, (0.2, 0.3), 0.25)

    assert torch.autograd.gradcheck(detect, film)


def test_a_pixel_counts_the_photons_of_its_area():
    assert pixel_photons(1e6, (0.2, 0.5)) == pytest.approx(1e5)

"""Samplers on posteriors whose answer is known: the spread and the mean they keep, their order, and what one step is.

With a Gaussian posterior every sampler is affine in the noise, so its mean and covariance are computed exactly from a basis:
no tolerance here is statistical.
"""

import math

import pytest
import torch

from tests.oracles.gaussian_denoiser import GaussianPosterior, mean_and_covariance, one_dimensional
from xct_components.diffusion import sampler
from xct_components.diffusion.sampler import ddim, dpm_solver_pp_2m, leave_pure_noise, sampling_times

FLOAT64 = 1e-12  # a handful of roundings of numbers near 1
ROUNDED = 1e-9  # many of them, times a width
CORRELATION_BAR = 0.06  # 0.053 found in four steps, which widen wide modes and narrow narrow ones, 0.009 in eight
SHARE_BAR = 0.02  # of all samples on one side: 0.310 for 0.3 found in four steps, 0.302 in eight
STD_BAR = 0.05  # of the true standard deviation: the bar of the project
MEAN_BAR = 0.01  # of the true standard deviation, likewise
SAMPLERS = [ddim, dpm_solver_pp_2m]
TABLE_STEPS = (2, 3, 4, 6, 8, 16)
TABLE_STDS = (4.0, 2.0, 1.0, 0.7, 0.5, 0.3)


def std_kept(sample, steps, std, mean=0.0, residual_std=1.0):
    """Sampled standard deviation over the true one."""
    posterior, times = one_dimensional(mean, std), sampling_times(steps, residual_std=residual_std)
    _, covariance = mean_and_covariance(lambda noise: sample(posterior, noise, times, residual_std=residual_std), 1)
    return math.sqrt(covariance.item()) / std


def correlated(size=6, correlation=0.4):
    """Neighbours correlate; every voxel has variance 1 and a mean up to 2, the modes standard deviations 0.67 to 1.43."""
    place = torch.arange(size, dtype=torch.float64)
    return GaussianPosterior(2.0 * torch.cos(place), correlation ** (place[:, None] - place).abs())


def two_sided(noisy, time):
    """E[x | z] of 0.3 N(-1.4, 0.4^2) + 0.7 N(0.6, 0.4^2): mean 0, standard deviation 1."""
    share, center, variance = torch.tensor([0.3, 0.7]).double(), torch.tensor([-1.4, 0.6]).double(), 0.16
    alpha, sigma = (wave(math.pi / 2 * time)[:, None] for wave in (torch.cos, torch.sin))
    spread = alpha**2 * variance + sigma**2
    chance = torch.softmax(torch.log(share) - (noisy - alpha * center) ** 2 / (2 * spread), dim=1)
    return (chance * (center + alpha * variance / spread * (noisy - alpha * center))).sum(1, keepdim=True)


def table_row(steps):
    blocks = ("  ".join(f"{std_kept(sample, steps, std):.2f}" for std in TABLE_STDS) for sample in (dpm_solver_pp_2m, ddim))
    return f"{steps:>5}   " + "     ".join(blocks)


@pytest.mark.parametrize("steps", [4, 8])
def test_a_normalised_residual_keeps_its_standard_deviation_in_four_and_eight_steps(steps):
    assert std_kept(dpm_solver_pp_2m, steps, 1.0) == pytest.approx(1.0, abs=STD_BAR)


@pytest.mark.parametrize("steps", [4, 8])
@pytest.mark.parametrize("std", [0.7, 1.2])
def test_so_does_a_residual_that_is_a_third_narrower_or_a_fifth_wider_than_expected(steps, std):
    assert std_kept(dpm_solver_pp_2m, steps, std) == pytest.approx(1.0, abs=STD_BAR)


@pytest.mark.parametrize("std", [0.5, 1.0, 2.0, 4.0])
def test_eight_steps_are_enough_from_half_to_four_times_the_expected_width(std):
    assert std_kept(dpm_solver_pp_2m, 8, std) == pytest.approx(1.0, abs=STD_BAR)


@pytest.mark.parametrize("sample", SAMPLERS)
@pytest.mark.parametrize("steps", TABLE_STEPS)
@pytest.mark.parametrize("std", [0.1, 1.0, 4.0])
def test_the_mean_is_kept_exactly_however_far_it_lies_from_zero(sample, steps, std):
    for mean in (-2.0, 0.5, 2.0):
        posterior = one_dimensional(mean, std)
        sampled, _ = mean_and_covariance(lambda noise: sample(posterior, noise, sampling_times(steps)), 1)  # noqa: B023
        assert sampled.item() == pytest.approx(mean, rel=FLOAT64)


@pytest.mark.parametrize("steps", [4, 8])
def test_correlated_voxels_keep_their_means_variances_and_correlations(steps):
    truth = correlated()
    mean, covariance = mean_and_covariance(lambda noise: dpm_solver_pp_2m(truth, noise, sampling_times(steps)), len(truth.mean))
    torch.testing.assert_close(mean, truth.mean, rtol=0.0, atol=FLOAT64)
    std = covariance.diagonal().sqrt()
    torch.testing.assert_close(std, torch.ones_like(std), rtol=0.0, atol=STD_BAR)
    torch.testing.assert_close(covariance / torch.outer(std, std), truth.covariance, rtol=0.0, atol=CORRELATION_BAR)


@pytest.mark.parametrize("steps", [4, 8])
def test_a_posterior_with_two_sides_keeps_both_in_their_shares(steps):
    # Evenly spaced quantiles of the noise stand for all noise: the means below are integrals, not estimates.
    quantiles = (torch.arange(4001, dtype=torch.float64) + 0.5) / 4001
    samples = dpm_solver_pp_2m(two_sided, math.sqrt(2.0) * torch.erfinv(2.0 * quantiles - 1.0)[:, None], sampling_times(steps))
    assert samples.mean().item() == pytest.approx(0.0, abs=MEAN_BAR)
    assert samples.std().item() == pytest.approx(1.0, abs=STD_BAR)
    assert (samples < -0.4).double().mean().item() == pytest.approx(0.3, abs=SHARE_BAR)


def test_the_table_of_the_module_is_what_the_samplers_do():
    for steps in TABLE_STEPS:
        assert table_row(steps) in sampler.__doc__


def test_four_uniform_steps_of_plain_ddim_keep_what_the_module_says():
    posterior, times = one_dimensional(0.0, 1.0), torch.tensor([1.0, 0.75, 0.5, 0.25], dtype=torch.float64)
    plain = 1e-9  # width with which leaving pure noise is DDIM's own step
    _, variance = mean_and_covariance(lambda noise: ddim(posterior, noise, times, residual_std=plain), 1)
    assert f"keeps {variance.sqrt().item():.2f} of" in sampler.__doc__


@pytest.mark.parametrize("width", [0.2, 5.0])
@pytest.mark.parametrize("sample", SAMPLERS)
def test_a_known_width_moves_the_whole_table_with_it(sample, width):
    for steps in TABLE_STEPS:
        for std in TABLE_STDS:
            kept = std_kept(sample, steps, width * std, residual_std=width)
            assert kept == pytest.approx(std_kept(sample, steps, std), rel=ROUNDED)


def test_an_unknown_width_costs_a_tenth_of_the_spread_and_more():
    assert std_kept(dpm_solver_pp_2m, 4, 0.2) < 0.7
    assert std_kept(dpm_solver_pp_2m, 4, 5.0) < 0.9


@pytest.mark.parametrize("sample", SAMPLERS)
def test_one_step_is_the_prediction_from_pure_noise_and_nothing_else(sample):
    noise = torch.randn(2, 1, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    asked = []

    def denoise(noisy, time):
        asked.append((noisy, time))
        return noisy.flip(-1) * 3.0 + time.view(-1, 1, 1, 1, 1)

    assert torch.equal(sample(denoise, noise, sampling_times(1)), noise.flip(-1) * 3.0 + 1.0)
    ((noisy, time),) = asked
    assert torch.equal(noisy, noise)
    assert torch.equal(time, torch.ones(2))


@pytest.mark.parametrize("sample", SAMPLERS)
@pytest.mark.parametrize("steps", [1, 2, 3, 4, 8])
def test_the_network_is_asked_once_per_time_and_the_steps_are_reported(sample, steps):
    asked, reported = [], []

    def denoise(noisy, time):
        asked.append(time[0].item())
        return 0.5 * noisy

    sample(denoise, torch.ones(1, 2, dtype=torch.float64), sampling_times(steps), on_step=lambda *done: reported.append(done))
    assert asked == sampling_times(steps).tolist()
    assert reported == [(step + 1, steps) for step in range(steps)]


@pytest.mark.parametrize(("sample", "order"), [(ddim, 1), (dpm_solver_pp_2m, 2)])
def test_the_error_falls_with_the_order_of_the_sampler(sample, order):
    posterior, start, end = correlated(), 0.9, 0.1
    noisy = torch.randn(3, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    exact = posterior(posterior.flow(noisy, start, end), torch.full((3,), end, dtype=torch.float64))

    def error(steps):
        first, last = (math.log(math.tan(math.pi / 2 * t)) for t in (start, end))
        times = torch.atan(torch.exp(torch.linspace(first, last, steps, dtype=torch.float64))) / (math.pi / 2)
        return (sample(posterior, noisy, times) - exact).abs().max().item()

    # 1.88 and 3.84 found: the next order of the error is still 6 and 4 % of it at 40 intervals
    assert error(41) / error(81) == pytest.approx(2.0**order, rel=0.1)


def test_an_inner_step_is_the_published_two_step_formula():
    # Lu et al. 2022, algorithm 2: D = (1 + 1/(2r)) x1 - 1/(2r) x0, z2 = s2/s1 z1 - a2 (exp(-h) - 1) D, r = h_before / h
    posterior, times = correlated(), torch.tensor([0.8, 0.55, 0.2], dtype=torch.float64)
    z0 = torch.randn(2, 6, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    alpha, sigma = torch.cos(math.pi / 2 * times), torch.sin(math.pi / 2 * times)
    h0, h1 = torch.log(alpha / sigma).diff()
    x0 = posterior(z0, times[:1].expand(2))
    z1 = sigma[1] / sigma[0] * z0 - alpha[1] * (torch.exp(-h0) - 1.0) * x0
    x1 = posterior(z1, times[1:2].expand(2))
    r = h0 / h1
    z2 = sigma[2] / sigma[1] * z1 - alpha[2] * (torch.exp(-h1) - 1.0) * ((1 + 1 / (2 * r)) * x1 - x0 / (2 * r))
    expected = posterior(z2, times[2:].expand(2))
    torch.testing.assert_close(dpm_solver_pp_2m(posterior, z0, times), expected, rtol=0.0, atol=FLOAT64)


@pytest.mark.parametrize("times", [[1.0, 0.9, 0.3], [1.0, 0.7, 0.05], [1.0, 0.5, 0.4]])
@pytest.mark.parametrize("std", [0.3, 1.0, 4.0])
def test_the_step_after_the_start_is_exact_for_a_posterior_of_the_expected_width(times, std):
    posterior, noise = one_dimensional(1.5, std), torch.tensor([[-1.0], [0.3], [2.0]], dtype=torch.float64)
    exact = posterior(posterior.flow(noise, 1.0, times[-1]), torch.full((3,), times[-1], dtype=torch.float64))
    sampled = dpm_solver_pp_2m(posterior, noise, torch.tensor(times, dtype=torch.float64), residual_std=std)
    torch.testing.assert_close(sampled, exact, rtol=0.0, atol=ROUNDED)


def test_leaving_pure_noise_gives_the_noisy_volume_the_variance_it_has():
    mean, noise = torch.full((4,), 2.0, dtype=torch.float64), torch.eye(4, dtype=torch.float64)[0]
    started = leave_pure_noise(mean, noise, 0.6, residual_std=0.5)
    alpha, sigma = math.cos(0.3 * math.pi), math.sin(0.3 * math.pi)
    expected = 2.0 * alpha + math.sqrt(sigma**2 + (0.5 * alpha) ** 2) * noise
    torch.testing.assert_close(started, expected, rtol=0.0, atol=FLOAT64)


@pytest.mark.parametrize("sample", SAMPLERS)
def test_the_cases_of_a_batch_do_not_see_each_other_and_keep_their_precision(sample):
    noise = torch.randn(3, 1, 2, 2, 2, generator=torch.Generator().manual_seed(2))

    def denoise(noisy, time):
        assert time.shape == (len(noisy),)
        return torch.tanh(noisy) * time.view(-1, 1, 1, 1, 1)

    together = sample(denoise, noise, sampling_times(4))
    alone = torch.cat([sample(denoise, case[None], sampling_times(4)) for case in noise])
    assert together.dtype == torch.float32
    assert torch.equal(together, alone)


def test_the_times_fall_from_one_evenly_in_log_snr():
    for steps in range(1, 20):
        times = sampling_times(steps)
        assert times[0] == 1.0
        assert len(times) == steps
        ratios = torch.tan(math.pi / 2 * times[1:])
        assert (ratios.diff() < 0.0).all()
        if steps > 3:
            gaps = ratios.log().diff()
            torch.testing.assert_close(gaps, gaps[:1].expand(len(gaps)), rtol=1e-10, atol=0.0)  # logarithms of tangents


@pytest.mark.parametrize("times", [[], [0.5, 0.5], [0.3, 0.6], [1.2, 0.5], [0.5, 0.0], [math.nan]])
@pytest.mark.parametrize("sample", SAMPLERS)
def test_times_that_do_not_decrease_towards_clean_are_refused(sample, times):
    with pytest.raises(ValueError, match=r"times must decrease within \(0, 1\]"):
        sample(one_dimensional(0.0, 1.0), torch.zeros(1, 1, dtype=torch.float64), torch.tensor(times, dtype=torch.float64))


def test_widths_and_steps_that_mean_nothing_are_refused():
    with pytest.raises(ValueError, match="steps must be at least 1, got 0"):
        sampling_times(0)
    with pytest.raises(ValueError, match=r"residual_std must be positive and finite, got 0\.0"):
        sampling_times(4, residual_std=0.0)
    with pytest.raises(ValueError, match=r"residual_std must be positive and finite, got -1\.0"):
        ddim(one_dimensional(0.0, 1.0), torch.zeros(1, 1, dtype=torch.float64), sampling_times(2), residual_std=-1.0)

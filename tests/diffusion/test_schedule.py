"""The cosine schedule: exact ends, conversions that undo each other, weights that give one loss, times that cover all."""

import math

import pytest
import torch

from xct_components.diffusion.schedule import (
    SIGMA_FLOOR,
    clean_from_velocity,
    clean_weight,
    draw_times,
    log_snr,
    noise_from_clean,
    noised,
    signal_and_noise,
    time_of_log_snr,
    velocity,
    velocity_from_clean,
    velocity_weight,
)

FLOAT64 = 1e-12  # a handful of roundings of numbers near 1
FLOAT32 = 1e-6


def volumes(count=5, dtype=torch.float64):
    return torch.randn(3, count, 1, 2, 3, 4, generator=torch.Generator().manual_seed(3), dtype=dtype)


def times_above_the_floor(count=5):
    return torch.linspace(0.04, 1.0, count, dtype=torch.float64)  # sigma(0.04) = 0.063


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_ends_are_exactly_clean_and_exactly_noise_in_every_precision(dtype):
    alpha, sigma = signal_and_noise(torch.tensor([0.0, 1.0], dtype=dtype))
    assert alpha[1] == 0.0
    assert sigma[0] == 0.0
    tolerance = torch.finfo(dtype).eps  # the sine of a rounded pi / 2
    torch.testing.assert_close(torch.stack([alpha[0], sigma[1]]), torch.ones(2, dtype=dtype), rtol=tolerance, atol=0.0)


def test_the_ends_are_exactly_one_where_it_matters():
    for dtype in (torch.float32, torch.float64):
        alpha, sigma = signal_and_noise(torch.tensor([0.0, 1.0], dtype=dtype))
        assert (alpha[0], sigma[1]) == (1.0, 1.0)
    assert [part.item() for part in signal_and_noise(1.0)] == [0.0, 1.0]


def test_the_variance_is_preserved_and_the_signal_is_a_cosine():
    time = torch.linspace(0.0, 1.0, 12, dtype=torch.float64).reshape(3, 4)
    alpha, sigma = signal_and_noise(time)
    torch.testing.assert_close(alpha**2 + sigma**2, torch.ones_like(time), rtol=FLOAT64, atol=0.0)
    torch.testing.assert_close(alpha, torch.cos(math.pi * time / 2), rtol=0.0, atol=FLOAT64)


def test_log_snr_is_zero_half_way_and_infinite_at_the_ends():
    assert log_snr(0.5).item() == pytest.approx(0.0, abs=FLOAT64)
    assert [log_snr(end).item() for end in (0.0, 1.0)] == [math.inf, -math.inf]
    assert log_snr(0.2).item() == pytest.approx(-2.0 * math.log(math.tan(0.1 * math.pi)), rel=FLOAT64)


def test_the_time_of_a_log_snr_undoes_it_up_to_the_very_ends():
    time = torch.linspace(0.0, 1.0, 21, dtype=torch.float64)
    found = time_of_log_snr(log_snr(time))
    torch.testing.assert_close(found, time, rtol=0.0, atol=FLOAT64)
    assert (found[0], found[-1]) == (0.0, 1.0)
    assert time_of_log_snr(0.0).item() == pytest.approx(0.5, rel=FLOAT64)


def test_every_case_of_a_batch_is_noised_at_its_own_time():
    clean, noise, _ = volumes()
    time = torch.linspace(0.0, 1.0, 5, dtype=torch.float64)
    noisy = noised(clean, noise, time)
    torch.testing.assert_close(noisy[0], clean[0], rtol=0.0, atol=0.0)
    torch.testing.assert_close(noisy[-1], noise[-1], rtol=0.0, atol=0.0)
    for case, t in enumerate(time.tolist()):
        expected = math.cos(math.pi * t / 2) * clean[case] + math.sin(math.pi * t / 2) * noise[case]
        torch.testing.assert_close(noisy[case], expected, rtol=0.0, atol=FLOAT64)


def test_the_velocity_is_the_derivative_of_the_noisy_volume_along_the_angle():
    clean, noise, _ = volumes()
    time, angle = times_above_the_floor(), 1e-4
    ahead, behind = (noised(clean, noise, time + side * angle / (math.pi / 2)) for side in (1.0, -1.0))
    tolerance = 1e-8  # angle^2 / 6 of the third derivative, which is below 4 here
    torch.testing.assert_close(velocity(clean, noise, time), (ahead - behind) / (2 * angle), rtol=0.0, atol=tolerance)


def test_the_true_clean_volume_gives_the_true_velocity_and_noise_and_back():
    clean, noise, _ = volumes()
    time = times_above_the_floor()
    noisy = noised(clean, noise, time)
    rounding = FLOAT64 / SIGMA_FLOOR  # divided by sigma
    torch.testing.assert_close(velocity_from_clean(noisy, clean, time), velocity(clean, noise, time), rtol=0.0, atol=rounding)
    torch.testing.assert_close(noise_from_clean(noisy, clean, time), noise, rtol=0.0, atol=rounding)
    torch.testing.assert_close(clean_from_velocity(noisy, velocity(clean, noise, time), time), clean, rtol=0.0, atol=FLOAT64)


def test_a_nearly_clean_time_does_not_blow_up_the_velocity_of_a_wrong_prediction():
    clean, noise, error = volumes()
    time = torch.full((5,), 1e-6, dtype=torch.float64)
    noisy = noised(clean, noise, time)
    at_truth, off = velocity_from_clean(noisy, clean, time), velocity_from_clean(noisy, clean + error, time)
    torch.testing.assert_close(at_truth - off, error / SIGMA_FLOOR, rtol=FLOAT64, atol=FLOAT64)
    assert velocity_from_clean(noisy, clean, torch.zeros(5, dtype=torch.float64)).isfinite().all()


def test_the_volume_decides_the_precision_and_not_the_time():
    clean, noise, _ = volumes(dtype=torch.float32)
    time = times_above_the_floor()
    for function in (noised, velocity, velocity_from_clean, clean_from_velocity, noise_from_clean):
        assert function(clean, noise, time).dtype == torch.float32


def test_the_weights_on_the_clean_volume_and_on_the_velocity_give_one_loss():
    clean, noise, error = volumes()
    time = times_above_the_floor()
    noisy = noised(clean, noise, time)
    prediction = clean + error
    on_clean = clean_weight(time) * (prediction - clean).square().flatten(1).mean(1)
    difference = velocity_from_clean(noisy, prediction, time) - velocity(clean, noise, time)
    on_velocity = velocity_weight(time) * difference.square().flatten(1).mean(1)
    torch.testing.assert_close(on_velocity, on_clean, rtol=FLOAT64 / SIGMA_FLOOR**2, atol=0.0)


def test_the_velocity_weight_without_a_floor_is_min_snr_over_snr_plus_one():
    time = torch.linspace(0.01, 0.99, 50, dtype=torch.float64)
    snr = torch.exp(log_snr(time))
    expected = torch.minimum(snr, torch.tensor(5.0, dtype=torch.float64)) / (snr + 1.0)
    torch.testing.assert_close(velocity_weight(time, floor=0.0), expected, rtol=1e-10, atol=0.0)  # e^log


def test_the_weight_stays_between_its_floor_and_its_ceiling():
    assert [clean_weight(t).item() for t in (0.0, 0.1, 0.6, 1.0)] == [5.0, 5.0, 1.0, 1.0]
    assert clean_weight(0.4).item() == pytest.approx(1.0 / math.tan(0.2 * math.pi) ** 2, rel=FLOAT64)
    weight = clean_weight(torch.linspace(0.0, 1.0, 101))
    assert (weight.diff() <= 0.0).all()


def test_the_conditional_mean_is_trained_though_plain_min_snr_would_give_it_no_weight():
    assert velocity_weight(1.0).item() == 1.0
    assert velocity_weight(1.0, floor=0.0).item() == 0.0


@pytest.mark.parametrize(("ceiling", "floor"), [(1.0, 2.0), (5.0, -1.0)])
def test_weights_that_cross_are_refused(ceiling, floor):
    with pytest.raises(ValueError, match=r"floor must lie in \[0, ceiling\]"):
        clean_weight(0.5, ceiling, floor)


@pytest.mark.parametrize("share", [0.0, 0.25, 0.6, 1.0])
def test_a_batch_covers_all_times_evenly_and_holds_its_share_of_pure_noise(share):
    count = 40
    for seed in range(20):
        time = draw_times(count, torch.Generator().manual_seed(seed), pure_noise_share=share)
        assert time.dtype == torch.float32
        assert time.shape == (count,)
        assert ((time > 0.0) & (time <= 1.0)).all()
        assert abs((time == 1.0).sum().item() - share * count) <= 1  # evenly spaced: off by one case at most
        gaps = time[time < 1.0].sort().values.diff()
        if len(gaps):
            spacing = torch.full_like(gaps, 1.0 / count / (1.0 - share))
            torch.testing.assert_close(gaps, spacing, rtol=0.0, atol=10 * FLOAT32)


def test_a_case_alone_sees_uniform_times_from_one_draw_to_the_next():
    generator = torch.Generator().manual_seed(0)
    draws = torch.stack([draw_times(3, generator, pure_noise_share=0.0) for _ in range(2000)])
    deciles = torch.histc(draws[:, 1], bins=10, min=0.0, max=1.0)
    assert (deciles - 200.0).abs().max() < 5 * math.sqrt(2000 * 0.1 * 0.9)  # five standard deviations of a bin's count


def test_the_same_generator_state_gives_the_same_times():
    first, second = (draw_times(7, torch.Generator().manual_seed(11)) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, draw_times(7, torch.Generator().manual_seed(12)))


def test_times_for_nobody_or_a_share_above_one_are_refused():
    with pytest.raises(ValueError, match="count must be at least 1, got 0"):
        draw_times(0, torch.Generator())
    with pytest.raises(ValueError, match=r"pure_noise_share must lie in \[0, 1\], got 1.5"):
        draw_times(4, torch.Generator(), pure_noise_share=1.5)

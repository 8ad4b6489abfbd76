"""The cosine schedule in continuous time, what a network may predict on it, and how its error is weighed.

At time t in [0, 1] a clean volume x is seen as z = alpha x + sigma e with white noise e of variance 1,

    alpha = cos(pi t / 2),  sigma = sin(pi t / 2),  alpha^2 + sigma^2 = 1  (variance preserving),

from t = 0 (clean) to t = 1 (noise alone, exactly: Lin et al. 2024, "Common diffusion noise schedules and sample steps are
flawed", show what a remainder of signal at the last time costs). The velocity v = alpha e - sigma x (Salimans & Ho 2022) is
the derivative of z along the angle pi t / 2. ``x`` should have a standard deviation near 1, or the schedule is shifted.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

#: sigma is not taken below this where it divides: closer to clean, an error of the clean volume says nothing about the noise.
SIGMA_FLOOR = 0.05

#: Share of training cases at exactly t = 1. There the network learns the conditional mean: the one-step result, and the point
#: from which the samplers start.
PURE_NOISE_SHARE = 0.25


def signal_and_noise(time: Float[Tensor, "*shape"] | float) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "*shape"]]:
    """(alpha, sigma) at times in [0, 1]; exactly (1, 0) at 0 and (0, 1) at 1. A number gives 0-d float64."""
    t = _as_tensor(time)
    # The cosine as the sine of the complement: cos(pi / 2) in floating point is not 0.
    return torch.sin(math.pi / 2 * (1.0 - t)), torch.sin(math.pi / 2 * t)


def log_snr(time: Float[Tensor, "*shape"] | float) -> Float[Tensor, "*shape"]:
    """ln(alpha^2 / sigma^2): +inf at 0, 0 at 1/2, -inf at 1."""
    alpha, sigma = signal_and_noise(time)
    return 2.0 * (torch.log(alpha) - torch.log(sigma))


def time_of_log_snr(log_snr: Float[Tensor, "*shape"] | float) -> Float[Tensor, "*shape"]:
    """The time in [0, 1] at which ln(alpha^2 / sigma^2) has a value; inverse of ``log_snr``."""
    return torch.atan(torch.exp(-0.5 * _as_tensor(log_snr))) / (math.pi / 2)


def noised(
    clean: Float[Tensor, " b *volume"], noise: Float[Tensor, " b *volume"], time: Float[Tensor, " b"]
) -> Float[Tensor, " b *volume"]:
    """The noisy volume alpha clean + sigma noise, every case of the batch at its own time."""
    alpha, sigma = _coefficients(time, clean)
    return alpha * clean + sigma * noise


def velocity(
    clean: Float[Tensor, " b *volume"], noise: Float[Tensor, " b *volume"], time: Float[Tensor, " b"]
) -> Float[Tensor, " b *volume"]:
    """The velocity alpha noise - sigma clean (Salimans & Ho 2022, appendix D)."""
    alpha, sigma = _coefficients(time, clean)
    return alpha * noise - sigma * clean


def velocity_from_clean(
    noisy: Float[Tensor, " b *volume"],
    clean_prediction: Float[Tensor, " b *volume"],
    time: Float[Tensor, " b"],
    floor: float = SIGMA_FLOOR,
) -> Float[Tensor, " b *volume"]:
    """The velocity that a prediction of the clean volume implies, (alpha z - x) / sigma; sigma at least ``floor``."""
    alpha, sigma = _coefficients(time, noisy)
    return (alpha * noisy - clean_prediction) / sigma.clamp_min(floor)


def clean_from_velocity(
    noisy: Float[Tensor, " b *volume"], velocity_prediction: Float[Tensor, " b *volume"], time: Float[Tensor, " b"]
) -> Float[Tensor, " b *volume"]:
    """The clean volume that a velocity implies, alpha z - sigma v; undoes ``velocity_from_clean`` where sigma >= its floor."""
    alpha, sigma = _coefficients(time, noisy)
    return alpha * noisy - sigma * velocity_prediction


def noise_from_clean(
    noisy: Float[Tensor, " b *volume"],
    clean_prediction: Float[Tensor, " b *volume"],
    time: Float[Tensor, " b"],
    floor: float = SIGMA_FLOOR,
) -> Float[Tensor, " b *volume"]:
    """The noise that a prediction of the clean volume implies, (z - alpha x) / sigma; sigma at least ``floor``."""
    alpha, sigma = _coefficients(time, noisy)
    return (noisy - alpha * clean_prediction) / sigma.clamp_min(floor)


def clean_weight(time: Float[Tensor, "*shape"] | float, ceiling: float = 5.0, floor: float = 1.0) -> Float[Tensor, "*shape"]:
    """Weight on |x_hat - x|^2 at a time: the signal-to-noise ratio alpha^2 / sigma^2 held between ``floor`` and ``ceiling``.

    The plain loss on the noise is the ratio SNR times the loss on x. It drowns the rest in the nearly clean times, so
    min-SNR-5 (Hang et al. 2023) cuts the weight at 5; but at t = 1 the weight is then 0, and the prediction there, our
    conditional mean, would be trained by nothing. Truncated SNR (Salimans & Ho 2022) keeps it at 1 or more. This is both.

    Args:
        time: in [0, 1].
        ceiling: the gamma of min-SNR; reached for t < 0.27 when 5.
        floor: 0 gives plain min-SNR; reached for t > 0.5 when 1.

    Raises:
        ValueError: unless 0 <= floor <= ceiling.
    """
    if not 0.0 <= floor <= ceiling:
        raise ValueError(f"floor must lie in [0, ceiling], got floor {floor} and ceiling {ceiling}; the defaults are 1 and 5")
    alpha, sigma = signal_and_noise(time)
    return (alpha / sigma).square().clamp(floor, ceiling)


def velocity_weight(time: Float[Tensor, "*shape"] | float, ceiling: float = 5.0, floor: float = 1.0) -> Float[Tensor, "*shape"]:
    """Weight on |v_hat - v|^2 that gives the same loss: ``clean_weight`` times sigma^2.

    v_hat - v = (x - x_hat) / sigma, hence |x_hat - x|^2 = sigma^2 |v_hat - v|^2 (as long as sigma >= ``SIGMA_FLOOR``). With
    floor 0 this is min(SNR, ceiling) / (SNR + 1), the form of min-SNR for velocities, as sigma^2 = 1 / (SNR + 1).
    """
    return clean_weight(time, ceiling, floor) * signal_and_noise(time)[1].square()


def draw_times(
    count: int, generator: torch.Generator, *, pure_noise_share: float = PURE_NOISE_SHARE
) -> Float[Tensor, " count"]:
    """Training times of one batch, float32 in (0, 1]: a share exactly 1, the others uniform.

    One random offset for the whole batch, the cases evenly spaced behind it (Kingma et al. 2021, "Variational diffusion
    models", appendix I.1): each case by itself is uniform, the batch covers all times, and the loss varies less.

    Args:
        count: cases in the batch.
        generator: source of randomness; the times lie on its device.
        pure_noise_share: expected share of cases at exactly t = 1, in [0, 1].

    Raises:
        ValueError: if the count is not positive or the share lies outside [0, 1].
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}; it is the number of cases in the batch")
    if not 0.0 <= pure_noise_share <= 1.0:
        raise ValueError(f"pure_noise_share must lie in [0, 1], got {pure_noise_share}; {PURE_NOISE_SHARE} is the default")
    offset = torch.rand((), generator=generator, device=generator.device)
    uniform = 1.0 - (offset + torch.arange(count, device=generator.device) / count) % 1.0  # in (0, 1]
    return torch.clamp_max(uniform / (1.0 - pure_noise_share), 1.0)


def _as_tensor(value: Tensor | float) -> Tensor:
    return value if isinstance(value, Tensor) else torch.tensor(value, dtype=torch.float64)


def _coefficients(time: Tensor, volume: Tensor) -> tuple[Tensor, Tensor]:
    """(alpha, sigma), one per case, in the shape and type that multiply ``volume``."""
    shape = (-1, *(1,) * (volume.ndim - 1))
    alpha, sigma = (part.to(volume).reshape(shape) for part in signal_and_noise(time))
    return alpha, sigma

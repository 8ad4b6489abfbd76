"""From noise to a clean volume in few steps: DDIM and DPM-Solver++(2M) around any denoiser.

A network evaluation at t = 1 sees noise alone and returns the conditional mean; one step is that and no more. With more
steps, the samplers leave t = 1 by ``leave_pure_noise``: the mean, and noise of the width that a posterior of standard deviation
``residual_std`` around it would have there. The other evaluations lie evenly in log-SNR (``sampling_times``). DDIM at four
uniform times, as usual elsewhere, keeps 0.73 of the standard deviation.

Share of the posterior's standard deviation that the default times keep, for a Gaussian posterior of standard deviation s around
any mean (the mean is kept exactly; tests/diffusion/test_sampler.py computes this table):

            DPM-Solver++(2M)                       DDIM
    s =        4     2     1   0.7   0.5   0.3        4     2     1   0.7   0.5   0.3
        2   0.28  0.53  0.89  1.06  1.12  0.99     0.28  0.53  0.89  1.06  1.12  0.99
        3   0.66  0.93  0.95  0.89  0.82  0.69     0.43  0.64  0.71  0.71  0.70  0.64
        4   0.88  1.06  1.02  0.95  0.88  0.75     0.54  0.70  0.76  0.76  0.74  0.69
        6   0.96  1.03  1.01  0.98  0.94  0.85     0.70  0.79  0.81  0.81  0.80  0.76
        8   0.97  1.01  1.01  1.00  0.97  0.91     0.78  0.83  0.84  0.84  0.83  0.80
       16   1.00  1.01  1.01  1.01  1.00  0.98     0.89  0.90  0.90  0.90  0.90  0.89

The table holds for each independent mode of a volume: a residual whose *voxels* have variance 1 but which is smooth has a few
modes of s >> 1 and many of s << 1. Give the width of the modes that carry the energy as ``residual_std``.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from xct_components.diffusion.schedule import signal_and_noise

#: (noisy (b, ...), time (b,)) -> the clean volume (b, ...). Conditions, guidance and data consistency are inside.
Denoiser = Callable[[Tensor, Tensor], Tensor]

#: Called with (evaluations done, evaluations in all).
OnStep = Callable[[int, int], None]

#: sigma / (alpha residual_std) at the second evaluation (times steps^1.5) and at the last one (over steps), found by a search
#: over starts, ends and spacings for the table above. A start further up wastes steps, one further down cuts off what is wider
#: than expected; an end further down widens what four steps give.
START_RATIO = 1.0 / 3.0
END_RATIO = 1.0


def sampling_times(steps: int, *, residual_std: float = 1.0) -> Float[Tensor, " steps"]:
    """Times of ``steps`` network evaluations, float64, decreasing from exactly 1, evenly spaced in log-SNR after it.

    Args:
        steps: network evaluations; 1 gives the conditional mean, 4 a sample.
        residual_std: the posterior's standard deviation around its mean, in units of the noise.

    Raises:
        ValueError: if an argument is not positive.
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}; 1 gives the conditional mean, 4 a sample")
    _require_positive(residual_std)
    start, end = START_RATIO * steps**1.5, END_RATIO / steps
    place = torch.linspace(0.0, 1.0, steps - 1, dtype=torch.float64).flip(0)  # of two steps, the second is at the end
    noise_to_signal = residual_std * end * (start / end) ** place
    return torch.cat([torch.ones(1, dtype=torch.float64), torch.atan(noise_to_signal) / (math.pi / 2)])


def leave_pure_noise(
    mean: Float[Tensor, "*volume"], noise: Float[Tensor, "*volume"], time: float, residual_std: float = 1.0
) -> Float[Tensor, "*volume"]:
    """The noisy volume at ``time`` < 1 from the conditional mean: alpha mean + sqrt(sigma^2 + alpha^2 residual_std^2) noise.

    Exactly the distribution of z when the posterior is white with this standard deviation. DDIM's own step from t = 1 is the
    limit ``residual_std`` -> 0: it lacks the posterior's share of the variance.
    """
    alpha, sigma = (part.item() for part in signal_and_noise(time))
    return (alpha * mean).add_(math.hypot(sigma, alpha * residual_std) * noise)


def ddim(
    denoise: Denoiser,
    noise: Float[Tensor, " b *volume"],
    times: Float[Tensor, " steps"],
    *,
    residual_std: float = 1.0,
    on_step: OnStep | None = None,
) -> Float[Tensor, " b *volume"]:
    """A clean volume by deterministic DDIM (Song et al. 2021, eq. 12 without noise): first order.

    Arguments, result and errors are those of ``dpm_solver_pp_2m``, which needs fewer steps.
    """
    return _sample(denoise, noise, times, _no_extrapolation, residual_std, on_step)


def dpm_solver_pp_2m(
    denoise: Denoiser,
    noise: Float[Tensor, " b *volume"],
    times: Float[Tensor, " steps"],
    *,
    residual_std: float = 1.0,
    on_step: OnStep | None = None,
) -> Float[Tensor, " b *volume"]:
    """A clean volume by DPM-Solver++(2M) (Lu et al. 2022, algorithm 2): second order, one evaluation per step.

    Args:
        denoise: the network with its conditions.
        noise: z at the first time; at t = 1 white noise of variance 1. The only source of randomness.
        times: where the network is evaluated, decreasing, in (0, 1]; see ``sampling_times``.
        residual_std: of the posterior around its mean, used to leave t = 1; the same value as for ``sampling_times``.
        on_step: called after each evaluation.

    Returns:
        The last prediction of the clean volume; with ``times`` = [1] exactly ``denoise(noise, 1)``.

    Raises:
        ValueError: if the times are not a decreasing list in (0, 1] or ``residual_std`` is not positive.
    """
    return _sample(denoise, noise, times, _extrapolation, residual_std, on_step)


_Point = tuple[float, float]  # (alpha, sigma)


def _sample(
    denoise: Denoiser,
    noise: Tensor,
    times: Tensor,
    extrapolation: Callable[[list[_Point], float], float],
    residual_std: float,
    on_step: OnStep | None,
) -> Tensor:
    """Exponential steps z' = sigma'/sigma z + (alpha' - alpha sigma'/sigma) x, x = the prediction carried ahead."""
    _require_sampling(times, residual_std)
    points: list[_Point] = [(a, s) for a, s in torch.stack(signal_and_noise(times.double()), dim=1).tolist()]
    network_times = times.to(noise.device, torch.promote_types(noise.dtype, torch.float32))
    noisy = clean = noise
    for step, (alpha, sigma) in enumerate(points):
        previous, clean = clean, denoise(noisy, network_times[step].expand(len(noise)))
        if on_step is not None:
            on_step(step + 1, len(points))
        if step + 1 == len(points):
            break
        alpha_next, sigma_next = points[step + 1]
        if alpha == 0.0:
            noisy = leave_pure_noise(clean, noise, times[step + 1].item(), residual_std)
            continue
        ahead = extrapolation(points[step - 1 : step + 2], residual_std) if step else 0.0
        middle = (clean - previous).mul_(ahead).add_(clean)
        del previous  # full-size volumes are 640 MB each: hold what is needed and no more
        noisy = (sigma_next / sigma * noisy).add_(middle.mul_(alpha_next - alpha * sigma_next / sigma))
        del middle
    return clean


def _no_extrapolation(points: list[_Point], residual_std: float) -> float:  # noqa: ARG001
    return 0.0


def _extrapolation(points: list[_Point], residual_std: float) -> float:
    """How much of the prediction's last change (from point 0 to 1) to add for the step from point 1 to 2.

    The prediction is carried along log-SNR to the middle of the step. From t = 1, where log-SNR is -inf, it is carried along
    c = alpha r / sqrt(alpha^2 r^2 + sigma^2), r = ``residual_std``, in which the prediction for a white posterior of that
    width is a straight line: with c = cos(w), the step needs it at c = cos((w1 + w2) / 2) / cos((w1 - w2) / 2).
    """
    if points[0][0] == 0.0:
        now, after = (math.atan2(sigma, alpha * residual_std) for alpha, sigma in points[1:])
        return math.cos((now + after) / 2.0) / math.cos((now - after) / 2.0) / math.cos(now) - 1.0
    before, now, after = (math.log(alpha / sigma) for alpha, sigma in points)
    return (after - now) / (now - before) / 2.0


def _require_sampling(times: Tensor, residual_std: float) -> None:
    decreasing = len(times) > 0 and bool((times.diff() < 0).all())
    if not (decreasing and times[0] <= 1.0 and times[-1] > 0.0):
        raise ValueError(f"times must decrease within (0, 1], got {times.tolist()}; sampling_times(4) makes such a list")
    _require_positive(residual_std)


def _require_positive(residual_std: float) -> None:
    if not 0.0 < residual_std < math.inf:
        raise ValueError(f"residual_std must be positive and finite, got {residual_std}; it is 1 for normalised residuals")

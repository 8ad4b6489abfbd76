"""A Gaussian posterior, whose best denoiser, probability flow and samples are known in closed form."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class GaussianPosterior:
    """x ~ N(mean, covariance): what a perfect network would know about x from its conditions, in float64.

    Args:
        mean: (n,).
        covariance: (n, n), positive definite.
    """

    mean: Tensor
    covariance: Tensor

    def __call__(self, noisy: Tensor, time: Tensor) -> Tensor:
        """E[x | z] of z = cos(a) x + sin(a) e, a = pi t / 2: noisy (b, n), time (b,) -> (b, n), by conditioning."""
        rows = []
        for z, t in zip(noisy, time.tolist(), strict=True):
            alpha, sigma = _signal_and_noise(t)
            covariance_of_z = alpha**2 * self.covariance + sigma**2 * torch.eye(len(z), dtype=z.dtype)
            rows.append(self.mean + alpha * self.covariance @ torch.linalg.solve(covariance_of_z, z - alpha * self.mean))
        return torch.stack(rows)

    def flow(self, noisy: Tensor, start: float, end: float) -> Tensor:
        """Where the probability flow takes (b, n) from one time to another: it keeps z's own whitened coordinates."""
        values, modes = torch.linalg.eigh(self.covariance)
        (alpha, sigma), (alpha_end, sigma_end) = _signal_and_noise(start), _signal_and_noise(end)
        gain = torch.sqrt((alpha_end**2 * values + sigma_end**2) / (alpha**2 * values + sigma**2))
        return alpha_end * self.mean + ((noisy - alpha * self.mean) @ modes * gain) @ modes.T


def one_dimensional(mean: float, std: float) -> GaussianPosterior:
    """N(mean, std^2)."""
    return GaussianPosterior(torch.tensor([mean], dtype=torch.float64), torch.tensor([[std**2]], dtype=torch.float64))


def mean_and_covariance(sample: Callable[[Tensor], Tensor], size: int) -> tuple[Tensor, Tensor]:
    """Exact mean (n,) and covariance (n, n) of ``sample(noise)`` over white noise, for a sampler that is affine in it.

    With a Gaussian posterior every step is affine, so zero and the n unit vectors as noise (one batch of n + 1) say it all.
    """
    noise = torch.cat([torch.zeros(1, size, dtype=torch.float64), torch.eye(size, dtype=torch.float64)])
    result = sample(noise)
    columns = result[1:] - result[0]
    return result[0], columns.T @ columns


def _signal_and_noise(time: float) -> tuple[float, float]:
    return math.cos(math.pi / 2 * time), math.sin(math.pi / 2 * time)

"""Which of several CTs that a film has bent count more where: those that show there what the film shows.

The mean m of K volumes x_k is moved within what sets them apart, place by place:

    m + sum_k w_k (x_k - m),    w = (G + ridge mean(diag G))^-1 b,    G_kl = <p_k p_l>,  b_k = <p_k e>

with p_k what sets their films apart from the mean's, e what the given film shows beyond the film of m, and <> a Gaussian mean
over the place's surroundings. That is an ensemble Kalman filter with localisation (Hunt, Kostelich & Szunyogh, Physica D
2007;230:112), and fusion with local weights (Iglesias & Sabuncu, Med Image Anal 2015;24:205): what a film shows at one place
tells of its rays, not of the rest of the chest. The weights 1 / K + w_k sum to 1; they may be negative. In place of the mean
any one of the K may be moved, e then being what its own film lacks: the mean of the K moved ones is the mean moved.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

#: Standard deviation of the surroundings. One film would like them wider, two narrower, by 1 HU each (docs/results.md).
SURROUNDINGS_MM = 40.0
#: Distrust of what few volumes span, beside the mean variance of their films. Exact films would like 3, calibrated ones 10.
RIDGE = 6.0
#: Films that differ by a hundredth of a line integral tell nobody apart.
LEAST_VARIANCE = 1e-4


def film_weights(
    films: Float[Tensor, "k rows cols"],
    missing: Float[Tensor, "n rows cols"],
    pixel_mm: Sequence[float],
) -> Float[Tensor, "n k rows cols"]:
    """How much more, or less, each of K volumes counts at each place than in their mean.

    Args:
        films: line integrals of the volumes.
        missing: what the given film shows beyond those of N volumes that are to be moved.
        pixel_mm: height and width of a pixel, in the patient.

    Returns:
        w of each of the N; over K they sum to 0.
    """
    count, (rows, cols) = len(films), films.shape[1:]
    above, along = (_surroundings(n, SURROUNDINGS_MM / mm).to(films) for n, mm in zip((rows, cols), pixel_mm, strict=True))
    apart = films - films.mean(0)
    alike = above @ (apart[:, None] * apart) @ along.T
    wanted = above @ (apart * missing[:, None]) @ along.T
    ridge = RIDGE * alike.diagonal().mean() + LEAST_VARIANCE
    system = alike.permute(2, 3, 0, 1) + ridge * torch.eye(count).to(films)
    return torch.linalg.solve(system, wanted.permute(2, 3, 1, 0)).permute(3, 2, 0, 1)


def _surroundings(pixels: int, sigma: float) -> Float[Tensor, "n n"]:
    """Row i: how much each pixel counts around pixel i; a film goes on beyond its edge as it is there. Rows sum to 1."""
    places = torch.arange(pixels)
    beyond = torch.arange(-pixels, 2 * pixels)
    weights = torch.softmax(-0.5 * ((places[:, None] - beyond) / sigma).square(), dim=1)
    return torch.zeros(pixels, pixels).index_add_(1, beyond.clamp(0, pixels - 1), weights)

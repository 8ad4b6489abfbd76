"""Where along each ray the attenuation lies, and of which tissue: what depth lifting predicts, against the CT."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from xct_components.physics.depth_regions import region_partition

#: Rays through less than this share of the sample's heaviest ray are air and skin; they teach nothing about depth.
LEAST_SHARE = 0.05
#: Keeps 0 / 0 at 0 for tissue that a ray does not meet; far below the share of any tissue that counts.
TINY = 1e-12
#: Region masses below this are noise of the atlas; both distributions are lifted by it before they are compared.
LEAST_REGION_MASS = 1e-3


class DepthPriorLoss(nn.Module):
    """Three comparisons per ray, averaged over the rays that meet the patient.

    1. The whole distribution over tissue and depth: cross-entropy less the target's own entropy, so that 0 is perfect.
    2. Depth is ordered: per tissue, mean over the bins of the distance between the cumulative distributions (earth mover).
    3. Regulariser: per tissue, Kullback-Leibler divergence of the predicted masses of the three depth regions from those that
       were measured on training CTs. It pulls to the population's mean, so its weight is small.

    2 and 3 weigh each tissue by its share of the ray.

    Args:
        cdf_weight: of 2.
        region_weight: of 3.

    Raises:
        ValueError: for a negative weight.
    """

    def __init__(self, cdf_weight: float = 0.5, region_weight: float = 0.1) -> None:
        super().__init__()
        for name, weight in (("cdf_weight", cdf_weight), ("region_weight", region_weight)):
            if not weight >= 0.0:
                raise ValueError(f"{name} must be >= 0, got {weight}; 0 switches the term off")
        self.cdf_weight, self.region_weight = cdf_weight, region_weight

    def per_sample(
        self,
        log_mass: Float[Tensor, "b v g k h w"],
        target_mass: Float[Tensor, "b v g k h w"],
        region_mass: Float[Tensor, "b v g 3 h w"],
    ) -> Float[Tensor, " b"]:
        """The loss of each sample; 0 if no ray meets the patient.

        Args:
            log_mass: log of the predicted share of each ray's attenuation in tissue g and depth bin k; adds up to 1 per ray.
            target_mass: measured attenuation in tissue g and bin k (line integral, >= 0).
            region_mass: share of each tissue in the anterior, middle and posterior region; adds up to 1 where the tissue is
                present, all 0 where it is unknown.
        """
        log_share, target = log_mass.float(), target_mass.float()
        ray_mass = target.sum((2, 3), keepdim=True)
        share = target / ray_mass.clamp_min(TINY)
        tissue_share = share.sum(3)
        loss = _divergence(log_share, share)
        if self.cdf_weight or self.region_weight:
            depth, true_depth = _within_tissue(log_share.exp()), _within_tissue(share)
            earth_mover = (depth - true_depth).cumsum(3).abs().mean(3)
            regions = _region_divergence(depth, region_mass.float())
            loss = loss + (tissue_share * (self.cdf_weight * earth_mover + self.region_weight * regions)).sum(2)
        return _mean_over_rays(loss, ray_mass[:, :, 0, 0])

    def forward(self, log_mass: Tensor, target_mass: Tensor, region_mass: Tensor) -> Tensor:
        """The mean over the batch, a scalar."""
        return self.per_sample(log_mass, target_mass, region_mass).mean()


def _divergence(log_share: Tensor, target_share: Tensor) -> Tensor:
    """KL(target || prediction) over tissue and depth of each ray: (B, V, h, w). Empty bins of the target cost nothing."""
    # -inf is a fair prediction where nothing is; 0 * -inf would not be
    gap = torch.where(target_share > 0.0, target_share.clamp_min(TINY).log() - log_share, 0.0)
    return (target_share * gap).sum((2, 3))


def _within_tissue(share: Tensor) -> Tensor:
    """The depth distribution of each tissue by itself; all 0 where the tissue is absent."""
    return share / share.sum(3, keepdim=True).clamp_min(TINY)


def _region_divergence(depth: Tensor, region_mass: Tensor) -> Tensor:
    """KL(predicted || measured) over the three regions: (B, V, G, h, w); 0 where the measured masses are unknown."""
    partition = region_partition(depth.shape[3]).to(depth)
    # sums, not a matrix product: autocast would round that to half precision
    predicted = _lifted(torch.stack([(region[:, None, None] * depth).sum(3) for region in partition], dim=3))
    divergence = (predicted * (predicted / _lifted(region_mass)).log()).sum(3)
    return torch.where(region_mass.sum(3) > 0.0, divergence, 0.0)


def _lifted(region_mass: Tensor) -> Tensor:
    return (region_mass + LEAST_REGION_MASS) / (1.0 + 3.0 * LEAST_REGION_MASS)


def _mean_over_rays(loss: Tensor, ray_mass: Tensor) -> Tensor:
    """(B, V, h, w) -> (B,): over the rays that hold more than LEAST_SHARE of the sample's heaviest one."""
    counts = ray_mass > LEAST_SHARE * ray_mass.amax((1, 2, 3), keepdim=True)
    return torch.where(counts, loss, 0.0).sum((1, 2, 3)) / counts.sum((1, 2, 3)).clamp_min(1)

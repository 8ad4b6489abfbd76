"""Where along the rays the attenuation of a case lies: as the stage says, as the atlas says, as it is in the CT."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from xct_components.networks.atlas import Atlas
from xct_components.networks.stage_conditions import StageConditions
from xct_components.physics.depth_regions import region_partition
from xct_components.physics.ray_space import to_ray_space
from xct_components.training.depth_error import TINY, depth_error_mm
from xct_components.training.stage_batch import StageBatch
from xct_components.training.stage_step import true_depth_mass


@dataclass(frozen=True)
class DepthProfiles:
    """B cases seen from the front, K depth bins from the sternum to the back; every ray counts by its line integral.

    Args:
        predicted: (B, K) share of the attenuation in each bin, adds up to 1.
        atlas: likewise, of the mean chest that the prediction starts from.
        true: likewise, of the CT.
        predicted_error_mm: (B,) earth mover's distance per ray between prediction and CT, see ``depth_error_mm``.
        atlas_error_mm: (B,) likewise of the atlas.
    """

    predicted: Float[Tensor, "b k"]
    atlas: Float[Tensor, "b k"]
    true: Float[Tensor, "b k"]
    predicted_error_mm: Float[Tensor, " b"]
    atlas_error_mm: Float[Tensor, " b"]


def depth_profiles(atlas: Atlas, conditions: StageConditions, batch: StageBatch) -> DepthProfiles | None:
    """The profiles of a batch; None for a stage without depth lifting.

    Args:
        atlas: of the stage. Where it holds nothing, all depths are alike to it.
        conditions: of the stage for this batch.
        batch: the cases; of several films the first one counts.
    """
    truth = true_depth_mass(batch, conditions)
    if truth is None or conditions.lifted is None:
        return None
    truth, log_mass = truth[:, :1].float(), conditions.lifted.log_mass[:, :1].float()
    bins, rows, cols = truth.shape[3:]
    views = [beams[:1] for beams in batch.beams]
    mass = to_ray_space(atlas.tissue.float(), batch.fields, views, bins=bins, rows=rows, cols=cols)
    ray = mass.sum((2, 3), keepdim=True)
    share = torch.where(ray > TINY, mass / ray.clamp_min(TINY), 1.0 / (mass.shape[2] * bins))
    bin_mm = batch.fields[0].shape[0] * batch.fields[0].spacing_mm[0] / bins
    return DepthProfiles(
        predicted=_profile(log_mass.exp(), truth),
        atlas=_profile(share, truth),
        true=_profile(truth / truth.sum((2, 3), keepdim=True).clamp_min(TINY), truth),
        predicted_error_mm=depth_error_mm(log_mass, truth, bin_mm),
        atlas_error_mm=depth_error_mm(share.log(), truth, bin_mm),
    )


def region_shares(profile: Float[Tensor, "*b k"]) -> Float[Tensor, "*b 3"]:
    """Shares of the anterior, middle and posterior region in a depth profile; they add up to 1."""
    return profile @ region_partition(profile.shape[-1]).to(profile).T


def _profile(share: Tensor, truth: Tensor) -> Tensor:
    """(B, K) of (B, 1, G, K, rows, cols): over the rays, each by its line integral."""
    ray = truth.sum((2, 3), keepdim=True)
    return (share * ray).sum((1, 2, 4, 5)) / ray.sum((1, 2, 3, 4, 5))[:, None].clamp_min(TINY)

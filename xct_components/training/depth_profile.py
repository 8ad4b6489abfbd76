"""Where along the rays the attenuation of a case lies: as it is in the CT, as the atlas says, as the stage says."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from xct_components.geometry import Beam, ConeBeam, VolumeGrid
from xct_components.networks.atlas import Atlas
from xct_components.networks.stage_conditions import StageConditions
from xct_components.physics.depth_regions import region_partition
from xct_components.physics.ray_space import to_ray_space
from xct_components.training.depth_error import TINY, depth_error_mm
from xct_components.training.stage_batch import StageBatch
from xct_components.training.stage_step import true_depth_mass


@dataclass(frozen=True)
class CaseDepth:
    """The depth distributions of a case along the rays of its first film.

    A distribution here is "true", that of the CT; "atlas", that of the mean chest which the prediction starts from; or
    "predicted", that of depth lifting.

    Args:
        sides: by distribution (rows, K), the chest seen from its side: the share of all attenuation in each row of the film
            and each of K depth bins, from the front to the back; adds up to 1. Every ray counts by its true line integral.
        errors_mm: of "atlas" and "predicted", earth mover's distance per ray to the CT, see ``depth_error_mm``.
        depth_mm: of the field.
        height_mm: that the film shows at the centre of the field.
    """

    sides: dict[str, Float[Tensor, "rows k"]]
    errors_mm: dict[str, float]
    depth_mm: float
    height_mm: float

    @property
    def profiles(self) -> dict[str, list[float]]:
        """By distribution the share of the attenuation in each depth bin; adds up to 1."""
        return {name: side.sum(0).tolist() for name, side in self.sides.items()}


def depths_of(atlas: Atlas, conditions: StageConditions, batch: StageBatch) -> list[CaseDepth]:
    """The depths of every case of a batch; empty for a stage without depth lifting.

    Args:
        atlas: of the stage. Where it holds nothing, all depths are alike to it.
        conditions: of the stage for this batch.
        batch: the cases; of several films the first one counts.
    """
    truth = true_depth_mass(batch, conditions)
    if truth is None or conditions.lifted is None:
        return []
    truth, log_mass = truth[:, :1].float(), conditions.lifted.log_mass[:, :1].float()
    log_atlas = _atlas_share(atlas, batch, truth).log()
    bin_mm = _depth_mm(batch.fields[0]) / truth.shape[3]
    sides = {"true": _side(truth, truth), "atlas": _side(log_atlas.exp(), truth), "predicted": _side(log_mass.exp(), truth)}
    errors_mm = {
        "atlas": depth_error_mm(log_atlas, truth, bin_mm),
        "predicted": depth_error_mm(log_mass, truth, bin_mm),
    }
    return [
        CaseDepth(
            {name: side[number].cpu() for name, side in sides.items()},
            {name: float(error_mm[number]) for name, error_mm in errors_mm.items()},
            _depth_mm(field),
            _height_mm(field, batch.beams[number][0]),
        )
        for number, field in enumerate(batch.fields)
    ]


def region_shares(profile: Float[Tensor, "*b k"]) -> Float[Tensor, "*b 3"]:
    """Shares of the anterior, middle and posterior region in a depth profile; they add up to 1."""
    return profile @ region_partition(profile.shape[-1]).to(profile).T


def _atlas_share(atlas: Atlas, batch: StageBatch, truth: Tensor) -> Tensor:
    """The atlas along the rays of ``truth``, of the same shape; adds up to 1 on each ray."""
    bins, rows, cols = truth.shape[3:]
    views = [beams[:1] for beams in batch.beams]
    mass = to_ray_space(atlas.tissue.float(), batch.fields, views, bins=bins, rows=rows, cols=cols)
    ray = mass.sum((2, 3), keepdim=True)
    return torch.where(ray > TINY, mass / ray.clamp_min(TINY), 1.0 / (mass.shape[2] * bins))


def _side(mass: Tensor, truth: Tensor) -> Tensor:
    """(B, rows, K) of (B, 1, G, K, rows, cols): over the columns; each ray by its true line integral, not by its own sum."""
    share = mass / mass.sum((2, 3), keepdim=True).clamp_min(TINY)
    weighed = share * truth.sum((2, 3), keepdim=True)
    return (weighed.sum((1, 2, 5)) / truth.sum((1, 2, 3, 4, 5))[:, None, None].clamp_min(TINY)).transpose(1, 2)


def _depth_mm(field: VolumeGrid) -> float:
    return field.shape[0] * field.spacing_mm[0]


def _height_mm(field: VolumeGrid, beam: Beam) -> float:
    magnification = beam.magnification_at(field.center_mm) if isinstance(beam, ConeBeam) else 1.0
    return beam.detector.rows * beam.detector.pitch_mm[0] / magnification

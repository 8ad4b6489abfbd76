"""Where stages start from that make one of the CTs that films bent, a member, instead of their mean."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from xct_components.failures import UsageFailure
from xct_components.geometry import VolumeGrid
from xct_components.inferers.resampled_volume import on_field
from xct_components.networks.ct_detail import CtDetail
from xct_components.networks.multi_atlas import BentCts


def members_of(bent: Sequence[BentCts | None], number: int) -> list[BentCts]:
    """Of each sample one member in place of the mean.

    Args:
        bent: what the films of each sample bent.
        number: which, 0 being the one that bends with the least energy; after the last comes the first again.

    Raises:
        UsageFailure: where nothing is bent.
    """
    held = [one for one in bent if one is not None]
    if len(held) < len(bent):
        raise UsageFailure(
            "a member is a CT that the film bends, and there is none: the weights hold no CTs, or no frontal film is believed; "
            "ask for the mean or a sample"
        )
    return [one._replace(mu_per_mm=one.member_per_mm(number % one.patients)) for one in held]


def with_detail(
    coarse_hu: Float[Tensor, "b 1 d h w"],
    held: CtDetail,
    fields: Sequence[VolumeGrid],
    bent: Sequence[BentCts | None],
    number: int,
) -> Float[Tensor, "b 1 fd fh fw"]:
    """The previous stage's member with what its CT shows beyond that stage's voxels, bent as the CT was.

    Args:
        coarse_hu: of each sample, edge to edge on its field.
        held: the detail that this stage holds.
        fields: of this stage, all of one size.
        bent: what the films of each sample bent; the volume of a sample without stays as it is, but on this stage's voxels.
        number: as for ``members_of``.
    """
    size = fields[0].shape
    fine_hu = list(F.interpolate(coarse_hu, size=size, mode="trilinear").split(1))
    for sample, (field, cts) in enumerate(zip(fields, bent, strict=True)):
        detail = None if cts is None else held.of(int(cts.keys[number % cts.patients]))
        if cts is not None and detail is not None:
            there = on_field(cts.bent_like(number % cts.patients, detail), cts.grid.resampled(detail.shape[2:]), field)
            fine_hu[sample] = fine_hu[sample] + F.interpolate(there, size=size, mode="trilinear")
    return torch.cat(fine_hu)

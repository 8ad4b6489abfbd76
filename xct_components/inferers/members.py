"""Where stages start from that make one of the CTs that films bent, a member, instead of their mean."""

from __future__ import annotations

from collections.abc import Sequence

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
        bent: what the films of each sample bent.
        number: as for ``members_of``.

    Returns:
        On voxels about as fine as the detail's; where no sample has any, ``coarse_hu``.
    """
    details = [_bent_detail(held, field, cts, number) for field, cts in zip(fields, bent, strict=True)]
    known = [detail for detail in details if detail is not None]
    if not known:
        return coarse_hu
    fine = F.interpolate(coarse_hu, size=known[0].shape[2:], mode="trilinear")
    for volume, detail in zip(fine.split(1), details, strict=True):
        if detail is not None:
            volume.add_(detail)
    return fine


def _bent_detail(held: CtDetail, field: VolumeGrid, bent: BentCts | None, number: int) -> Tensor | None:
    """From edge to edge of the field; None if this member's is not held."""
    if bent is None or (detail := held.of(int(bent.keys[number % bent.patients]))) is None:
        return None
    moved = bent.bent_like(number % bent.patients, detail)
    return on_field(moved, bent.grid.resampled(detail.shape[2:]), field)

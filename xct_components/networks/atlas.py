"""The average chest: tissue attenuation measured over the training cases, the prior of the first stage."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xct_components.physics.tissue_groups import TISSUE_GROUPS, tissue_mu_per_mm


class Atlas(nn.Module):
    """Mean attenuation of each tissue group on the cascade's field, part of a stage's weights.

    Args:
        size: voxels along D, H and W.
    """

    tissue: Tensor  # (1, tissue groups, D, H, W) per mm

    def __init__(self, size: tuple[int, int, int] = (64, 64, 64)) -> None:
        super().__init__()
        self.register_buffer("tissue", torch.zeros(1, len(TISSUE_GROUPS), *size))

    @property
    def is_measured(self) -> bool:
        """Whether ``measure`` has run, here or in the loaded weights."""
        return bool(self.tissue.any())

    def measure(self, volumes_hu: Iterable[Tensor]) -> None:
        """Average over volumes (B, 1, D, H, W) in HU that all lie on the cascade's field, of any size."""
        total, count = torch.zeros_like(self.tissue), 0
        for ct_hu in volumes_hu:
            tissue = F.interpolate(tissue_mu_per_mm(ct_hu), size=total.shape[2:], mode="area")
            total += tissue.sum(0, keepdim=True).to(total)
            count += ct_hu.shape[0]
        self.tissue.copy_(total / max(count, 1))

    def mu_per_mm(self, size: tuple[int, int, int]) -> Tensor:
        """The atlas as one volume (1, 1, D, H, W) of the given size."""
        whole = self.tissue.float().sum(1, keepdim=True)
        return whole if whole.shape[2:] == size else F.interpolate(whole, size=size, mode="trilinear")

"""By how much a volume lies beside another: the shift that brings it closest."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

#: Steps of the search in voxels, one after the other.
STEPS = (2.0, 1.0, 0.5, 0.25)


def best_shift(volume: Float[Tensor, "1 1 d h w"], truth: Float[Tensor, "1 1 d h w"]) -> tuple[float, ...]:
    """The shift (D, H, W) in voxels with the least square error, to a quarter of a voxel; found by going downhill from none."""
    best: tuple[float, ...] = (0.0, 0.0, 0.0)
    found = _error(volume, truth)
    for step in STEPS:
        nearer = True
        while nearer:
            nearer = False
            for axis, sign in itertools.product(range(3), (-step, step)):
                tried = tuple(there + sign * (axis == index) for index, there in enumerate(best))
                error = _error(shifted(volume, tried), truth)
                if error < found:
                    best, found, nearer = tried, error, True
    return best


def shifted(volume: Float[Tensor, "1 1 d h w"], voxels: Sequence[float]) -> Float[Tensor, "1 1 d h w"]:
    """The volume moved by so many voxels along D, H and W, linear between them; what comes in is as the edge is."""
    moved = torch.eye(3, 4)[None].to(volume)
    moved[0, :, 3] = -2.0 * torch.tensor(voxels[::-1]) / torch.tensor(volume.shape[:1:-1])
    places = F.affine_grid(moved, list(volume.shape), align_corners=False)
    return F.grid_sample(volume, places, padding_mode="border", align_corners=False)


def _error(volume: Tensor, truth: Tensor) -> float:
    return float((volume - truth).square().mean())

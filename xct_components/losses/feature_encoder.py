"""A small 3-D encoder of chest CTs whose features tell organs apart; trained once on phantoms, then frozen.

``scripts/train_feature_encoder.py`` trains it to segment organs and folds its normalisation into the convolutions, so that
it is nothing but convolutions and SiLU: no statistics of the batch or of the crop enter its features. It learned from voxels
of 5, 2.5 and 1.25 mm alike, those of the three stages.
"""

from __future__ import annotations

import pickle
import zipfile
from importlib import resources
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: (channels in, channels out, stride) of the convolutions of 3x3x3.
CONVOLUTIONS = ((1, 8, 1), (8, 16, 2), (16, 16, 1), (16, 32, 2), (32, 32, 1), (32, 64, 2), (64, 64, 1))
#: Convolutions whose outputs are the features: at full, half, quarter and eighth resolution.
FEATURE_CONVOLUTIONS = (0, 2, 4, 6)
#: The weights that ship, float16.
SHIPPED_WEIGHTS = "feature_encoder.pt"


class FeatureEncoder(nn.Module):
    """Features at four resolutions: 8, 16, 32 and 64 channels at 1, 1/2, 1/4 and 1/8 of the voxels per axis.

    Features are taken before the activation. Over the phantoms of its training each channel has mean 0 and variance 1.
    """

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv3d(before, after, kernel_size=3, stride=stride, padding=1) for before, after, stride in CONVOLUTIONS
        )

    def forward(self, ct_hu: Tensor) -> list[Tensor]:
        """(B, 1, D, H, W) HU -> four tensors (B, C, ceil(D / s), ceil(H / s), ceil(W / s)), s = 1, 2, 4, 8."""
        features, x = [], air_as_zero(ct_hu)
        for index, convolution in enumerate(self.convolutions):
            x = convolution(x if index == 0 else F.silu(x))
            if index in FEATURE_CONVOLUTIONS:
                features.append(x)
        return features


def air_as_zero(ct_hu: Tensor) -> Tensor:
    """HU -> air 0, water 1: the zeros that convolutions see beyond the border are then air."""
    return ct_hu / 1000.0 + 1.0


def load_feature_encoder(weights: str | Path | None = None) -> FeatureEncoder:
    """The frozen encoder in float32.

    Args:
        weights: state dict written by ``scripts/train_feature_encoder.py``; by default the one that ships.

    Raises:
        ValueError: if the file is missing or holds other weights.
    """
    encoder = FeatureEncoder()
    try:
        with resources.as_file(resources.files(__package__).joinpath(SHIPPED_WEIGHTS)) as shipped:
            state = torch.load(weights or shipped, map_location="cpu", weights_only=True)
        encoder.load_state_dict(state)
    except (OSError, RuntimeError, TypeError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"weights must be a state dict of FeatureEncoder, got {str(weights or SHIPPED_WEIGHTS)!r}; make one with "
            "scripts/train_feature_encoder.py, or leave weights out to use the one that ships"
        ) from error
    return encoder.float().eval().requires_grad_(False)

"""MONAI's MedicalNet perceptual loss from a local weights file, without torch.hub and without network."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from torch import Tensor, nn

#: Where the weights come from: MedicalNet (Chen, Ma & Zheng, arXiv:1904.00625) as MONAI distributes it.
WEIGHTS_FILE = "medicalnet_resnet_10_23dataset.pth"
#: MedicalNet keeps 1/8 resolution in its last two layers and widens their kernels instead.
DILATIONS = {"layer3": 2, "layer4": 4}


def load_medicalnet_similarity(weights: str | Path) -> nn.Module:
    """MONAI's ``MedicalNetPerceptualSimilarity`` on ResNet-10: (B, 1, D, H, W) twice -> (B, 1, 1, 1, 1).

    MONAI's own constructor asks torch.hub for the network at every start, which needs the internet and runs what it downloads.
    Here the network is built from MONAI's ResNet; only its weights are read.

    Args:
        weights: a local copy of ``medicalnet_resnet_10_23dataset.pth``.

    Raises:
        ValueError: if the file is missing or holds other weights.
    """
    from monai.losses.perceptual import MedicalNetPerceptualSimilarity

    class LocalSimilarity(MedicalNetPerceptualSimilarity):  # type: ignore[misc]
        """The same comparison with a network that is given."""

        def __init__(self, model: nn.Module) -> None:
            nn.Module.__init__(self)
            self.model, self.channel_wise = model, False

    network = MedicalNet10()
    try:
        state = torch.load(weights, map_location="cpu", weights_only=True)
        network.load_state_dict({name.removeprefix("module."): value for name, value in state["state_dict"].items()})
    except (OSError, RuntimeError, KeyError, TypeError, AttributeError, pickle.UnpicklingError) as error:
        raise ValueError(
            f"medicalnet_weights must be a local copy of {WEIGHTS_FILE}, got {str(weights)!r}; fetch it once from the "
            "Hugging Face repository MONAI/checkpoints, or leave it out to use the encoder that ships"
        ) from error
    return LocalSimilarity(network).eval().requires_grad_(False)


class MedicalNet10(nn.Module):
    """ResNet-10 with MedicalNet's strides and dilations: (B, 1, D, H, W) -> (B, 512, D/8, H/8, W/8)."""

    def __init__(self) -> None:
        super().__init__()
        from monai.networks.nets import resnet10

        network = resnet10(
            spatial_dims=3, n_input_channels=1, conv1_t_stride=2, feed_forward=False, shortcut_type="B", bias_downsample=False
        )
        for name in ("conv1", "bn1", "act", "maxpool", "layer1", "layer2", "layer3", "layer4"):
            setattr(self, name, getattr(network, name))
        for name, dilation in DILATIONS.items():
            for module in getattr(self, name).modules():
                if isinstance(module, nn.Conv3d):
                    module.stride = (1, 1, 1)
                    if module.kernel_size == (3, 3, 3):
                        module.dilation = module.padding = (dilation,) * 3

    def forward(self, x: Tensor) -> Tensor:
        """Features of the last layer."""
        for layer in self.children():
            x = layer(x)
        return x

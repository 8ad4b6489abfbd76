"""How alike two chests look to a network that knows organs."""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from xct_components.losses.feature_encoder import load_feature_encoder
from xct_components.losses.medicalnet import load_medicalnet_similarity


class PerceptualFeatureLoss(nn.Module):
    """Mean squared difference of frozen features, the mean of four resolutions (after Johnson et al., arXiv:1603.08155).

    Features have variance 1 over phantoms, so two unrelated chests are about 2 apart. Nothing is trained, and nothing of it
    belongs into a checkpoint: its state dict is empty.

    Args:
        weights: state dict of another ``FeatureEncoder``; by default the one that ships, trained on phantoms.
        medicalnet_weights: local copy of MONAI's MedicalNet ResNet-10; MONAI's perceptual loss is then computed instead.

    Raises:
        ValueError: if a file is missing or holds other weights, or both are given.
    """

    def __init__(self, weights: str | Path | None = None, *, medicalnet_weights: str | Path | None = None) -> None:
        super().__init__()
        if weights is not None and medicalnet_weights is not None:
            raise ValueError(
                f"weights and medicalnet_weights exclude each other, got {str(weights)!r} and {str(medicalnet_weights)!r}; "
                "give one"
            )
        self.from_medicalnet = medicalnet_weights is not None
        network = (
            load_feature_encoder(weights) if medicalnet_weights is None else load_medicalnet_similarity(medicalnet_weights)
        )
        self._network = [network]  # in a list: neither parameters of the loss nor part of a checkpoint

    def per_sample(
        self, prediction_hu: Float[Tensor, "b 1 d h w"], truth_hu: Float[Tensor, "b 1 d h w"]
    ) -> Float[Tensor, " b"]:
        """The loss of each sample.

        Args:
            prediction_hu: volumes in HU.
            truth_hu: likewise; no gradient flows into it.
        """
        network = self._on(prediction_hu.device)
        prediction, truth = prediction_hu.float(), truth_hu.detach().float()
        if self.from_medicalnet:
            pairs = zip(prediction.split(1), truth.split(1), strict=True)
            return torch.stack([_similarity(network, *pair) for pair in pairs])
        with torch.no_grad():
            wanted = network(truth)
        levels = [
            (p.float() - t.float()).square().mean(dim=(1, 2, 3, 4)) for p, t in zip(network(prediction), wanted, strict=True)
        ]
        return torch.stack(levels).mean(dim=0)

    def forward(self, prediction_hu: Tensor, truth_hu: Tensor) -> Tensor:
        """The mean over the batch, a scalar."""
        return self.per_sample(prediction_hu, truth_hu).mean()

    def _on(self, device: torch.device) -> nn.Module:
        if next(self._network[0].parameters()).device != device:
            self._network[0].to(device)
        return self._network[0]


def _similarity(network: nn.Module, prediction: Tensor, truth: Tensor) -> Tensor:
    """MONAI's loss of one sample: it divides a volume by its deviation, so one that has none is not compared."""
    if float(prediction.detach().std()) == 0.0 or float(truth.std()) == 0.0:
        return (prediction * 0.0).sum()
    distance: Tensor = network(prediction, truth)
    return distance.float().mean()

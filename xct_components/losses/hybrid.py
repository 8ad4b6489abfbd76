"""The weighted sum that a stage is trained with."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from xct_components.diffusion.schedule import signal_and_noise
from xct_components.losses.depth_prior import DepthPriorLoss
from xct_components.losses.gradient import GradientLoss
from xct_components.losses.perceptual import PerceptualFeatureLoss
from xct_components.losses.projection import ProjectionLoss
from xct_components.losses.stage_terms import StageTerms
from xct_components.losses.velocity import VelocityLoss


class HybridLoss(nn.Module):
    """velocity + projection + depth prior + perceptual + gradient, each with its weight; a weight of 0 is not computed.

    Perceptual and gradient terms count by alpha(time)^4 of each sample: they are not linear in the volume, so at high noise,
    where the best prediction is a blurred mean, they would ask for edges that nobody can know. The others hold at every level.

    Args:
        velocity: weight of ``VelocityLoss`` on the diffused signal.
        projection: weight of ``ProjectionLoss`` on the volume before consistency.
        depth_prior: weight of ``DepthPriorLoss``.
        perceptual: weight of ``PerceptualFeatureLoss``; its encoder is only loaded if it is not 0.
        gradient: weight of ``GradientLoss``.
        v_parameterization: see ``VelocityLoss``.
        medicalnet_weights: see ``PerceptualFeatureLoss``.

    Raises:
        ValueError: if a weight is negative, or all are 0.
    """

    def __init__(
        self,
        velocity: float = 1.0,
        projection: float = 0.0,
        depth_prior: float = 0.0,
        perceptual: float = 0.0,
        gradient: float = 0.0,
        *,
        v_parameterization: bool = True,
        medicalnet_weights: str | Path | None = None,
    ) -> None:
        super().__init__()
        weights = {
            "velocity": velocity,
            "projection": projection,
            "depth_prior": depth_prior,
            "perceptual": perceptual,
            "gradient": gradient,
        }
        for name, weight in weights.items():
            if not weight >= 0.0:
                raise ValueError(f"{name} must be >= 0, got {weight}; 0 switches the term off")
        self.weights = {name: weight for name, weight in weights.items() if weight > 0.0}
        if not self.weights:
            raise ValueError(f"at least one weight must be positive, got {weights}; velocity is usually 1")
        self.velocity, self.projection = VelocityLoss(v_parameterization), ProjectionLoss()
        self.depth_prior = DepthPriorLoss()
        self._of_volumes: dict[str, GradientLoss | PerceptualFeatureLoss] = {"gradient": GradientLoss()}
        if perceptual:
            self._of_volumes["perceptual"] = PerceptualFeatureLoss(medicalnet_weights=medicalnet_weights)

    def forward(self, terms: StageTerms) -> dict[str, Tensor]:
        """Every term that is on, by name and before its weight, and "loss", the weighted sum; all scalars.

        Raises:
            ValueError: if the depth prior is on and its tensors are missing.
        """
        report = {name: self._per_sample(name, terms).mean() for name in self.weights}
        weighted = [self.weights[name] * term for name, term in report.items()]
        return {"loss": torch.stack(weighted).sum(), **report}

    def _per_sample(self, name: str, terms: StageTerms) -> Tensor:
        """(B,) of one term."""
        if name == "velocity":
            return self.velocity.per_sample(terms.clean_prediction, terms.clean, terms.time)
        if name == "projection":
            return self.projection.per_sample(terms.mu_per_mm, terms.line_integrals, terms.grids, terms.beams)
        if name == "depth_prior":
            return self.depth_prior.per_sample(*_depth_tensors(terms))
        alpha, _ = signal_and_noise(terms.time.float())
        return alpha**4 * self._of_volumes[name].per_sample(terms.volume_hu, terms.truth_hu)


def _depth_tensors(terms: StageTerms) -> tuple[Tensor, Tensor, Tensor]:
    if terms.log_mass is None or terms.target_mass is None or terms.region_mass is None:
        raise ValueError(
            "log_mass, target_mass and region_mass must be given while depth_prior is on, got None; "
            "set depth_prior to 0 for a network without depth lifting"
        )
    return terms.log_mass, terms.target_mass, terms.region_mass

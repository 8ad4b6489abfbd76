"""Two small chests with two films each, their predictions and the truth, for every loss to look at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from xct_components.geometry import Beam, VolumeGrid, chest_beam_covering, chest_parallel_beam
from xct_components.geometry.detector import Detector
from xct_components.losses.depth_prior import DepthPriorLoss
from xct_components.losses.gradient import GradientLoss
from xct_components.losses.hybrid import HybridLoss
from xct_components.losses.perceptual import PerceptualFeatureLoss
from xct_components.losses.projection import ProjectionLoss
from xct_components.losses.stage_terms import StageTerms
from xct_components.losses.velocity import VelocityLoss
from xct_components.physics.attenuation import hu_to_mu_per_mm
from xct_components.physics.depth_regions import region_partition
from xct_components.physics.projector import project

SIDE = 16
GRID = VolumeGrid.chest((SIDE,) * 3, 20.0)
FRONTAL = [chest_beam_covering(GRID, "PA", SIDE, SIDE), chest_beam_covering(GRID, "LL", SIDE, SIDE)]
PARALLEL = [chest_parallel_beam(view, Detector(SIDE, SIDE, 20.0)) for view in ("PA", "LL")]
AIR_HU = -1000.0


@dataclass(frozen=True)
class LossCase:
    """A loss, a batch for it, which inputs are predictions, and what they should have been."""

    loss: Callable[..., Tensor]
    inputs: dict[str, Any]
    truth: dict[str, Tensor]

    def value(self, **predictions: Tensor) -> Tensor:
        return self.loss(**{**self.inputs, **predictions})

    def sample(self, index: int) -> LossCase:
        """The same with one sample of the batch."""
        one = slice(index, index + 1)
        return replace(
            self,
            inputs={name: value[one] for name, value in self.inputs.items()},
            truth={name: value[one] for name, value in self.truth.items()},
        )

    @property
    def predictions(self) -> dict[str, Tensor]:
        return {name: self.inputs[name] for name in self.truth}


def bodies(generator: torch.Generator) -> Tensor:
    """(2, 1, 16, 16, 16) HU: noisy ellipsoids of soft tissue with lungs of air and a spine."""
    z, y, x = torch.meshgrid(*[torch.linspace(-1, 1, SIDE)] * 3, indexing="ij")
    volumes = []
    for width in (0.8, 0.65):
        hu = torch.where(z**2 / 0.5 + y**2 + (x / width) ** 2 < 1.0, 40.0, AIR_HU)
        hu = torch.where(((x.abs() - 0.35) / 0.25) ** 2 + (z / 0.4) ** 2 + (y / 0.6) ** 2 < 1.0, -800.0, hu)
        hu = torch.where((x.abs() < 0.1) & ((z - 0.45).abs() < 0.15), 500.0, hu)
        volumes.append(hu + 20.0 * torch.randn(hu.shape, generator=generator))
    return torch.stack(volumes)[:, None]


def tissue_mass(mu_per_mm: Tensor) -> Tensor:
    """(B, 2, 2, 16, 16, 16): attenuation of light and dense tissue per depth bin, as parallel PA and LL rays would meet it."""
    dense = (mu_per_mm > 0.015).float()
    tissues = torch.cat([mu_per_mm * (1 - dense), mu_per_mm * dense], dim=1) * 20.0  # (B, G, D, H, W)
    return torch.stack([tissues, tissues.permute(0, 1, 4, 3, 2)], dim=1)


def regions_of(mass: Tensor) -> Tensor:
    """(B, V, G, 3, h, w) region masses of that distribution, as if the atlas had measured it; 0 where a tissue is absent."""
    total = mass.sum(3, keepdim=True)
    shares = torch.where(total > 0, mass / total.clamp_min(1e-12), 0.0)
    return torch.einsum("rk,bvgkhw->bvgrhw", region_partition(mass.shape[3]), shares)


def log_share(mass: Tensor) -> Tensor:
    """The perfect prediction: -inf where nothing is; rays through nothing are spread evenly."""
    total = mass.sum((2, 3), keepdim=True)
    even = 1.0 / (mass.shape[2] * mass.shape[3])
    return torch.where(total > 0, mass / total.clamp_min(1e-12), even).log()


def _terms(truth_hu: Tensor, generator: torch.Generator) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """All fields of ``StageTerms`` with imperfect predictions, and the perfect ones."""

    def noise(scale: float, shape: torch.Size = truth_hu.shape) -> Tensor:
        return scale * torch.randn(shape, generator=generator)

    mu_per_mm, clean = hu_to_mu_per_mm(truth_hu), truth_hu / 500.0
    beams: list[list[Beam]] = [list(FRONTAL), list(PARALLEL)]
    grids = [GRID, GRID]
    mass = tissue_mass(mu_per_mm)
    truth = {"clean_prediction": clean, "volume_hu": truth_hu, "mu_per_mm": mu_per_mm, "log_mass": log_share(mass)}
    blurred = (mass + 0.05).log() + noise(0.5, mass.shape)
    terms = {
        "clean_prediction": clean + noise(0.5),
        "clean": clean,
        "time": torch.tensor([0.15, 0.7]),
        "volume_hu": truth_hu + torch.tensor([1.0, 1.5]).view(2, 1, 1, 1, 1) * noise(100.0),
        "truth_hu": truth_hu,
        "mu_per_mm": (mu_per_mm + noise(0.003)).clamp_min(0.0),
        "line_integrals": project(mu_per_mm, grids, beams),
        "grids": grids,
        "beams": beams,
        "log_mass": blurred - blurred.logsumexp((2, 3), keepdim=True),
        "target_mass": mass,
        "region_mass": regions_of(mass),
    }
    return terms, truth


def _hybrid(loss: HybridLoss) -> Callable[..., Tensor]:
    return lambda **terms: loss(StageTerms(**terms))["loss"]


_VOLUME = {"volume_hu": "prediction", "truth_hu": "truth"}
_FEATURES = {"volume_hu": "prediction_hu", "truth_hu": "truth_hu"}
_FILM = {"mu_per_mm": "mu_per_mm", "line_integrals": "line_integrals", "grids": "grid", "beams": "beams"}
_SIGNAL = {name: name for name in ("clean_prediction", "clean", "time")}
_DEPTH = {name: name for name in ("log_mass", "target_mass", "region_mass")}
_ALL = {name: name for name in StageTerms._fields}

#: Name -> how to make the loss, and what it calls the fields of ``StageTerms``.
LOSSES: dict[str, tuple[Callable[[], Callable[..., Tensor]], dict[str, str]]] = {
    "velocity": (VelocityLoss, _SIGNAL),
    "clean signal": (lambda: VelocityLoss(v_parameterization=False), _SIGNAL),
    "projection": (ProjectionLoss, _FILM),
    "depth prior": (DepthPriorLoss, _DEPTH),
    "depth prior, cross-entropy alone": (lambda: DepthPriorLoss(0.0, 0.0), _DEPTH),
    "perceptual": (PerceptualFeatureLoss, _FEATURES),
    "gradient": (GradientLoss, _VOLUME),
    "hybrid": (lambda: _hybrid(HybridLoss(1.0, 0.5, 0.1, 0.2, 0.1)), _ALL),
}


def made_terms(*, air: bool = False) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """(fields of ``StageTerms``, truth of the predicted ones) for two chests, or for two films of air."""
    generator = torch.Generator().manual_seed(5)
    truth_hu = bodies(generator)
    return _terms(torch.full_like(truth_hu, AIR_HU) if air else truth_hu, generator)


def loss_case(name: str, *, air: bool = False) -> LossCase:
    """The named loss on that batch."""
    make, names = LOSSES[name]
    terms, truth = made_terms(air=air)
    return LossCase(
        make(),
        {ours: terms[field] for field, ours in names.items()},
        {ours: truth[field] for field, ours in names.items() if field in truth},
    )

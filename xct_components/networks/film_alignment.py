"""Deformable registration of films: where on other patients' films lies what one film shows, and how much thicker it is there.

Each film is bent, and brightened where its patient is to be thicker, until it looks like the one that is given:

    E = ||L(e^a I(x + u)) - L(J)||^2 + edges + stiffness of u and a,    L(y) = log(1 + y)

with displacements u and log thickness a on coarse control points, cubic between them, found by Adam, coarse pixels first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.optim.adam import adam

#: Control points along each side of the film, all added up: what is coarse bends first.
CONTROL_POINTS = (2, 4, 8)
#: Control points of the thickness along each side.
THICKNESS_POINTS = 4
#: Pixels that are taken together and steps of Adam on them; then finer.
SCHEDULE = ((2, 80), (1, 40))
LEARNING_RATE = 0.03
#: Weight of differing slopes beside that of differing values; slopes are per side of the film.
EDGES = 5e-4
#: A mean stretch of the map below this is taken for this.
LEAST_STRETCH = 0.3


@dataclass(frozen=True)
class Stiffness:
    """What bending costs. The defaults are a frontal film's: the depth of the patient is unknown.

    Args:
        strain: weight of the squared strain of the displacement.
        thickness: weight of the squared log thickness, mean and variations.
        unevenness: how much more variations of the thickness cost than its mean.
        grows_alike: whether the mean thickness that costs nothing is that of a patient who grows alike in all directions.
        moves: whether pixels may move along columns and along rows, (x, y).
    """

    strain: float = 0.03
    thickness: float = 0.3
    unevenness: float = 4.0
    grows_alike: bool = True
    moves: tuple[bool, bool] = (True, True)


class FilmAlignment(NamedTuple):
    """How K films were bent.

    ``displacement``: (K, rows, cols, 2), where each pixel comes from, (x, y) in units of ``grid_sample``.
    ``log_thickness``: (K, rows, cols). ``misfit``: (K,) mean square of what still differs. ``energy``: (K,) with edges and what
    bending cost.
    """

    displacement: Float[Tensor, "k rows cols 2"]
    log_thickness: Float[Tensor, "k rows cols"]
    misfit: Float[Tensor, " k"]
    energy: Float[Tensor, " k"]


def align_films(
    moving: Float[Tensor, "k rows cols"],
    fixed: Float[Tensor, "rows cols"],
    stiffness: Stiffness | None = None,
    schedule: Sequence[tuple[int, int]] = SCHEDULE,
) -> FilmAlignment:
    """Bend each of K films to the fixed one; no gradients leave this function.

    Args:
        moving: line integrals of other patients, in the same geometry.
        fixed: line integrals.
        stiffness: what bending costs; None for a frontal film's.
        schedule: pixels that are taken together, and steps on them, one after the other.
    """
    cost = Stiffness() if stiffness is None else stiffness
    with torch.inference_mode(False), torch.enable_grad():
        films, wanted = moving.detach().clone()[:, None].float(), fixed.detach().clone()[None, None].float()
        controls = [films.new_zeros(len(films), 2, n, n).requires_grad_() for n in CONTROL_POINTS]
        thickness = films.new_zeros(len(films), THICKNESS_POINTS, THICKNESS_POINTS).requires_grad_()
        descent = _Descent([*controls, thickness], sum(steps for _, steps in schedule))
        for pixels, steps in schedule:
            pair = _Pair(_pooled(films, pixels), _pooled(wanted, pixels), cost)
            for _ in range(steps):
                descent.step(pair.energy(controls, thickness).sum())
    with torch.no_grad():
        pair = _Pair(films, wanted, cost)
        displacement, log_thickness = pair.dense(controls, thickness)
        misfit = pair.difference(displacement, log_thickness).square().mean((1, 2, 3))
        return FilmAlignment(displacement, log_thickness, misfit, pair.energy(controls, thickness))


class _Descent:
    """Adam, along a cosine down to no step; by torch's function, as its class loads a compiler first, which takes a second."""

    def __init__(self, parameters: list[Tensor], steps: int) -> None:
        self.parameters, self.steps = parameters, steps
        self.done = [torch.zeros(()) for _ in parameters]
        self.means, self.squares = ([torch.zeros_like(one) for one in parameters] for _ in range(2))

    def step(self, energy: Tensor) -> None:
        """One step down."""
        gradients = list(torch.autograd.grad(energy, self.parameters))
        rate = 0.5 * LEARNING_RATE * (1.0 + math.cos(math.pi * float(self.done[0]) / self.steps))
        with torch.no_grad():
            adam(
                self.parameters,
                gradients,
                self.means,
                self.squares,
                [],
                self.done,
                amsgrad=False,
                beta1=0.9,
                beta2=0.999,
                lr=rate,
                weight_decay=0.0,
                eps=1e-8,
                maximize=False,
            )


class _Pair:
    """Films at one resolution, and what they cost."""

    def __init__(self, moving: Tensor, fixed: Tensor, stiffness: Stiffness) -> None:
        self.moving, self.looks, self.stiffness = moving, _looks(fixed), stiffness
        self.rows, self.cols = fixed.shape[2:]
        self.places = identity_places(self.rows, self.cols).to(fixed)
        self.free = fixed.new_tensor(stiffness.moves)
        self.cubic = {
            n: (_cubic(self.rows, n).to(fixed), _cubic(self.cols, n).to(fixed)) for n in (*CONTROL_POINTS, THICKNESS_POINTS)
        }

    def dense(self, controls: Sequence[Tensor], thickness: Tensor) -> tuple[Tensor, Tensor]:
        """Displacement (K, rows, cols, 2) and log thickness (K, rows, cols) between the control points."""
        displacement = sum(self._between(control) for control in controls)
        return torch.as_tensor(displacement).permute(0, 2, 3, 1) * self.free, self._between(thickness)

    def difference(self, displacement: Tensor, log_thickness: Tensor) -> Tensor:
        """(K, 1, rows, cols) of the bent films and the fixed one."""
        bent = F.grid_sample(self.moving, self.places + displacement, padding_mode="border", align_corners=False)
        return _looks(bent * log_thickness[:, None].exp()) - self.looks

    def energy(self, controls: Sequence[Tensor], thickness: Tensor) -> Tensor:
        """(K,)."""
        displacement, log_thickness = self.dense(controls, thickness)
        differs = self.difference(displacement, log_thickness)
        slopes = (differs.diff(dim=3) * self.cols).square().mean((1, 2, 3)) + (differs.diff(dim=2) * self.rows).square().mean(
            (1, 2, 3)
        )
        return differs.square().mean((1, 2, 3)) + EDGES * slopes + self._stiff(displacement, thickness)

    def _stiff(self, displacement: Tensor, thickness: Tensor) -> Tensor:
        pixels = displacement * displacement.new_tensor([self.cols / 2.0, self.rows / 2.0])
        along_cols, along_rows = pixels.diff(dim=2), pixels.diff(dim=1)
        strain = along_cols.square().mean((1, 2, 3)) + along_rows.square().mean((1, 2, 3))
        mean = thickness.mean((1, 2))
        uneven = (thickness - mean[:, None, None]).square().mean((1, 2))
        usual = torch.zeros_like(mean)
        if self.stiffness.grows_alike:  # what is read at 1 + s times the distance is shown 1 / (1 + s) times as large
            stretches = (1.0 + along_cols[..., 0].mean((1, 2)), 1.0 + along_rows[..., 1].mean((1, 2)))
            usual = -0.5 * torch.stack([one.clamp_min(LEAST_STRETCH).log() for one in stretches]).sum(0)
        uneven = (1.0 + self.stiffness.unevenness) * uneven
        return self.stiffness.strain * strain + self.stiffness.thickness * ((mean - usual).square() + uneven)

    def _between(self, control: Tensor) -> Tensor:
        rows, cols = self.cubic[control.shape[-1]]
        return rows @ control @ cols.T


def identity_places(*size: int) -> Float[Tensor, "*size axes"]:
    """Where ``grid_sample`` reads every pixel or voxel itself, (x, y) or (x, y, z)."""
    places = [(torch.arange(n) + 0.5) / n * 2.0 - 1.0 for n in size]
    return torch.stack(torch.meshgrid(*places, indexing="ij")[::-1], dim=-1)


def _cubic(pixels: int, points: int) -> Float[Tensor, "pixels points"]:
    """What each control point counts in each pixel: as a matrix far faster than ``interpolate``, whose weights these are."""
    return F.interpolate(torch.eye(points)[None, None], size=(pixels, points), mode="bicubic", align_corners=True)[0, 0]


def _looks(film: Tensor) -> Tensor:
    return torch.log1p(film.clamp_min(0.0))


def _pooled(films: Tensor, pixels: int) -> Tensor:
    return F.avg_pool2d(films, pixels, ceil_mode=True) if pixels > 1 else films

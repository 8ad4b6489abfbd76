"""Arteries, veins and bronchi that fill a lung: recursive halving of the volume they supply.

A branch runs part of the way to the centre of the places it supplies, which are then halved across its course; radii
follow Murray's law: the cube of a radius is the sum of the cubes of its branches. The idea of growing airways to fill a
volume is that of Tawhai and co-workers (J Appl Physiol 2004;97:2310); this is a simple form of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from xct_components.data.phantom.great_vessels import GreatVessels
from xct_components.data.phantom.randomness import detail, normal
from xct_components.data.phantom.tubes import Tubes, joined

#: Terminal branches of the arteries and of the veins of one lung; a power of two.
LEAVES = 2048
#: How far a branch runs towards the centre of what it supplies.
_STRIDE = 0.42
#: Generations in which bronchi show on CT; later ones are thinner than their walls can be resolved.
_BRONCHIAL_GENERATIONS = 4
#: Lumen of a bronchus relative to its artery (about 1: general knowledge), and the side on which it runs.
_BRONCHUS_SHARE, _BRONCHUS_SIDE = 0.85, (0.0, -0.95, -0.3)
#: The first branch relative to the vessel at the hilum.
_LOBAR = 0.82
_MURRAY = 2.0 ** (-1.0 / 3.0)


@dataclass(frozen=True)
class LungTrees:
    """Blood vessels and bronchi of both lungs as tubes, reference mm; ``bronchi`` are lumina."""

    vessels: Tubes
    bronchi: Tubes


def grow_lung_trees(seed: int, vessels: GreatVessels, right_mm: Tensor, left_mm: Tensor) -> LungTrees:
    """Trees from the hila to every part of the lungs.

    Args:
        seed: of the person.
        vessels: whose pulmonary arteries and veins the trees continue.
        right_mm: at least 2 * LEAVES points inside the right lung, away from the pleura, reference mm.
        left_mm: likewise for the left.
    """
    generator = detail(seed, "lung trees")
    grown, bronchi = [], []
    for branch, targets in ((1, right_mm), (0, left_mm)):
        root, radius = vessels.end("pulmonary_artery", branch)
        artery = _tree(root, radius, targets[:LEAVES], generator)
        grown.append(artery)
        bronchi.append(_beside(artery))
        upper_first = targets[LEAVES : 2 * LEAVES]
        upper_first = upper_first[(upper_first[:, 2] + 0.5 * upper_first[:, 1]).argsort(descending=True)]
        for half, vein in zip(upper_first.chunk(2), (2 - 2 * branch, 3 - 2 * branch), strict=True):
            root, radius = vessels.end("pulmonary_vein", vein)
            grown.append(_tree(root, radius, half, generator))
    return LungTrees(joined(*grown), joined(*bronchi))


def _tree(root: Tensor, radius_mm: float, targets: Tensor, generator: torch.Generator) -> Tubes:
    """All branches from one root to ``targets``, a power of two of them."""
    groups, starts = targets[None], root[None]
    radii = torch.tensor([_LOBAR * radius_mm], dtype=torch.float64)
    pieces = []
    generations = len(targets).bit_length() - 1
    for generation in range(generations + 1):
        last = generation == generations
        stride = 1.0 if last else _STRIDE * (1.0 + 0.15 * normal(generator, len(groups), 1))
        ends = starts + stride * (groups.mean(dim=1) - starts)
        uneven = 0.12 * normal(generator, len(groups)).repeat_interleave(2) * torch.tensor([1.0, -1.0]).repeat(len(groups))
        next_radii = (radii * _MURRAY).repeat_interleave(2) * (1.0 + uneven)
        pieces.append(Tubes(starts, ends, radii, radii * _MURRAY, torch.zeros_like(starts)))
        if not last:
            groups, starts, radii = _halved(groups, ends - starts), ends.repeat_interleave(2, dim=0), next_radii
    return joined(*pieces)


def _halved(groups: Tensor, course: Tensor) -> Tensor:
    """(g, n, 3) -> (2g, n/2, 3): each group cut across its widest direction that is not the branch's course."""
    course = torch.nn.functional.normalize(course, dim=-1)[:, None]
    centred = groups - groups.mean(dim=1, keepdim=True)
    across = centred - 0.7 * (centred * course).sum(-1, keepdim=True) * course
    widest = torch.linalg.eigh(across.mT @ across)[1][..., -1:]
    order = (across @ widest).argsort(dim=1)
    return torch.gather(groups, 1, order.expand_as(groups)).reshape(2 * len(groups), -1, 3)


def _beside(artery: Tubes) -> Tubes:
    """The bronchi that run beside the first generations of an artery."""
    count = (1 << _BRONCHIAL_GENERATIONS) - 1
    side = torch.tensor(_BRONCHUS_SIDE, dtype=torch.float64)
    start_radius, end_radius = artery.start_radius_mm[:count], artery.end_radius_mm[:count]
    apart = 1.0 + 1.3 * _BRONCHUS_SHARE
    return Tubes(
        artery.start_mm[:count] + side * start_radius[:, None] * apart,
        artery.end_mm[:count] + side * end_radius[:, None] * apart,
        start_radius * _BRONCHUS_SHARE,
        end_radius * _BRONCHUS_SHARE,
        torch.zeros_like(artery.start_mm[:count]),
    )

"""A thorax as a CT: parameters and a grid in, HU and labels out."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from xct_components.data.phantom.anatomy import Anatomy, build_anatomy
from xct_components.data.phantom.cage import cavity
from xct_components.data.phantom.canvas import Canvas, blank_canvas
from xct_components.data.phantom.labels import LABELS, PATCHINESS_HU, USUAL_PATCHINESS_HU
from xct_components.data.phantom.lungs import lung_distance, mediastinum_distance
from xct_components.data.phantom.paint_lungs import (
    paint_consolidation,
    paint_effusion,
    paint_nodules,
    paint_parenchyma,
    paint_trees,
)
from xct_components.data.phantom.paint_skeleton import paint_skeleton
from xct_components.data.phantom.paint_soft_tissue import paint_abdomen, paint_great_vessels, paint_heart, paint_wall
from xct_components.data.phantom.parameters import ThoraxParameters
from xct_components.data.phantom.population import draw_thorax
from xct_components.data.phantom.texture import scanner_noise, texture_at
from xct_components.geometry import VolumeGrid

#: CT numbers are clipped to what scanners store.
LOWEST_HU, HIGHEST_HU = -1024.0, 3071.0
#: Voxels painted at a time; a larger volume is painted in slabs, so that memory stays near 1 GB.
MOST_VOXELS = 128**3


class Thorax(NamedTuple):
    """A phantom: ``ct_hu`` float32 and ``labels`` uint8 (see ``LABELS``), both (1, 1, D, H, W)."""

    ct_hu: Float[Tensor, "1 1 d h w"]
    labels: UInt8[Tensor, "1 1 d h w"]


def render_thorax(
    parameters: ThoraxParameters,
    grid: VolumeGrid,
    generator: torch.Generator | None = None,
    *,
    device: str | torch.device = "cpu",
) -> Thorax:
    """The CT and the label map of a person on a grid.

    The world's origin is the middle of the box around the lungs and, from front to back, of the body at their level: where
    ``data.prepare.chest_grid`` puts the middle of a CT's field.

    The anatomy is that of the parameters alone: another grid shows the same person. Edges are spread over a voxel and the
    scanner's point response (isotropic, of the voxel's cube-root size), so that a coarse phantom is nearly the average of
    a fine one.

    Args:
        parameters: the person.
        grid: any voxel lattice, also oblique; ``VolumeGrid.chest((64, 64, 64), 5.0)`` is the cascade's first stage.
        generator: a CPU generator for the scanner's noise; none gives a noise-free scan.
        device: where to paint.

    Returns:
        HU in [-1024, 3071] and labels, on ``device``.

    Example:
        >>> ct_hu, labels = render_thorax(ThoraxParameters(seed=1), VolumeGrid.chest((32, 32, 32), 10.0))
        >>> tuple(ct_hu.shape), int(labels[0, 0, 16, 16, 8]) == LABELS["lung_right"]
        ((1, 1, 32, 32, 32), True)
    """
    anatomy, where = build_anatomy(parameters), torch.device(device)
    depth, height, width = grid.shape
    slab = max(1, MOST_VOXELS // (height * width))
    tiles = [grid.crop((start, 0, 0), (min(slab, depth - start), height, width)) for start in range(0, depth, slab)]
    painted = [_paint(anatomy, tile, where) for tile in tiles]
    ct_hu = torch.cat([canvas.hu for canvas in painted])
    labels = torch.cat([canvas.labels for canvas in painted])
    if generator is not None and parameters.noise_hu > 0.0:
        ct_hu += scanner_noise(grid, parameters.noise_hu, parameters.kernel_fwhm_mm, generator).to(where)
    return Thorax(ct_hu.clamp_(LOWEST_HU, HIGHEST_HU)[None, None], labels[None, None])


def random_thorax(seed: int, grid: VolumeGrid, *, device: str | torch.device = "cpu") -> Thorax:
    """A random adult by seed, with noise: ``draw_thorax`` and ``render_thorax`` from one generator."""
    generator = torch.Generator().manual_seed(seed)
    return render_thorax(draw_thorax(generator), grid, generator, device=device)


def _paint(anatomy: Anatomy, grid: VolumeGrid, device: torch.device) -> Canvas:
    """One tile: later paint covers earlier paint."""
    canvas = blank_canvas(grid, anatomy.frame, anatomy.parameters.kernel_fwhm_mm, device)
    place = cavity(anatomy.chest.cage, canvas.points)
    texture = texture_at(anatomy.lattice.to(device), canvas.points)
    fine, coarse = texture.unbind()
    paint_wall(canvas, anatomy, place, coarse)
    paint_abdomen(canvas, anatomy, place)
    heart = canvas.nearest([anatomy.chest.heart.body()])
    tubes = {name: canvas.nearest(anatomy.chest.vessels.bodies(name)) for name in anatomy.chest.vessels.lines}
    mediastinum = mediastinum_distance(anatomy.chest, canvas.points, heart, tubes)
    lung = paint_parenchyma(canvas, anatomy, lung_distance(anatomy.chest, canvas.points, place, mediastinum), coarse)
    paint_heart(canvas, anatomy, heart)
    paint_great_vessels(canvas, anatomy.parameters.blood_enhancement_hu, tubes)
    paint_consolidation(canvas, anatomy, lung, fine)
    paint_trees(canvas, anatomy, lung)
    paint_nodules(canvas, anatomy, lung)
    paint_effusion(canvas, anatomy, lung, place)
    paint_skeleton(canvas, anatomy)
    canvas.hu.add_(_patchiness(canvas.labels) * (0.8 * fine + 0.6 * coarse))
    return canvas


def _patchiness(labels: Tensor) -> Tensor:
    """Standard deviation of the texture at every voxel, HU."""
    table = torch.tensor([PATCHINESS_HU.get(name, USUAL_PATCHINESS_HU) for name in LABELS], device=labels.device)
    return table[labels.int()]


def lung_volume_ml(labels: UInt8[Tensor, "*batch d h w"], grid: VolumeGrid) -> float:
    """Volume of both lungs with their vessels and all that displaces them, airways not counted, in ml; the mean of a batch."""
    names = ("lung_right", "lung_left", "lung_vessel", "nodule", "consolidation", "effusion")
    counted = torch.isin(labels, torch.tensor([LABELS[name] for name in names], device=labels.device))
    return float(counted.sum()) * grid.voxel_volume_mm3 / 1000.0 / math.prod(labels.shape[:-3])

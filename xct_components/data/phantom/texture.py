"""Patchiness of tissue that belongs to the person, and noise that belongs to the scan."""

from __future__ import annotations

import torch
from torch import Tensor

from xct_components.data.phantom.randomness import detail
from xct_components.data.phantom.shapes import Points
from xct_components.geometry import VolumeGrid

#: Nodes of the lattice per axis and their distance in reference mm; beyond it the outermost nodes repeat.
NODES, NODE_MM = 44, 11.0
#: Interpolated white noise keeps this standard deviation on average: (2/3)^(3/2).
_INTERPOLATED_STD = 0.544
#: Width of the coarse field, nodes.
_COARSE_NODES = 2.0


def texture_lattice(seed: int) -> Tensor:
    """(2, n, n, n) float32: a field that changes within a centimetre, and one within about 5 cm; mean 0, deviation 1."""
    fine, coarse = torch.randn(2, NODES, NODES, NODES, generator=detail(seed, "texture"))
    coarse = blurred(coarse, (_COARSE_NODES,) * 3)
    return torch.stack([fine / _INTERPOLATED_STD, (coarse - coarse.mean()) / coarse.std()])


def texture_at(lattice: Tensor, points: Points) -> Tensor:
    """(2, ...) values of both fields at reference points; the points' coordinates broadcast."""
    x, y, z = torch.broadcast_tensors(*points)
    half = NODES * NODE_MM / 2
    places = torch.stack([x, y, z], dim=-1).to(lattice) / half
    flat = places.reshape(1, 1, 1, -1, 3)
    values = torch.nn.functional.grid_sample(lattice[None], flat, padding_mode="border", align_corners=False)
    return values.reshape(2, *x.shape)


def scanner_noise(grid: VolumeGrid, noise_hu: float, fwhm_mm: float, generator: torch.Generator) -> Tensor:
    """(D, H, W) float32 noise of a voxel of ``grid``: averaged over it, and as smooth as the scanner's kernel.

    Args:
        grid: the voxels.
        noise_hu: standard deviation in a voxel of 1 mm^3.
        fwhm_mm: width of the kernel.
        generator: a CPU generator; the numbers do not depend on the device.
    """
    noise = torch.randn(grid.shape, generator=generator)
    widths = tuple(fwhm_mm / 2.355 / step for step in grid.spacing_mm)
    noise = blurred(noise, widths)
    std = noise_hu / max(1.0, grid.voxel_volume_mm3) ** 0.5
    return noise * (std / noise.std().clamp_min(1e-6))


def blurred(volume: Tensor, widths_voxel: tuple[float, ...]) -> Tensor:
    """A (D, H, W) volume blurred by a Gaussian of these standard deviations; widths below 0.3 voxel are none."""
    for axis, width in enumerate(widths_voxel):
        if width < 0.3:
            continue
        reach = max(1, round(3 * width))
        bell = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / width) ** 2)
        bell = (bell / bell.sum()).to(volume)
        rows = volume.movedim(axis, -1)
        shape = rows.shape
        padded = torch.nn.functional.pad(rows.reshape(1, -1, shape[-1]), (reach, reach), mode="replicate")
        volume = torch.nn.functional.conv1d(padded.transpose(0, 1), bell[None, None]).reshape(shape).movedim(-1, axis)
    return volume

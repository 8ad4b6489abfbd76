"""The rays of a beam, straight from its geometry: no code of the projector is used."""

from __future__ import annotations

import torch
from torch import Tensor

from xct_components.geometry import Beam, ConeBeam


def rays_through(beam: Beam, per_pixel: int = 1, share: float = 1.0) -> tuple[Tensor, Tensor]:
    """Origins and unit directions (RAS mm) of ``per_pixel``^2 rays spread over the middle ``share`` of every pixel.

    Returns:
        Two (rows * per_pixel, cols * per_pixel, 3) float64 tensors.
    """
    within = ((torch.arange(per_pixel, dtype=torch.float64) + 0.5) / per_pixel - 0.5) * share
    rows, cols = (
        (torch.arange(n, dtype=torch.float64)[:, None] + within).flatten() for n in (beam.detector.rows, beam.detector.cols)
    )
    pixels = beam.pixel_centers_mm(torch.stack(torch.meshgrid(rows, cols, indexing="ij"), -1))
    if isinstance(beam, ConeBeam):
        origin = torch.tensor(beam.source_mm, dtype=torch.float64).expand_as(pixels)
        direction = pixels - origin
    else:
        origin = pixels
        direction = beam.source_homogeneous[:3].expand_as(pixels)
    return origin, direction / direction.norm(dim=-1, keepdim=True)


def pixel_means(fine: Tensor, per_pixel: int) -> Tensor:
    """(rows * n, cols * n) -> (rows, cols): the mean over the n^2 rays of every pixel."""
    return fine.unflatten(1, (-1, per_pixel)).unflatten(0, (-1, per_pixel)).mean((1, 3))

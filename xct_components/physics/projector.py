"""DRR projection: line integrals of a volume along the rays of a film, their exact adjoint, and film values along rays.

    line_integral[pixel] = sum over slices of (mean of mu over the pixel's shadow in the slice) * path through the slice

All three operators are linear, keep nothing for backward, and differentiate any number of times in their first argument.
A film aligned with the voxels (frontal, lateral; any spacing, flip or permutation) takes the separable path, any other pose
samples slice by slice. Rays run through the whole volume: what lies behind the detector plane counts too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor

from xct_components.geometry import Beam, VolumeGrid
from xct_components.physics.linear_operator import LinearOperator, apply_linear
from xct_components.physics.projection_operator import FootprintName, projection_operator, readout_operator

Grids = VolumeGrid | Sequence[VolumeGrid]
Beams = Sequence[Beam] | Sequence[Sequence[Beam]]


def project(
    mu_per_mm: Float[Tensor, "b c d h w"],
    grid: Grids,
    beams: Beams,
    *,
    footprint: FootprintName = "area",
    roi: tuple[slice, slice] | None = None,
) -> Float[Tensor, "b v c rows cols"]:
    """Line integrals of ``mu_per_mm`` on the films of ``beams``.

    Args:
        mu_per_mm: (B, C, D, H, W) attenuation per mm (or any density: the film is its integral over mm), any float dtype.
        grid: where the voxels lie; one grid for the batch, or one per sample.
        beams: V exposures for the whole batch, or a list of V exposures per sample; all films of one shape.
        footprint: "area" averages over each pixel (default: no voxel is missed by a coarse detector);
            "ray" follows the pixel's centre ray (Joseph), for parity with ray-driven projectors.
        roi: film rows and columns to compute, as slices; voxels that no ray of the window meets are not read.

    Returns:
        (B, V, C, rows, cols) dimensionless line integrals, float32 (float64 for float64 input).

    Raises:
        ValueError: for a volume that is not 5-D, does not fit the grid or holds NaN/Inf, for unequal batches or film
            shapes, a volume outside the beam, or a source inside the volume.

    Example:
        >>> from xct_components.geometry import chest_beam_covering
        >>> grid = VolumeGrid.chest((64, 64, 64), spacing_mm=5.0)
        >>> film = project(torch.full((1, 1, 64, 64, 64), 0.02), grid, [chest_beam_covering(grid, "PA", 64, 64)])
        >>> film.shape, round(film[0, 0, 0, 32, 32].item(), 2)
        (torch.Size([1, 1, 1, 64, 64]), 6.4)
    """
    samples = _samples(grid, beams, mu_per_mm.shape[0], roi)
    for one_grid, _ in samples:
        _require_shape("mu_per_mm", tuple(mu_per_mm.shape[2:]), one_grid.shape, "pass the VolumeGrid of this volume")
    films = [
        torch.stack([_sheets(projection_operator(one_grid, beam, footprint), part) for beam in views], dim=1)
        for part, (one_grid, views) in zip(_parts(mu_per_mm, len(samples)), samples, strict=True)
    ]
    return _finite("mu_per_mm", films[0] if len(films) == 1 else torch.cat(films))


def backproject(
    line_integrals: Float[Tensor, "b v c rows cols"],
    grid: Grids,
    beams: Beams,
    *,
    footprint: FootprintName = "area",
    roi: tuple[slice, slice] | None = None,
) -> Float[Tensor, "b c d h w"]:
    """Hand film values back to the voxels they came from: the exact adjoint of projection.

    For every volume x and film y, <project(x), y> = <x, backproject(y)>.

    Args:
        line_integrals: (B, V, C, rows, cols) on the films of ``beams`` (of the ``roi``, if one is given).
        grid: where the voxels lie; one grid for the batch, or one per sample.
        beams: as in ``project``.
        footprint: as in ``project``.
        roi: as in ``project``.

    Returns:
        (B, C, D, H, W), summed over the views, in mm times the film's unit; float32 (float64 for float64 input).

    Raises:
        ValueError: as ``project``, for the film instead of the volume.
    """
    samples = _samples(grid, beams, line_integrals.shape[0], roi)
    volumes = []
    for part, (one_grid, views) in zip(_parts(line_integrals, len(samples)), samples, strict=True):
        _require_film("line_integrals", part, views)
        volumes.append(
            _sum_of(_sheets(projection_operator(one_grid, beam, footprint).adjoint, part[:, v]) for v, beam in enumerate(views))
        )
    return _finite("line_integrals", volumes[0] if len(volumes) == 1 else torch.cat(volumes))


def sample_along_rays(film: Float[Tensor, "b v c rows cols"], grid: Grids, beams: Beams) -> Float[Tensor, "b v c d h w"]:
    """What each film shows at the shadow of every voxel: film features lifted along the rays.

    Args:
        film: (B, V, C, rows, cols) film values or features; for a film finer than the voxels, average it to their size first.
        grid: the voxels to read for; one grid for the batch, or one per sample.
        beams: as in ``project``; their detectors have the film's rows and columns.

    Returns:
        (B, V, C, D, H, W): bilinear film values, 0 where a voxel's shadow misses the film; the views stay apart.
        float32 (float64 for float64 input). Differentiable in ``film``.

    Raises:
        ValueError: for shapes or batches that do not fit, NaN/Inf, or a source inside the volume.
    """
    samples = _samples(grid, beams, film.shape[0], None)
    volumes = []
    for part, (one_grid, views) in zip(_parts(film, len(samples)), samples, strict=True):
        _require_film("film", part, views)
        lifted = [_sheets(readout_operator(one_grid, beam), part[:, v]) for v, beam in enumerate(views)]
        volumes.append(torch.stack(lifted, dim=1))
    return _finite("film", volumes[0] if len(volumes) == 1 else torch.cat(volumes))


def _sheets(operator: LinearOperator, x: Tensor) -> Tensor:
    """Apply an operator on (S, ...) to (B, C, ...)."""
    return apply_linear(operator, x.flatten(0, 1)).unflatten(0, x.shape[:2])


def _samples(grid: Grids, beams: Beams, batch: int, roi: tuple[slice, slice] | None) -> list[tuple[VolumeGrid, list[Beam]]]:
    """(grid, views) per sample, or a single entry when the whole batch shares both."""
    if len(beams) == 0:
        raise ValueError("beams must hold at least one Beam, got none")
    shared = all(isinstance(beam, Beam) for beam in beams)
    per_sample = [cast(Sequence[Beam], beams)] if shared else list(cast(Sequence[Sequence[Beam]], beams))
    grids = [grid] if isinstance(grid, VolumeGrid) else list(grid)
    for name, count in (("grid", len(grids)), ("beams", len(per_sample))):
        if count not in (1, batch):
            raise ValueError(f"{name} must be one for the batch or one per sample, got {count} for a batch of {batch}")
    count = max(len(grids), len(per_sample))
    views = [[beam if roi is None else beam.crop(*roi) for beam in one] for one in per_sample]
    shapes = {(beam.detector.rows, beam.detector.cols) for one in views for beam in one}
    if len(shapes) != 1 or len({len(one) for one in views}) != 1:
        raise ValueError(f"beams must have one film shape and one number of views, got shapes {sorted(shapes)}; use .resampled")
    return list(zip(grids * (count // len(grids)), views * (count // len(views)), strict=True))


def _parts(x: Tensor, count: int) -> Sequence[Tensor]:
    return [x] if count == 1 else x.split(1)


def _sum_of(volumes: Iterator[Tensor]) -> Tensor:
    total = next(volumes)
    for volume in volumes:
        total = total + volume
    return total


def _require_film(name: str, film: Tensor, views: list[Beam]) -> None:
    detector = views[0].detector
    expected = (len(views), film.shape[2], detector.rows, detector.cols)
    _require_shape(name, tuple(film.shape[1:]), expected, "pass one film per beam, with the rows and columns of its detector")


def _require_shape(name: str, shape: tuple[int, ...], expected: tuple[int, ...], way_out: str) -> None:
    if shape != expected:
        wanted, got = (", ".join(map(str, sizes)) for sizes in (expected, shape))
        raise ValueError(f"{name} must have the shape (..., {wanted}), got (..., {got}); {way_out}")


def _finite(source: str, result: Tensor) -> Tensor:
    """NaN or Inf anywhere in the input reaches the output, which is smaller or already there: check that."""
    if not bool(torch.isfinite(result.detach().sum())):
        raise ValueError(f"{source} must be finite, got NaN or Inf; replace them (CT padding is air: 0 per mm)")
    return result

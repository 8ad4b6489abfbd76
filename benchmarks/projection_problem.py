"""The one projection problem that every method solves: a box of voxels, a PA film, phantoms with known line integrals."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from xct_components.geometry import ConeBeam, Detector, VolumeGrid, chest_cone_beam

#: Edge length of the voxel box and of the detector, in mm; the distances are those of an upright chest film.
BOX_MM = 360.0
DETECTOR_MM = 430.0
SOURCE_TO_DETECTOR_MM = 1800.0
SOURCE_TO_PATIENT_MM = 1600.0

#: Attenuation at the top of the blob and in the sphere, per mm: about water at 60 keV.
PEAK_MU_PER_MM = 0.02
#: Each voxel of the sphere is the mean of 3 x 3 x 3 points inside it.
SPHERE_SUBSAMPLES = 3
#: A pixel mean is taken over 16 x 16 rays: the sphere's limb is then known to about 1e-5 of its peak.
PIXEL_SUBSAMPLES = 16


@dataclass(frozen=True)
class ProjectionProblem:
    """A voxel grid and the exposure that looks at it.

    Args:
        grid: where the voxels lie; the volume is a contiguous (1, 1, D, H, W) tensor.
        beam: the exposure; the film is (rows, cols), rows head to feet, columns patient's right to left.
    """

    grid: VolumeGrid
    beam: ConeBeam

    def with_film(self, pixels: int) -> ProjectionProblem:
        """The same exposure read out with ``pixels`` x ``pixels``."""
        return replace(self, beam=self.beam.resampled(pixels, pixels))


def problem_of_size(size: str) -> ProjectionProblem:
    """The benchmark's problem: "128" is 128 cubed onto 128 x 128, "512x512x133" a CT of 133 slices onto 512 x 512.

    The three counts are those of an axial CT (columns x rows x slices), that is W x D x H of the volume tensor.

    Raises:
        ValueError: if ``size`` is not one or three positive counts.
    """
    counts = size.split("x")
    if len(counts) not in (1, 3) or not all(count.isdecimal() and int(count) > 0 for count in counts):
        raise ValueError(f"size must be a count such as 128, or columns x rows x slices such as 512x512x133, got {size!r}")
    width, depth, height = (int(count) for count in (counts * 3 if len(counts) == 1 else counts))
    shape = (depth, height, width)
    detector = Detector(rows=width, cols=width, pitch_mm=(DETECTOR_MM / width, DETECTOR_MM / width))
    beam = chest_cone_beam(
        "PA", detector, source_to_detector_mm=SOURCE_TO_DETECTOR_MM, source_to_patient_mm=SOURCE_TO_PATIENT_MM
    )
    return ProjectionProblem(VolumeGrid.chest(shape, [BOX_MM / n for n in shape]), beam)


@dataclass(frozen=True)
class GaussianBlob:
    """A smooth phantom: what is left of its error is the interpolation kernel."""

    center_mm: tuple[float, float, float] = (11.0, -8.0, 6.0)
    sigma_mm: float = 40.0

    def volume(self, grid: VolumeGrid) -> Tensor:
        """Attenuation per mm at the voxel centres, float32 (1, 1, D, H, W)."""
        factors = [torch.exp(-(square / (2 * self.sigma_mm**2))) for square in _axis_squares(grid, self.center_mm)]
        return (PEAK_MU_PER_MM * factors[0] * factors[1] * factors[2]).float()[None, None]

    def film(self, beam: ConeBeam) -> Tensor:
        """Exact line integrals of the pixels' centre rays, float64 (rows, cols)."""
        squared = _squared_distance_of_rays(beam, self.center_mm)
        return PEAK_MU_PER_MM * self.sigma_mm * math.sqrt(2 * math.pi) * torch.exp(-squared / (2 * self.sigma_mm**2))


@dataclass(frozen=True)
class Sphere:
    """A sharp phantom: its limb is what voxels cannot hold, its interior is what they can."""

    center_mm: tuple[float, float, float] = (11.0, -8.0, 6.0)
    radius_mm: float = 120.0

    def volume(self, grid: VolumeGrid) -> Tensor:
        """Attenuation per mm averaged over 3 x 3 x 3 points of each voxel, float32 (1, 1, D, H, W)."""
        fine = grid.resampled([n * SPHERE_SUBSAMPLES for n in grid.shape])
        axes = _axis_squares(fine, self.center_mm)
        count = torch.zeros(grid.shape)
        for d in range(SPHERE_SUBSAMPLES):
            for h in range(SPHERE_SUBSAMPLES):
                plane = axes[0][d::SPHERE_SUBSAMPLES] + axes[1][:, h::SPHERE_SUBSAMPLES]
                for w in range(SPHERE_SUBSAMPLES):
                    count += plane + axes[2][:, :, w::SPHERE_SUBSAMPLES] <= self.radius_mm**2
        return (PEAK_MU_PER_MM * count / SPHERE_SUBSAMPLES**3)[None, None]

    def film(self, beam: ConeBeam) -> Tensor:
        """Exact line integrals of the pixels' centre rays, float64 (rows, cols)."""
        squared = _squared_distance_of_rays(beam, self.center_mm)
        return 2 * PEAK_MU_PER_MM * (self.radius_mm**2 - squared).clamp(min=0.0).sqrt()

    def interior(self, beam: ConeBeam, share_of_radius: float) -> Tensor:
        """Pixels whose ray passes the centre within that share of the radius: bool (rows, cols)."""
        return _squared_distance_of_rays(beam, self.center_mm) <= (share_of_radius * self.radius_mm) ** 2


def pixel_mean_film(phantom: GaussianBlob | Sphere, beam: ConeBeam) -> Tensor:
    """Exact line integrals averaged over each pixel's area: float64 (rows, cols)."""
    rows, cols = beam.detector.rows, beam.detector.cols
    fine = phantom.film(beam.resampled(rows * PIXEL_SUBSAMPLES, cols * PIXEL_SUBSAMPLES))
    return fine.reshape(rows, PIXEL_SUBSAMPLES, cols, PIXEL_SUBSAMPLES).mean(dim=(1, 3))


def voxels_inside_beam(problem: ProjectionProblem) -> Tensor:
    """Voxels whose centre is seen by some point of the detector: bool (D, H, W)."""
    beam, grid = problem.beam, problem.grid
    indices = torch.stack(torch.meshgrid(*(torch.arange(n) for n in grid.shape), indexing="ij"), dim=-1)
    source, middle = _vector(beam.source_mm), _vector(beam.detector_center_mm)
    from_source = grid.world_from_voxels(indices) - source
    normal = _vector(beam.normal)
    on_plane = source + from_source * ((middle - source) @ normal / (from_source @ normal))[..., None]
    height_mm, width_mm = beam.detector.size_mm
    down, right = ((on_plane - middle) @ _vector(direction) for direction in (beam.row_direction, beam.col_direction))
    return (down.abs() < height_mm / 2) & (right.abs() < width_mm / 2)


def _vector(values: tuple[float, float, float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def _axis_squares(grid: VolumeGrid, center_mm: tuple[float, float, float]) -> list[Tensor]:
    """Squared distance (mm^2) to the centre along each axis of a straight grid, shaped to broadcast to (D, H, W)."""
    center = grid.voxels_from_world(_vector(center_mm))
    squares = []
    for axis, (count, step_mm) in enumerate(zip(grid.shape, grid.spacing_mm, strict=True)):
        distance_mm = (torch.arange(count, dtype=torch.float64) - center[axis]) * step_mm
        squares.append(distance_mm.square().reshape([-1 if i == axis else 1 for i in range(3)]))
    return squares


def _squared_distance_of_rays(beam: ConeBeam, center_mm: tuple[float, float, float]) -> Tensor:
    """Squared distance (mm^2) of every pixel's ray from a point: float64 (rows, cols)."""
    rows, cols = torch.arange(beam.detector.rows), torch.arange(beam.detector.cols)
    pixels = beam.pixel_centers_mm(torch.stack(torch.meshgrid(rows, cols, indexing="ij"), dim=-1))
    source = _vector(beam.source_mm)
    ray = torch.nn.functional.normalize(pixels - source, dim=-1)
    to_center = (_vector(center_mm) - source).expand_as(ray)
    return torch.linalg.cross(to_center, ray).square().sum(dim=-1)

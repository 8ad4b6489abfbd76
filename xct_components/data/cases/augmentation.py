"""Other patients from one CT: size, posture, elastic shape, scanner. Chosen first, applied later, hence replayable."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from xct_components.data.cases.random_draws import between, seed_of
from xct_components.geometry import VolumeGrid
from xct_components.physics.attenuation import AIR_HU

#: Random blocks of the elastic field along each side of the volume: bumps of about 64 mm in a field of 320 mm.
ELASTIC_POINTS = 5
#: Steps of each block while it is smoothed (odd, so that averaging stays centred).
ELASTIC_SUBDIVISION = 5
#: The field's bumps are as wide as the distance of its points: twice this displacement would fold the volume.
LARGEST_ELASTIC_MM = 25.0

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class PatientAugmentation:
    """How a CT is changed; the default changes nothing.

    Args:
        scale: size along the volume's axes D, H, W (anterior-posterior, superior-inferior, right-left), relative.
        rotation_rad: turns about these axes: sideways bend (D), turn of the body (H), tilt forward (W).
        shift_mm: displacement along these axes.
        elastic_mm: standard deviation of the elastic displacement, 0 to 25.
        elastic_seed: which elastic displacement.
        hu_gain: contrast of everything against air, relative.
        blur_mm: standard deviation of a Gaussian point response, a softer reconstruction kernel.
        noise_hu: standard deviation of white noise per voxel.
        noise_seed: which noise.

    Raises:
        ValueError: for a scale or gain that is not positive, or a negative or folding amplitude.
    """

    scale: Triple = (1.0, 1.0, 1.0)
    rotation_rad: Triple = (0.0, 0.0, 0.0)
    shift_mm: Triple = (0.0, 0.0, 0.0)
    elastic_mm: float = 0.0
    elastic_seed: int = 0
    hu_gain: float = 1.0
    blur_mm: float = 0.0
    noise_hu: float = 0.0
    noise_seed: int = 0

    def __post_init__(self) -> None:
        if min(self.scale) <= 0.0 or self.hu_gain <= 0.0:
            raise ValueError(f"scale and hu_gain must be positive, got {self.scale} and {self.hu_gain}")
        if not 0.0 <= self.elastic_mm <= LARGEST_ELASTIC_MM:
            raise ValueError(
                f"elastic_mm must lie between 0 and {LARGEST_ELASTIC_MM:g}, got {self.elastic_mm}; more folds the body"
            )
        if min(self.blur_mm, self.noise_hu) < 0.0:
            raise ValueError(f"blur_mm and noise_hu must be >= 0, got {self.blur_mm} and {self.noise_hu}")

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dictionary; ``from_json`` restores an equal augmentation."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> PatientAugmentation:
        """The augmentation that ``to_json`` described."""
        values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
        return cls(**values)


def draw_patient_augmentation(generator: torch.Generator) -> PatientAugmentation:
    """A random change as large as adults differ among themselves and from scan to scan.

    Chest breadth and depth vary between adults by about 8 % (one standard deviation), height of the lungs by about as much;
    positioning leaves turns of a few degrees. Shifts along the rays are small: a film does not show them, and every prepared
    CT is centred between front and back, so that they would only blur the answer. Elastic shape, gain, blur and noise are
    chosen to look like other patients and scanners, not measured.
    """
    return PatientAugmentation(
        scale=(between(generator, 0.85, 1.15), between(generator, 0.88, 1.12), between(generator, 0.88, 1.12)),
        rotation_rad=tuple(math.radians(between(generator, -limit, limit)) for limit in (4.0, 6.0, 6.0)),  # type: ignore[arg-type]
        shift_mm=tuple(between(generator, -limit, limit) for limit in (3.0, 15.0, 10.0)),  # type: ignore[arg-type]
        elastic_mm=between(generator, 0.0, 10.0),
        elastic_seed=seed_of(generator),
        hu_gain=between(generator, 0.97, 1.03),
        blur_mm=between(generator, 0.0, 1.5),
        noise_hu=between(generator, 0.0, 15.0),
        noise_seed=seed_of(generator),
    )


def augment_patient(
    ct_hu: Float[Tensor, "1 c d h w"], grid: VolumeGrid, augmentation: PatientAugmentation
) -> Float[Tensor, "1 c d h w"]:
    """Apply a chosen change, on the device of the volume: one trilinear resampling, then contrast, blur and noise.

    Args:
        ct_hu: (1, C, D, H, W) HU on ``grid``.
        grid: the voxels of the volume; scale, turns and shifts are about its centre. The same augmentation on another
            grid of the same field gives the same patient.
        augmentation: what to change.

    Returns:
        (1, C, D, H, W) HU; what comes from outside the volume is air.
    """
    density = ct_hu - AIR_HU
    if _moves(augmentation):
        density = F.grid_sample(density, _positions(grid, augmentation, ct_hu), padding_mode="zeros", align_corners=False)
    density = density * augmentation.hu_gain
    if augmentation.blur_mm > 0.0:
        density = _blurred(density, grid, augmentation.blur_mm)
    if augmentation.noise_hu > 0.0:
        noise = torch.randn(ct_hu.shape, generator=torch.Generator().manual_seed(augmentation.noise_seed))
        density = density + augmentation.noise_hu * noise.to(density)
    return density + AIR_HU


def _moves(change: PatientAugmentation) -> bool:
    return (
        change.scale != (1.0,) * 3
        or change.rotation_rad != (0.0,) * 3
        or change.shift_mm != (0.0,) * 3
        or change.elastic_mm > 0
    )


def _positions(grid: VolumeGrid, change: PatientAugmentation, like: Tensor) -> Tensor:
    """(1, D, H, W, 3) grid_sample positions, as (w, h, d): where in the CT each voxel of the new patient comes from."""
    half_mm = like.new_tensor(grid.extent_mm) / 2
    axes = [(torch.arange(n, device=like.device, dtype=like.dtype) + 0.5) / n * 2 - 1 for n in grid.shape]
    place = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1) * half_mm  # mm from the centre, along D, H, W
    place = place - like.new_tensor(change.shift_mm)
    place = place @ _rotation(change.rotation_rad).to(like) / like.new_tensor(change.scale)
    if change.elastic_mm > 0.0:
        place = place + _elastic_mm(grid.shape, change, like)
    return (place / half_mm).flip(-1)[None]


def _rotation(angles_rad: Triple) -> Tensor:
    """Turn about D, then H, then W."""
    total = torch.eye(3, dtype=torch.float64)
    for axis, angle in enumerate(angles_rad):
        a, b = [other for other in range(3) if other != axis]
        turn = torch.eye(3, dtype=torch.float64)
        turn[a, a] = turn[b, b] = math.cos(angle)
        turn[a, b], turn[b, a] = -math.sin(angle), math.sin(angle)
        total = turn @ total
    return total


def _elastic_mm(shape: tuple[int, int, int], change: PatientAugmentation, like: Tensor) -> Tensor:
    """(D, H, W, 3) smooth displacement: random blocks, averaged twice (a quadratic spline), the same on every grid."""
    points = torch.randn((3, 1, *(ELASTIC_POINTS,) * 3), generator=torch.Generator().manual_seed(change.elastic_seed))
    field = F.interpolate(points, scale_factor=ELASTIC_SUBDIVISION, mode="nearest")
    for _ in range(2):
        padded = F.pad(field, (ELASTIC_SUBDIVISION // 2,) * 6, mode="replicate")
        field = F.avg_pool3d(padded, ELASTIC_SUBDIVISION, stride=1)
    field = F.interpolate(field.to(like) / field.std(), size=shape, mode="trilinear", align_corners=False)
    return change.elastic_mm * field[:, 0].permute(1, 2, 3, 0)


def _blurred(volume: Tensor, grid: VolumeGrid, sigma_mm: float) -> Tensor:
    """Gaussian along each axis, out to three standard deviations; edges repeat."""
    for axis, spacing_mm in enumerate(grid.spacing_mm):
        reach = math.ceil(3 * sigma_mm / spacing_mm)
        offsets = torch.arange(-reach, reach + 1, device=volume.device, dtype=volume.dtype) * spacing_mm
        kernel = torch.exp(-offsets.square() / (2 * sigma_mm**2))
        shape, pad = [1] * 5, [0] * 6
        shape[2 + axis] = -1
        pad[4 - 2 * axis] = pad[5 - 2 * axis] = reach
        sheets = F.pad(volume.flatten(0, 1)[:, None], pad, mode="replicate")
        volume = F.conv3d(sheets, (kernel / kernel.sum()).view(shape)).view_as(volume)
    return volume

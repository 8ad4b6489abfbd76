"""The default exposure of a patient whose CT is known: where the body is, and the film that shows its middle."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from xct_components.geometry import ChestView, ConeBeam, Detector, VolumeGrid, chest_cone_beam
from xct_components.geometry.chest import SOURCE_TO_DETECTOR_MM, SOURCE_TO_PATIENT_MM

#: The field of the cascade's volumes: 320 mm in the patient (64 voxels of 5 mm).
FIELD_MM = 320.0
#: Skin and lung walls are denser than this (HU), table foam, clothes and air are not.
BODY_HU = -500.0
#: The body is sought on voxels of about this size; what is thinner than three of them (table shells, cables) is not body.
COARSE_MM = 4.0


@dataclass(frozen=True)
class ChestExposure:
    """A beam, and the patient it was made for.

    Args:
        view: "PA", "AP", "LL" (left lateral) or "RL".
        beam: source and film.
        isocenter_mm: RAS position of the middle of the body, on the central ray; sizes "in the patient" hold in its plane.
    """

    view: ChestView
    beam: ConeBeam
    isocenter_mm: tuple[float, float, float]

    @property
    def magnification(self) -> float:
        """Size on the detector / size in the patient."""
        return self.beam.magnification_at(self.isocenter_mm)

    @property
    def source_to_patient_mm(self) -> float:
        """SOD."""
        return self.beam.source_to_detector_mm / self.magnification

    @property
    def pixel_in_patient_mm(self) -> tuple[float, float]:
        """Height and width that a pixel shows in the plane of the isocentre."""
        height_mm, width_mm = self.beam.detector.pitch_mm
        return height_mm / self.magnification, width_mm / self.magnification

    @property
    def field_mm(self) -> tuple[float, float]:
        """Height and width that the film shows in the plane of the isocentre."""
        height_mm, width_mm = self.pixel_in_patient_mm
        return self.beam.detector.rows * height_mm, self.beam.detector.cols * width_mm

    def coverage_mm(self, grid: VolumeGrid) -> tuple[float, float]:
        """How much of the field's height and width ``grid`` fills; less than ``field_mm`` where the CT ends early."""
        corners = torch.cartesian_prod(*(torch.tensor([-0.5, count - 0.5]) for count in grid.shape))
        offsets = grid.world_from_voxels(corners) - torch.tensor(self.isocenter_mm, dtype=torch.float64)
        covered = []
        for direction, size_mm in zip((self.beam.row_direction, self.beam.col_direction), self.field_mm, strict=True):
            along = offsets @ torch.tensor(direction, dtype=torch.float64)
            low, high = max(float(along.amin()), -size_mm / 2), min(float(along.amax()), size_mm / 2)
            covered.append(max(0.0, high - low))
        return covered[0], covered[1]


def chest_exposure_for(
    ct_hu: Float[Tensor, "1 1 d h w"],
    grid: VolumeGrid,
    view: ChestView,
    *,
    rows: int = 512,
    cols: int = 512,
    field_mm: float = FIELD_MM,
    source_to_detector_mm: float = SOURCE_TO_DETECTOR_MM,
    source_to_patient_mm: float = SOURCE_TO_PATIENT_MM,
) -> ChestExposure:
    """The exposure whose central ray runs through the middle of the body.

    Args:
        ct_hu: (1, 1, D, H, W) HU.
        grid: where its voxels lie.
        view: "PA", "AP", "LL" (left lateral) or "RL".
        rows: film rows.
        cols: film columns.
        field_mm: longer side of the field, in the patient, in the plane of the body's middle; pixels are square.
        source_to_detector_mm: SID.
        source_to_patient_mm: SOD: focal spot to the middle of the body.

    Raises:
        ValueError: for a size, field or distance that is not positive, or distances out of order.
    """
    if not 0.0 < field_mm < float("inf"):
        raise ValueError(f"field_mm must be positive, got {field_mm}; a chest film shows about {FIELD_MM:g} mm")
    low_mm, high_mm = body_box_mm(ct_hu, grid)
    x_mm, y_mm, z_mm = ((low_mm + high_mm) / 2).tolist()
    beam = chest_cone_beam(
        view,
        Detector(rows, cols, 1.0),
        isocenter_mm=(x_mm, y_mm, z_mm),
        source_to_detector_mm=source_to_detector_mm,
        source_to_patient_mm=source_to_patient_mm,
    )
    pitch_mm = field_mm / max(rows, cols) * source_to_detector_mm / source_to_patient_mm
    beam = replace(beam, detector=Detector(rows, cols, pitch_mm))
    return ChestExposure(view, beam, (x_mm, y_mm, z_mm))


def body_box_mm(ct_hu: Float[Tensor, "1 1 d h w"], grid: VolumeGrid) -> tuple[Float[Tensor, "xyz=3"], Float[Tensor, "xyz=3"]]:
    """Lowest and highest RAS mm of the largest dense object that is not thin: the body without its table."""
    from skimage.measure import label

    steps = torch.tensor([max(1, min(n, round(COARSE_MM / mm))) for n, mm in zip(grid.shape, grid.spacing_mm, strict=True)])
    first = steps // 2
    d, h, w = (slice(start, None, step) for start, step in zip(first.tolist(), steps.tolist(), strict=True))
    dense = (ct_hu[0, 0, d, h, w] > BODY_HU).float().contiguous()
    thick = _without_thin_parts(dense)
    labels = torch.from_numpy(label((thick if bool(thick.any()) else dense).bool().numpy(), connectivity=1))
    sizes = torch.bincount(labels.flatten())
    sizes[0] = 0
    body = (labels == sizes.argmax()) if bool(sizes.any()) else torch.ones_like(labels, dtype=torch.bool)
    positions_mm = grid.world_from_voxels(body.nonzero() * steps + first)
    half_mm = grid.affine[:3, :3].abs() @ steps.double() / 2
    return positions_mm.amin(0) - half_mm, positions_mm.amax(0) + half_mm


def _without_thin_parts(mask: Tensor) -> Tensor:
    """Morphological opening by 3 x 3 x 3 voxels (fewer along an axis that has fewer); outside counts as dense."""
    kernel = [3 if size >= 3 else 1 for size in mask.shape]
    padding = [size // 2 for size in kernel]
    eroded = -F.max_pool3d(-mask[None], kernel, 1, padding)
    return F.max_pool3d(eroded, kernel, 1, padding)[0]

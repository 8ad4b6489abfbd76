"""The exposures of a chest examination: PA, AP and lateral, from distances or from DICOM tags."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from xct_components.geometry.beam import ConeBeam, ParallelBeam
from xct_components.geometry.detector import Detector
from xct_components.geometry.vectors import Vector3, as_vector3, is_positive, shifted
from xct_components.geometry.volume_grid import VolumeGrid

#: DICOM ViewPosition (0018,5101). LL: the patient's left side against the detector.
ChestView = Literal["PA", "AP", "LL", "RL"]

#: Erect chest: 180 cm tube to detector (European Guidelines EUR 16260: 180 (140-200) cm).
SOURCE_TO_DETECTOR_MM = 1800.0
#: The middle of the chest stands about 20 cm in front of the detector.
SOURCE_TO_PATIENT_MM = 1600.0

# For each view: ray direction, row direction, column direction, in RAS. Frontal films show the patient's right on the
# viewer's left whichever way the rays ran; a left lateral shows the patient facing the viewer's left.
_FRAMES: dict[str, tuple[Vector3, Vector3, Vector3]] = {
    "PA": ((0.0, 1.0, 0.0), (0.0, 0.0, -1.0), (-1.0, 0.0, 0.0)),
    "AP": ((0.0, -1.0, 0.0), (0.0, 0.0, -1.0), (-1.0, 0.0, 0.0)),
    "LL": ((-1.0, 0.0, 0.0), (0.0, 0.0, -1.0), (0.0, -1.0, 0.0)),
    "RL": ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0), (0.0, 1.0, 0.0)),
}

_BY_HAND = "build the beam with chest_cone_beam(...)"


def chest_cone_beam(
    view: ChestView,
    detector: Detector,
    *,
    isocenter_mm: Sequence[float] = (0.0, 0.0, 0.0),
    source_to_detector_mm: float = SOURCE_TO_DETECTOR_MM,
    source_to_patient_mm: float = SOURCE_TO_PATIENT_MM,
) -> ConeBeam:
    """A centred chest exposure of an upright patient.

    Args:
        view: "PA", "AP", "LL" (left lateral) or "RL" (right lateral).
        detector: the pixel array; its pitch is on the detector, not in the patient.
        isocenter_mm: RAS position of the middle of the chest; the central ray runs through it.
        source_to_detector_mm: SID, DICOM (0018,1110).
        source_to_patient_mm: SOD, DICOM (0018,1111): focal spot to ``isocenter_mm``; less than the SID.

    Raises:
        ValueError: for an unknown view or distances out of order.
    """
    ray, row, col = _frame(view)
    if not 0.0 < source_to_patient_mm < source_to_detector_mm < math.inf:
        raise ValueError(
            f"source_to_patient_mm must lie between 0 and source_to_detector_mm, got {source_to_patient_mm} and "
            f"{source_to_detector_mm}; a chest film has about 1600 and 1800"
        )
    isocenter = as_vector3(isocenter_mm, "isocenter_mm")
    return ConeBeam(
        detector,
        shifted(isocenter, (source_to_detector_mm - source_to_patient_mm, ray)),
        row,
        col,
        source_mm=shifted(isocenter, (-source_to_patient_mm, ray)),
    )


def chest_parallel_beam(
    view: ChestView, detector: Detector, *, isocenter_mm: Sequence[float] = (0.0, 0.0, 0.0)
) -> ParallelBeam:
    """A chest exposure with the tube at infinity: no magnification, pixel pitch = size in the patient."""
    ray, row, col = _frame(view)
    return ParallelBeam(detector, as_vector3(isocenter_mm, "isocenter_mm"), row, col, ray_direction=ray)


def chest_beam_covering(
    grid: VolumeGrid,
    view: ChestView,
    rows: int,
    cols: int,
    *,
    source_to_detector_mm: float = SOURCE_TO_DETECTOR_MM,
    source_to_patient_mm: float = SOURCE_TO_PATIENT_MM,
) -> ConeBeam:
    """The cone-beam exposure whose film shows exactly the field of ``grid``, measured in the plane of its centre.

    A 64 x 64 film of ``VolumeGrid.chest((64, 64, 64), 5.0)`` has pixels of 5 mm in the patient, 5.625 mm on the detector.

    Raises:
        ValueError: if the grid is oblique to the view (resample it first) or the distances are out of order.
    """
    beam = chest_cone_beam(
        view,
        Detector(rows, cols, pitch_mm=1.0),
        isocenter_mm=grid.center_mm,
        source_to_detector_mm=source_to_detector_mm,
        source_to_patient_mm=source_to_patient_mm,
    )
    magnification = source_to_detector_mm / source_to_patient_mm
    height_mm, width_mm = (_extent_along(grid, direction) for direction in (beam.row_direction, beam.col_direction))
    pitch_mm = (height_mm * magnification / rows, width_mm * magnification / cols)
    return replace(beam, detector=Detector(rows, cols, pitch_mm))


def chest_beam_from_dicom(dataset: Any, *, isocenter_mm: Sequence[float] = (0.0, 0.0, 0.0)) -> ConeBeam:
    """The exposure that a CR/DX header describes: a pydicom Dataset, or anything with the same attribute names.

    Reads Rows, Columns, ViewPosition, ImagerPixelSpacing (0018,1164), DistanceSourceToDetector (0018,1110) and
    DistanceSourceToPatient (0018,1111). The header does not say where the patient stood: ``isocenter_mm`` does.

    Raises:
        ValueError: naming the tag that is missing, empty or out of range. Nothing is assumed silently.
    """
    view = getattr(dataset, "ViewPosition", None)
    if view not in tuple(_FRAMES):
        raise ValueError(f"ViewPosition must be one of {', '.join(_FRAMES)}, got {view!r}; {_BY_HAND} and the view you see")
    rows, cols, sid_mm, sod_mm = (
        _positive(dataset, name) for name in ("Rows", "Columns", "DistanceSourceToDetector", "DistanceSourceToPatient")
    )
    return chest_cone_beam(
        view,
        Detector(int(rows), int(cols), _pixel_pitch_mm(dataset)),
        isocenter_mm=isocenter_mm,
        source_to_detector_mm=sid_mm,
        source_to_patient_mm=sod_mm,
    )


def _frame(view: str) -> tuple[Vector3, Vector3, Vector3]:
    if view not in tuple(_FRAMES):
        raise ValueError(f"view must be one of {', '.join(_FRAMES)}, got {view!r}; a film of another view has no frame here")
    return _FRAMES[view]


def _extent_along(grid: VolumeGrid, direction: Vector3) -> float:
    cosines = [abs(sum(grid.world_from_voxel[i][axis] * direction[i] for i in range(3))) for axis in range(3)]
    axis = max(range(3), key=lambda i: cosines[i] / grid.spacing_mm[i])
    if cosines[axis] < (1.0 - 1e-3) * grid.spacing_mm[axis]:
        raise ValueError(
            f"grid must be aligned with the view, got axes {grid.axis_codes} oblique to {direction}; resample it to a "
            "straight grid, or place the detector with chest_cone_beam(...)"
        )
    return grid.extent_mm[axis]


def _positive(dataset: Any, name: str) -> float:
    value = _number(getattr(dataset, name, None))
    if not is_positive(value):
        raise ValueError(f"{name} must be positive, got {getattr(dataset, name, None)!r}; {_BY_HAND} and known distances")
    return value


def _pixel_pitch_mm(dataset: Any) -> tuple[float, float]:
    value = getattr(dataset, "ImagerPixelSpacing", None)
    pitch = [_number(number) for number in value] if isinstance(value, Sequence) and not isinstance(value, str) else []
    if len(pitch) != 2 or not all(is_positive(number) for number in pitch):
        raise ValueError(f"ImagerPixelSpacing must be two positive numbers, got {value!r}; {_BY_HAND} and a known pixel pitch")
    return pitch[0], pitch[1]


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):  # a missing, empty or multi-valued tag
        return math.nan

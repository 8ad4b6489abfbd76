"""The standard deviation as a Parametric Map (PS3.3 A.75), voxel on voxel over the CT series it belongs to."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from xct_components.dicom.axial_slices import axial_slices
from xct_components.dicom.elements import item, uid
from xct_components.dicom.source_film import SourceFilm
from xct_components.dicom.synthetic_run import MANUFACTURER, MODEL, SyntheticRun
from xct_components.geometry import VolumeGrid

SERIES_NUMBER = 9002
SERIES_DESCRIPTION = "SYNTHETIC from CXR, uncertainty - NOT FOR DIAGNOSIS"
#: Window centre and width, HU.
WINDOW_HU = (250.0, 500.0)
#: What highdicom needs to know of the series. It would log a patient's name that it finds odd, so it is shown nobody's.
_PLACE = (
    "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID",
    "PositionReferenceIndicator", "ImageType", "Rows", "Columns", "ImagePositionPatient", "ImageOrientationPatient",
    "PixelSpacing", "SliceThickness",
)  # fmt: skip
_NOBODY = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate", "StudyTime",
    "ReferringPhysicianName",
)  # fmt: skip


def write_uncertainty_map(
    path: Path,
    std_hu: Float[Tensor, "1 d h w"],
    grid: VolumeGrid,
    slices: Sequence[Any],
    film: SourceFilm,
    run: SyntheticRun,
    *,
    meaning: str = "Standard deviation over the samples",
) -> None:
    """One multi-frame file of float32 HU, not rounded.

    Args:
        path: where to write.
        std_hu: (1, D, H, W) standard deviation, HU, >= 0.
        grid: where its voxels lie, RAS mm.
        slices: the CT series of the same run and grid, from ``ct_slices``: the map lies in its frame of reference and refers
            to it.
        film: whose it is.
        run: what made it.
        meaning: of the values, at most 64 characters (LO).

    Raises:
        ValueError: if the map and the series are not of one size.
    """
    values = axial_slices(std_hu, grid).values
    if values.shape != (len(slices), slices[0].Rows, slices[0].Columns):
        raise ValueError(f"slices must be those of the map's grid {values.shape}, got {len(slices)}; use ct_slices")
    document = _parametric_map(values, [_place(image) for image in slices], run, meaning)
    for keyword in _NOBODY:
        del document[keyword]
    document.update(copy.deepcopy(film.patient_and_study))
    run.mark(document, film)
    document.BodyPartExamined = "CHEST"
    own = uid(str(slices[0].SeriesInstanceUID), "dimensions")
    for holder in (*document.DimensionIndexSequence, *document.DimensionOrganizationSequence):
        holder.DimensionOrganizationUID = own
    document.save_as(path, enforce_file_format=True)


def _place(image: Any) -> Any:
    """Where an image lies, without whose it is."""
    return item(**{keyword: image[keyword].value for keyword in _PLACE}, **dict.fromkeys(_NOBODY, ""))


def _parametric_map(values: Float[np.ndarray, "s r c"], places: Sequence[Any], run: SyntheticRun, meaning: str) -> Any:
    from highdicom import VOILUTTransformation
    from highdicom.pm import ParametricMap, RealWorldValueMapping
    from pydicom.sr.codedict import codes

    series = str(places[0].SeriesInstanceUID)
    mapping = RealWorldValueMapping(
        lut_label="STD_HU",
        lut_explanation=meaning,
        unit=codes.UCUM.HounsfieldUnit,
        value_range=(0.0, float(max(values.max(), 1.0))),
        slope=1.0,
        intercept=0.0,
        quantity_definition=codes.SCT.StandardDeviation,
    )
    return ParametricMap(
        places,
        values,
        series_instance_uid=uid(series, "uncertainty series"),
        series_number=SERIES_NUMBER,
        series_description=SERIES_DESCRIPTION,
        sop_instance_uid=uid(series, "uncertainty"),
        instance_number=1,
        manufacturer=MANUFACTURER,
        manufacturer_model_name=MODEL,
        software_versions=run.software,
        device_serial_number=run.weights[-1][1][:16] if run.weights else "NONE",
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[mapping],
        voi_lut_transformations=[VOILUTTransformation(*WINDOW_HU)],
        content_label="STD_HU",
        content_description="Uncertainty of a synthetic CT",
    )

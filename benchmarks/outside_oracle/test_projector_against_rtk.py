"""RTK's Joseph projector, a C++ code base that shares nothing with ours, on the same rays."""

from __future__ import annotations

import itk
import numpy as np
import torch
from torch import Tensor

from xct_components.geometry import Detector, VolumeGrid, chest_cone_beam
from xct_components.physics.projector import project

GRID = VolumeGrid.chest((48, 56, 64), (6.0, 5.5, 5.0))
PA = chest_cone_beam("PA", Detector(rows=50, cols=60, pitch_mm=(6.2, 5.9)))
#: Both interpolate the same float32 samples; RTK keeps its geometry in float32 matrices too.
AGREEMENT = 1e-5


def rtk_joseph(mu: Tensor) -> Tensor:
    """RTK at gantry angle 0: its x runs along film columns, y down film rows, z to the source, so W, H and D of a PA film."""
    rtk, image_type = itk.RTK, itk.Image[itk.F, 3]
    image = itk.image_view_from_array(np.ascontiguousarray(mu.numpy()))
    image.SetSpacing(list(GRID.spacing_mm[::-1]))
    image.SetOrigin([-(n - 1) / 2 * step for n, step in zip(GRID.shape[::-1], GRID.spacing_mm[::-1], strict=True)])
    geometry = rtk.ThreeDCircularProjectionGeometry.New()
    geometry.AddProjection(-PA.source_mm[1], PA.source_to_detector_mm, 0.0)
    blank = rtk.ConstantImageSource[image_type].New()
    row_mm, col_mm = PA.detector.pitch_mm
    blank.SetSize([PA.detector.cols, PA.detector.rows, 1])
    blank.SetSpacing([col_mm, row_mm, 1.0])
    blank.SetOrigin([-(PA.detector.cols - 1) / 2 * col_mm, -(PA.detector.rows - 1) / 2 * row_mm, 0.0])
    joseph = rtk.JosephForwardProjectionImageFilter[image_type, image_type].New()
    joseph.SetInput(0, blank.GetOutput())
    joseph.SetInput(1, image)
    joseph.SetGeometry(geometry)
    joseph.Update()
    return torch.from_numpy(itk.array_from_image(joseph.GetOutput()))[0]


def test_rtks_joseph_and_the_ray_footprint_give_the_same_film() -> None:
    d, h, w = torch.meshgrid(*[torch.linspace(-1, 1, n) for n in GRID.shape], indexing="ij")
    inside = ((d / 0.7) ** 2 + (h / 0.8) ** 2 + (w / 0.9) ** 2 < 1).float()
    body = inside * (1.0 + 0.5 * torch.sin(7 * d + 5 * h - 9 * w))
    theirs, ours = rtk_joseph(body), project(body[None, None], GRID, [PA], footprint="ray")[0, 0, 0]
    assert float(theirs.amax()) > 100.0  # millimetres of body: not an empty film
    assert float((theirs - ours).norm() / theirs.norm()) < AGREEMENT

"""RTK's Joseph projector, a C++ code base that shares nothing with ours, on the same rays."""

from __future__ import annotations

import torch

from benchmarks.projection_problem import ProjectionProblem
from benchmarks.projector_peers import METHODS
from xct_components.geometry import Detector, VolumeGrid, chest_cone_beam
from xct_components.physics.projector import project

#: Both interpolate the same float32 samples; RTK keeps its geometry in float32 matrices too.
AGREEMENT = 1e-5


def test_rtks_joseph_and_the_ray_footprint_give_the_same_film() -> None:
    grid = VolumeGrid.chest((48, 56, 64), (6.0, 5.5, 5.0))
    beam = chest_cone_beam("PA", Detector(rows=50, cols=60, pitch_mm=(6.2, 5.9)))
    d, h, w = torch.meshgrid(*[torch.linspace(-1, 1, n) for n in grid.shape], indexing="ij")
    inside = ((d / 0.7) ** 2 + (h / 0.8) ** 2 + (w / 0.9) ** 2 < 1).float()
    body = (inside * (1.0 + 0.5 * torch.sin(7 * d + 5 * h - 9 * w)))[None, None]
    theirs = METHODS["rtk_joseph"].bind(ProjectionProblem(grid, beam), body)()
    ours = project(body, grid, [beam], footprint="ray")[0, 0, 0]
    assert float(theirs.amax()) > 100.0  # millimetres of body: not an empty film
    assert float((theirs - ours).norm() / theirs.norm()) < AGREEMENT

"""Films as they lie on a field: which of its axes they look along, and what they show of its middle plane."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from xct_components.geometry import Beam, VolumeGrid
from xct_components.physics.projector import sample_along_rays

#: A film belongs to the axis of the field that its central ray follows to this cosine (10 degrees).
ALONG_AXIS = 0.985


def axis_of(field: VolumeGrid, beam: Beam) -> int | None:
    """The axis of the field that the exposure looks along: 0 for a frontal film, 2 for a lateral one; None if oblique."""
    steps = field.affine[:3, :3] / field.affine.new_tensor(field.spacing_mm)
    cosines = (steps.T @ field.affine.new_tensor(beam.normal)).abs()
    axis = int(cosines.argmax())
    return axis if float(cosines[axis]) >= ALONG_AXIS else None


def read_on_middle_plane(
    film: Float[Tensor, "b 1 1 rows cols"], field: VolumeGrid, beam: Beam, axis: int, size: Sequence[int]
) -> Float[Tensor, "b n m"]:
    """What films show where the middle plane of the field casts its shadow: in the patient's own millimetres.

    Args:
        film: line integrals of one exposure.
        field: what is to be read.
        beam: the exposure, along ``axis``.
        axis: of the field.
        size: pixels along D, H and W; those of the two other axes count.

    Returns:
        Means of 2 x 2 readings: (H, W) for axis 0, (D, H) for axis 2.
    """
    shape = [2 * n + (k == axis) for k, n in enumerate(size)]  # odd along the rays, so that one slice is the middle
    start, plane = [size[axis] * (k == axis) for k in range(3)], [1 if k == axis else n for k, n in enumerate(shape)]
    read = sample_along_rays(film, field.resampled(shape).crop(start, plane), [beam])[:, 0, 0].squeeze(axis + 1)
    return torch.nn.functional.avg_pool2d(read, 2)

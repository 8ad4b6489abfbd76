"""What a film says of the whole chest, linearly: the atlas, moved along its main variations as far as the film tells.

Ridge regression (Hoerl & Kennard, Technometrics 1970;12:55) from the films, read on the field, to the scores of the training
cases' principal components. It is measured like the atlas, not learned by gradient, and so needs a few cases where a network
needs thousands; the network starts from its volume and predicts what is still wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xct_components.geometry import Beam, VolumeGrid
from xct_components.physics.attenuation import FILM_ENERGY_KEV, water_mu_per_mm
from xct_components.physics.consistency import Consistency, fit_gain_offset
from xct_components.physics.projector import project, sample_along_rays

#: Voxels a side of the components, and pixels a side of the films they are told from: 10 mm.
REGRESSION_SIDE = 32
#: A film belongs to the axis of the field that its central ray follows to this cosine (10 degrees).
ALONG_AXIS = 0.985
#: The regressions: what the films are (see ``film_kind``), each with its own coefficients.
KINDS = ("exact, one film", "exact, two films", "fitted, one film", "fitted, two films")


class FilmToScores(NamedTuple):
    """A linear map. ``coefficient``: (kinds, rank, features) per unit of line integral; ``bias``: (kinds, rank)."""

    coefficient: Tensor
    bias: Tensor

    def scores(self, features: Tensor, kind: int) -> Tensor:
        """(features,) -> (rank,)."""
        return self.coefficient[kind].float() @ features + self.bias[kind]


class AtlasRegression(nn.Module):
    """Main variations of the chest and how films tell them, part of a stage's weights.

    Args:
        rank: number of components.
        size: voxels of a component along D, H and W.
    """

    component: Tensor  # (rank, D, H, W) in units of water's attenuation
    coefficient: Tensor
    bias: Tensor

    def __init__(self, rank: int, size: Sequence[int] = (REGRESSION_SIDE,) * 3) -> None:
        super().__init__()
        d, h, w = size
        self.register_buffer("component", torch.zeros(rank, d, h, w))
        self.register_buffer("coefficient", torch.zeros(len(KINDS), rank, feature_count(size)))
        self.register_buffer("bias", torch.zeros(len(KINDS), rank))

    @property
    def size(self) -> tuple[int, int, int]:
        """Voxels of a component along D, H and W."""
        d, h, w = self.component.shape[1:]
        return d, h, w

    @property
    def film_to_scores(self) -> FilmToScores:
        """The map that all training cases gave."""
        return FilmToScores(self.coefficient, self.bias)

    def moved(
        self,
        atlas: Tensor,
        film: Tensor,
        field: VolumeGrid,
        beams: Sequence[Beam],
        consistency: Consistency,
        film_to_scores: FilmToScores | None = None,
    ) -> Tensor:
        """The atlas as one sample's films move it.

        Args:
            atlas: (1, 1, D, H, W) per mm on ``field``.
            film: (V, 1, rows, cols) line integrals.
            field: the stage's field.
            beams: V exposures.
            consistency: how far the films are to be believed: it says which regression holds.
            film_to_scores: another map than the stage's own.

        Returns:
            (1, 1, D, H, W) per mm, >= 0; the atlas itself if nothing was measured or the films tell nothing.
        """
        kind = film_kind(field, beams, consistency)
        if kind is None or not bool(self.component.any()):
            return atlas
        features = film_features(atlas, film, field, beams, consistency, self.size)
        scores = (self.film_to_scores if film_to_scores is None else film_to_scores).scores(features, kind)
        change = torch.einsum("k,kdhw->dhw", scores, self.component.float())[None, None]
        return (
            atlas + water_mu_per_mm(FILM_ENERGY_KEV) * F.interpolate(change, size=atlas.shape[2:], mode="trilinear")
        ).clamp_min(0.0)


def film_kind(field: VolumeGrid, beams: Sequence[Beam], consistency: Consistency) -> int | None:
    """Index of the regression in ``KINDS``; None where none holds: films not believed, no frontal one, or oblique ones."""
    axes = [axis_of(field, beam) for beam in beams]
    if consistency.film_scale == "ignored" or axes not in ([0], [0, 2]):
        return None
    return 2 * (consistency.film_scale == "fitted") + len(axes) - 1


def axis_of(field: VolumeGrid, beam: Beam) -> int | None:
    """The axis of the field that the exposure looks along: 0 for a frontal film, 2 for a lateral one; None if oblique."""
    steps = field.affine[:3, :3] / field.affine.new_tensor(field.spacing_mm)
    cosines = (steps.T @ field.affine.new_tensor(beam.normal)).abs()
    axis = int(cosines.argmax())
    return axis if float(cosines[axis]) >= ALONG_AXIS else None


def feature_count(size: Sequence[int]) -> int:
    """Numbers that films of both sides are read as."""
    return size[1] * (size[0] + size[2])


def film_features(
    atlas: Tensor, film: Tensor, field: VolumeGrid, beams: Sequence[Beam], consistency: Consistency, size: Sequence[int]
) -> Tensor:
    """Films as the regression reads them: (features,), first the frontal one (H, W), then the lateral one (D, H) or zeros.

    Each film is read where the voxels of the field's middle plane cast their shadow, and so in the patient's own millimetres,
    whatever the distances. Estimated films are first brought to the gain and offset that fit the atlas best.

    Args:
        atlas: (1, 1, D, H, W) per mm on ``field``.
        film: (V, 1, rows, cols) line integrals.
        field: the stage's field.
        beams: V exposures along the axes of the field.
        consistency: how far the films are to be believed.
        size: voxels of the components.
    """
    films = film[None]
    if consistency.film_scale == "fitted":
        gain, offset = fit_gain_offset(films, project(atlas, field, beams))
        films = gain * films + offset
    d, h, w = size
    sides = {0: films.new_zeros(h, w), 2: films.new_zeros(d, h)}
    for view, beam in enumerate(beams):
        axis = axis_of(field, beam)
        if axis is not None:
            sides[axis] = _read_on_middle_plane(films[:, view : view + 1], field, beam, axis, size)
    return torch.cat([sides[0].flatten(), sides[2].flatten()])


def _read_on_middle_plane(film: Tensor, field: VolumeGrid, beam: Beam, axis: int, size: Sequence[int]) -> Tensor:
    """(n, m): means of 2 x 2 readings of the film."""
    shape = [2 * n + (k == axis) for k, n in enumerate(size)]  # odd, so that one slice is the middle
    start, plane = [size[axis] * (k == axis) for k in range(3)], [1 if k == axis else n for k, n in enumerate(shape)]
    read = sample_along_rays(film, field.resampled(shape).crop(start, plane), [beam])[0, 0, 0].squeeze(axis)
    return F.avg_pool2d(read[None], 2)[0]

"""A film as a stage reads it: resampled to the rows and columns of its volume, and cut to the field it can explain."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from xct_components.geometry import Beam, ConeBeam, Detector, VolumeGrid
from xct_components.geometry.vectors import Vector3, as_tensor, as_vector3, shifted

#: Films whose edges agree to this share of a pixel are the same film.
SAME_FILM = 1e-3
#: A film whose rows or columns are turned away from the voxels further than this (cosine) is read as it lies.
ALIGNED_COSINE = 1.0 - 1e-3

#: The body fills about so much of the field's depth of 320 mm: a chest is up to 220 mm thick.
BODY_SHARE = 0.7

Views = Sequence[Sequence[Beam]]


@dataclass(frozen=True)
class StageFilms:
    """The films of a batch for one stage; B samples, V views.

    Args:
        seen: (B, V, 1, rows, cols) what the network looks at: exactly the field, where the film ends its nearest value.
        seen_beams: B lists of V.
        measured: (B, V, 1, rows, cols) what physics compares with: only what was measured, never finer than it was.
        measured_beams: B lists of V.
    """

    seen: Float[Tensor, "b v 1 rows cols"]
    seen_beams: list[list[Beam]]
    measured: Float[Tensor, "b v 1 mrows mcols"]
    measured_beams: list[list[Beam]]


def stage_films(
    film: Float[Tensor, "b v 1 rows cols"],
    beams: Views,
    fields: Sequence[VolumeGrid],
    padded: Sequence[VolumeGrid],
    *,
    body_share: float = 0.0,
) -> StageFilms:
    """Bring films of any size and place to a stage.

    Args:
        film: line integrals.
        beams: V exposures per sample, with the film's rows and columns.
        fields: the stage's volumes, one per sample.
        padded: the same, extended to what the network can take.
        body_share: share of the field's depth within which a ray must not leave the field sideways to be measured. 0 where
            there is nothing beside the field; ``BODY_SHARE`` where a body goes on there, and would add to such rays.

    Raises:
        ValueError: if the film's shape is not that of its beams, or a film shows nothing of the field.
    """
    _require_film(film, beams, fields)
    rows, cols = padded[0].shape[1:]
    seen_beams = [[beam_over(beam, field, rows, cols) for beam in views] for views, field in zip(beams, padded, strict=True)]
    measured_beams = [[_within(beam, field, body_share) for beam in views] for views, field in zip(beams, fields, strict=True)]
    counts = [[_measured_shape(beam, field) for beam in views] for views, field in zip(measured_beams, fields, strict=True)]
    least = tuple(min(shape[axis] for views in counts for shape in views) for axis in (0, 1))
    measured_beams = [[beam.resampled(*least) for beam in views] for views in measured_beams]
    return StageFilms(_read_out(film, beams, seen_beams), seen_beams, _read_out(film, beams, measured_beams), measured_beams)


def beam_over(beam: Beam, field: VolumeGrid, rows: int, cols: int) -> Beam:
    """The same rays on the part of the detector plane that shows exactly the field, in the plane of its centre."""
    height_mm, width_mm = (_extent_mm(field, direction) for direction in (beam.row_direction, beam.col_direction))
    if height_mm is None or width_mm is None:
        return beam.resampled(rows, cols)
    magnification = beam.magnification_at(field.center_mm) if isinstance(beam, ConeBeam) else 1.0
    detector = Detector(rows, cols, (height_mm * magnification / rows, width_mm * magnification / cols))
    return replace(beam, detector=detector, detector_center_mm=_shadow_mm(beam, field.center_mm))


def resampled_film(
    film: Float[Tensor, "*batch rows cols"], beam: Beam, target: Beam
) -> Float[Tensor, "*batch target_rows target_cols"]:
    """A film read out by another detector in its plane: averaged where that is coarser, linear where it is finer."""
    rows = _weights(beam, target, beam.row_direction, 0)
    cols = _weights(beam, target, beam.col_direction, 1)
    return rows.to(film) @ film @ cols.to(film).T


def _read_out(film: Tensor, beams: Views, targets: Views) -> Tensor:
    samples = [
        torch.stack([resampled_film(one, beam, target) for one, beam, target in zip(sample, views, wanted, strict=True)])
        for sample, views, wanted in zip(film, beams, targets, strict=True)
    ]
    return torch.stack(samples)


def _weights(beam: Beam, target: Beam, direction: Vector3, axis: int) -> Tensor:
    """(target pixels, film pixels) shares along one axis; they sum to 1, and the film goes on beyond its edges as it ends."""
    count, pitch_mm = (beam.detector.rows, beam.detector.cols)[axis], beam.detector.pitch_mm[axis]
    new_count, new_pitch_mm = (target.detector.rows, target.detector.cols)[axis], target.detector.pitch_mm[axis]
    shift = (as_tensor(target.detector_center_mm) - as_tensor(beam.detector_center_mm)) @ as_tensor(direction) / pitch_mm
    places = torch.arange(new_count, dtype=torch.float64) - (new_count - 1) / 2
    middles = places * (new_pitch_mm / pitch_mm) + shift + (count - 1) / 2
    edges = torch.arange(count + 1, dtype=torch.float64) - 0.5
    if new_count == count and float((middles - edges[:-1] - 0.5).abs().amax()) < SAME_FILM:
        return torch.eye(count, dtype=torch.float64)
    half = max(new_pitch_mm / pitch_mm, 1.0) / 2.0  # a box of one pixel reads linearly between two
    edges[0], edges[-1] = -torch.inf, torch.inf
    low = torch.maximum(middles[:, None] - half, edges[:-1])
    high = torch.minimum(middles[:, None] + half, edges[1:])
    return (high - low).clamp_min(0.0) / (2.0 * half)


def _within(beam: Beam, field: VolumeGrid, body_share: float) -> Beam:
    """The exposure cut to whole pixels whose rays stay within the field as long as they are in the body."""
    height_mm, width_mm, depth_mm = (
        _extent_mm(field, direction) for direction in (beam.row_direction, beam.col_direction, beam.normal)
    )
    if height_mm is None or width_mm is None:
        return beam
    half_mm = 0.0 if depth_mm is None else body_share * depth_mm / 2.0
    points = [shifted(field.center_mm, (sign * half_mm, beam.normal)) for sign in (-1.0, 1.0)]
    windows = []
    for axis, (direction, extent_mm) in enumerate(((beam.row_direction, height_mm), (beam.col_direction, width_mm))):
        count, pitch_mm = (beam.detector.rows, beam.detector.cols)[axis], beam.detector.pitch_mm[axis]
        edges = [_shadow_edges(beam, point, direction, extent_mm) for point in points]
        low, high = (max(one[0] for one in edges), min(one[1] for one in edges))
        first = max(0, math.ceil(low / pitch_mm + count / 2 - SAME_FILM))
        last = min(count, math.floor(high / pitch_mm + count / 2 + SAME_FILM))
        if last <= first:
            raise ValueError(
                f"beams must show the field, got a film of {beam.detector.rows} x {beam.detector.cols} pixels beside it; "
                "place the field where the film looks"
            )
        windows.append(slice(first, last))
    whole = [slice(0, beam.detector.rows), slice(0, beam.detector.cols)]
    return beam if windows == whole else beam.crop(*windows)


def _shadow_edges(beam: Beam, point_mm: Vector3, direction: Vector3, extent_mm: float) -> tuple[float, float]:
    """Where the shadow of a length around a point begins and ends on a film axis, in mm from the film's middle."""
    half_mm = extent_mm / 2.0 * (beam.magnification_at(point_mm) if isinstance(beam, ConeBeam) else 1.0)
    middle = float((as_tensor(_shadow_mm(beam, point_mm)) - as_tensor(beam.detector_center_mm)) @ as_tensor(direction))
    return middle - half_mm, middle + half_mm


def _measured_shape(beam: Beam, field: VolumeGrid) -> tuple[int, int]:
    """Rows and columns at about one pixel a voxel, never more than the film has."""
    whole, over = beam.detector, beam_over(beam, field, field.shape[1], field.shape[2]).detector
    rows, cols = (
        max(1, min(count, round(count * pitch_mm / voxel_mm)))
        for count, pitch_mm, voxel_mm in zip((whole.rows, whole.cols), whole.pitch_mm, over.pitch_mm, strict=True)
    )
    return rows, cols


def _shadow_mm(beam: Beam, point_mm: Vector3) -> Vector3:
    """Where the ray through a point meets the detector plane."""
    point, normal = as_tensor(point_mm), as_tensor(beam.normal)
    source = beam.source_homogeneous
    ray = point - source[:3] if bool(source[3]) else source[:3]
    distance = ((as_tensor(beam.detector_center_mm) - point) @ normal) / (ray @ normal)
    return as_vector3(point + distance * ray, "detector_center_mm")


def _extent_mm(field: VolumeGrid, direction: Vector3) -> float | None:
    """Edge to edge size of the field along a film axis; None if the field is oblique to it."""
    steps = field.affine[:3, :3] / as_tensor(field.spacing_mm)
    cosines = (steps.T @ as_tensor(direction)).abs()
    axis = int(cosines.argmax())
    return field.extent_mm[axis] if float(cosines[axis]) >= ALIGNED_COSINE else None


def _require_film(film: Tensor, beams: Views, fields: Sequence[VolumeGrid]) -> None:
    if len(beams) != film.shape[0] or len(fields) != film.shape[0]:
        raise ValueError(
            f"beams and fields must hold one entry per film of the batch ({film.shape[0]}), got {len(beams)} and {len(fields)}"
        )
    for views in beams:
        shapes = [(beam.detector.rows, beam.detector.cols) for beam in views]
        if shapes != [tuple(film.shape[-2:])] * film.shape[1]:
            raise ValueError(
                f"film must have {len(shapes)} views of {shapes[:1]} pixels as its beams have, got the shape "
                f"{tuple(film.shape)}; use beam.resampled(rows, cols)"
            )

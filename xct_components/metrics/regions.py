"""The chest in regions that thresholds and shape alone can tell: no weights, the same rule for truth and prediction."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float

from xct_components.geometry import VolumeGrid
from xct_components.metrics.lungs import AERATED_HU, Spacing, lungs_of
from xct_components.metrics.surfaces import Surface, surface_of

#: Bone; vessels with contrast medium too, in truth and prediction alike.
BONE_HU = 200.0
#: Muscle, organs and blood without contrast medium.
SOFT_HU = (-100.0, 100.0)
#: What lies between the lungs and is neither fat nor air.
MEDIASTINUM_HU = -100.0
#: Regions are found in blocks of about this size: in finer voxels the noise of a CT decides what soft tissue is.
BLOCK_MM = 2.5
#: The heart's rows: below the hila, above the right dome. Shares of the lungs' volume, counted from the apices: a few voxels
#: at the end of a lung do not move them. And its depth, counted from the front: without the gutters beside the spine.
HEART_HEIGHT, HEART_DEPTH = (0.55, 0.7), (0.08, 0.65)
#: The worst cardiothoracic ratio there is, for a chest whose lungs are not found.
WORST_RATIO = 1.0

_Mask = Bool[np.ndarray, "d h w"]


@dataclass(frozen=True, eq=False)
class ChestRegions:
    """Masks of one volume; axes P, I, L.

    Args:
        body: the patient, cavities included.
        lung_right: the patient's right lung.
        lung_left: the left one.
        bone: dense tissue.
        soft_tissue: muscle, organs, blood.
        mediastinum: what lies between the lungs, the heart above all; with the vertebrae where the lungs reach round them.
        grid: where their voxels lie, blocks of about 2.5 mm or larger.
    """

    body: _Mask
    lung_right: _Mask
    lung_left: _Mask
    bone: _Mask
    soft_tissue: _Mask
    mediastinum: _Mask
    grid: VolumeGrid

    @property
    def masks(self) -> dict[str, np.ndarray]:
        """All by name."""
        names = ("body", "lung_right", "lung_left", "bone", "soft_tissue", "mediastinum")
        return {name: getattr(self, name) for name in names}

    @property
    def lungs(self) -> np.ndarray:
        """Both."""
        return self.lung_right | self.lung_left

    def body_on(self, shape: tuple[int, int, int]) -> Bool[np.ndarray, "fd fh fw"]:
        """The body in the voxels of the volume that the regions were found in."""
        body = self.body
        for axis, (fine, coarse) in enumerate(zip(shape, body.shape, strict=True)):
            body = body.repeat(fine // coarse, axis=axis)
        return body

    @cached_property
    def surfaces(self) -> dict[str, Surface]:
        """The surface of each region."""
        spacing: Spacing = self.grid.spacing_mm
        return {name: surface_of(mask, spacing) for name, mask in self.masks.items()}

    @cached_property
    def heart_silhouette(self) -> Bool[np.ndarray, "h w"]:
        """The shadow of the mediastinum at the level of the heart, seen from the front."""
        shadow = np.zeros(self.body.shape[1:], dtype=bool)
        if self.lungs.any():
            rows, depths = (_share(self.lungs, axis, share) for axis, share in ((1, HEART_HEIGHT), (0, HEART_DEPTH)))
            shadow[rows] = self.mediastinum[depths, rows].any(axis=0)
        return shadow

    @cached_property
    def heart_outline(self) -> Surface:
        """The edge of the heart's silhouette, in its plane: of no depth."""
        return surface_of(self.heart_silhouette[None], (0.0, *self.grid.spacing_mm[1:]))

    @property
    def cardiothoracic_ratio(self) -> float:
        """Width of the heart's silhouette over the largest width of the lungs, both seen from the front.

        Measured on a volume, without a radiologist's judgement of the border: to be compared with the same measure of another
        volume, not with 0.5. ``WORST_RATIO`` where a lung or the heart is missing.
        """
        lungs, heart = np.asarray(self.lungs.any(axis=(0, 1))), np.asarray(self.heart_silhouette.any(axis=0))
        if not (self.lung_right.any() and self.lung_left.any() and heart.any()):
            return WORST_RATIO
        return _extent(heart) / _extent(lungs)


def chest_regions(ct_hu: Float[np.ndarray, "d h w"], grid: VolumeGrid) -> ChestRegions:
    """The regions of a volume.

    Args:
        ct_hu: HU.
        grid: where it lies; axes must be P, I, L.

    Raises:
        ValueError: for other axes, or a shape that is not the grid's.
    """
    if grid.axis_codes != "PIL" or ct_hu.shape != grid.shape:
        raise ValueError(
            f"ct_hu must have the axes PIL and its grid's shape, got {grid.axis_codes} and {ct_hu.shape} on {grid.shape}; "
            "resample it to VolumeGrid.chest(...)"
        )
    hu, blocks = _in_blocks(ct_hu, grid)
    body = _body(hu)
    right, left = lungs_of(hu, body, blocks.spacing_mm)
    tissue = body & ~right & ~left
    soft = tissue & (hu >= SOFT_HU[0]) & (hu <= SOFT_HU[1])
    between = _between(right, left) & tissue & (hu > MEDIASTINUM_HU)
    return ChestRegions(body, right, left, tissue & (hu > BONE_HU), soft, between, blocks)


def _in_blocks(hu: np.ndarray, grid: VolumeGrid) -> tuple[np.ndarray, VolumeGrid]:
    """Means of whole blocks of up to 2.5 mm; the volume itself where voxels are that large."""
    wished = [max(1, int(BLOCK_MM / mm + 0.01)) for mm in grid.spacing_mm]
    steps = [next(k for k in range(most, 0, -1) if n % k == 0) for n, most in zip(hu.shape, wished, strict=True)]
    d, h, w = (n // k for n, k in zip(hu.shape, steps, strict=True))
    means = hu.reshape(d, steps[0], h, steps[1], w, steps[2]).mean(axis=(1, 3, 5))
    return means, grid.resampled((d, h, w))


def _body(hu: np.ndarray) -> np.ndarray:
    """The largest dense part, filled level by level."""
    from scipy import ndimage

    parts, count = ndimage.label(hu > AERATED_HU)
    if count == 0:
        return np.zeros(hu.shape, dtype=bool)
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    trunk = parts == int(sizes.argmax())
    return np.stack([ndimage.binary_fill_holes(trunk[:, row]) for row in range(hu.shape[1])], axis=1)


def _between(right: np.ndarray, left: np.ndarray) -> np.ndarray:
    """Voxels that have the right lung somewhere to their right and the left lung to their left, on their own line."""
    last_right = np.where(right.any(axis=2), right.shape[2] - 1 - right[..., ::-1].argmax(axis=2), right.shape[2])
    first_left = np.where(left.any(axis=2), left.argmax(axis=2), -1)
    column = np.arange(right.shape[2])
    return (column > last_right[..., None]) & (column < first_left[..., None])


def _share(mask: np.ndarray, axis: int, share: tuple[float, float]) -> slice:
    """The part of an axis between two quantiles of the mask's volume along it; one voxel at least."""
    summed = np.cumsum(mask.sum(axis=tuple(other for other in range(3) if other != axis)))
    start, end = (int(np.searchsorted(summed, one * summed[-1])) for one in share)
    return slice(start, max(end, start + 1))


def _extent(line: np.ndarray) -> float:
    indices = np.nonzero(line)[0]
    return float(indices[-1] + 1 - indices[0])

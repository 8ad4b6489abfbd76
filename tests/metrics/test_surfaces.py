"""Surface distances by nearest neighbours against MONAI's by distance transform, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from xct_components.metrics.anatomy import dice
from xct_components.metrics.surfaces import SurfaceDistances, surface_distances, surface_of

SPACING = (2.5, 1.25, 2.0)


def distances(one: np.ndarray, other: np.ndarray, spacing=SPACING) -> SurfaceDistances:
    return surface_distances(surface_of(one, spacing), surface_of(other, spacing))


def two_blobs(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Random rounded shapes that overlap in part and touch no face of the field."""
    rng = np.random.default_rng(seed)
    masks = []
    for _ in range(2):
        field = ndimage.gaussian_filter(rng.normal(size=(20, 24, 22)), 2.5)
        mask = field > np.quantile(field, 0.7)
        inner = np.zeros_like(mask)
        inner[2:-2, 2:-2, 2:-2] = mask[2:-2, 2:-2, 2:-2]
        masks.append(inner)
    return masks[0], masks[1]


def one_hot(mask: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(mask)[None, None]


@pytest.mark.parametrize("seed", range(4))
def test_they_agree_with_monai(seed):
    from monai.metrics import compute_hausdorff_distance, compute_surface_dice

    one, other = two_blobs(seed)
    ours = distances(one, other)
    for tolerance in (2.0, 4.0):
        theirs = compute_surface_dice(one_hot(one), one_hot(other), [tolerance], include_background=True, spacing=SPACING)
        assert ours.surface_dice(tolerance) == pytest.approx(float(theirs), abs=1e-6)
    farthest = compute_hausdorff_distance(one_hot(one), one_hot(other), include_background=True, percentile=95, spacing=SPACING)
    assert ours.hausdorff_95_mm == pytest.approx(float(farthest), rel=1e-5)


def test_boxes_shifted_by_two_voxels_are_5_mm_apart():
    one = np.zeros((20, 20, 20), dtype=bool)
    one[4:12, 5:15, 5:15] = True
    other = np.roll(one, 2, axis=0)
    ours = distances(one, other)
    assert ours.hausdorff_95_mm == 5.0
    assert ours.surface_dice(5.0) == 1.0
    assert 0.0 < ours.surface_dice(4.9) < 1.0


def test_a_face_of_the_field_is_no_surface():
    """A body that the field cuts: where it is cut, both volumes end, and nothing has been predicted."""
    mask = np.zeros((8, 10, 10), dtype=bool)
    mask[:, 3:7, 3:7] = True
    points = surface_of(mask, (1.0, 1.0, 1.0)).points_mm
    assert len(points) == 8 * (4 * 4 - 2 * 2)


def test_an_empty_mask_is_the_worst_value_whichever_is_empty():
    empty, full = np.zeros((8, 8, 8), dtype=bool), np.zeros((8, 8, 8), dtype=bool)
    full[2:6, 2:6, 2:6] = True
    diagonal = float(np.linalg.norm(8 * np.array(SPACING)))
    for one, other in ((empty, full), (full, empty), (empty, empty)):
        assert distances(one, other).surface_dice(4.0) == 0.0
        assert distances(one, other).hausdorff_95_mm == pytest.approx(diagonal)
        assert dice(one, other) == 0.0


@pytest.mark.parametrize("seed", range(2))
def test_dice_is_that_of_monai(seed):
    from monai.metrics import compute_dice

    one, other = two_blobs(seed)
    assert dice(one, other) == pytest.approx(float(compute_dice(one_hot(one), one_hot(other))), abs=1e-6)

"""Regions against the labels of a phantom and of a real CT, and a made chest whose measures are known by construction."""

from __future__ import annotations

from pathlib import Path

import itk
import numpy as np
import pytest
import SimpleITK
import torch
from scipy.ndimage import binary_dilation, gaussian_filter

from xct_components.data.ct.reading import read_ct
from xct_components.data.phantom import random_thorax
from xct_components.data.phantom.labels import LABELS
from xct_components.data.prepare.prepared_case import patient_only
from xct_components.geometry import VolumeGrid
from xct_components.metrics.anatomy import anatomy_scores, dice
from xct_components.metrics.regions import WORST_RATIO, ChestRegions, chest_regions

DATA = Path(__file__).parent.parent / "data"
#: Voxels of 5 mm: a rim of half a voxel around a lung of 200 mm.
PHANTOM_DICE = 0.93
#: The labels of the Chest Imaging Platform close vessels; voxels of 4 mm.
LABEL_DICE = 0.95
GRID = VolumeGrid.chest((64, 64, 64), 5.0, (10.0, -20.0, 7.0))


def made_chest(heart_mm: float = 120.0, *, left_lung: bool = True, lungs_touch: bool = False) -> np.ndarray:
    """Box lungs of 90 x 200 x 150 mm (W, H, D) in a box body, 60 mm apart, and a heart of that width at their level."""
    d, h, w = (np.arange(64) * 5.0 + 2.5 - 160.0 for _ in range(3))
    d, h, w = d[:, None, None], h[None, :, None], w[None, None, :]
    inside = (abs(d) < 75.0) & (abs(h) < 100.0)
    hu = np.where((abs(d) < 100.0) & (abs(h) < 150.0) & (abs(w) < 145.0), 30.0, -1000.0)
    for sign in (-1.0, 1.0) if left_lung else (-1.0,):
        hu[np.broadcast_to(inside & (sign * w > (0.0 if lungs_touch else 30.0)) & (sign * w < 120.0), hu.shape)] = -850.0
    if not lungs_touch:
        heart = inside & (h > 0.0) & (h < 50.0) & (d < 0.0) & (d > -60.0) & (abs(w) < heart_mm / 2.0)
        hu[np.broadcast_to(heart, hu.shape)] = 40.0
    else:
        wall = inside & (abs(w) < 5.0) & ((abs(h) > 10.0) | (d > 0.0))
        hu[np.broadcast_to(wall, hu.shape)] = 30.0
    hu[np.broadcast_to((abs(w) < 15.0) & (d > 75.0) & (d < 100.0) & (abs(h) < 140.0), hu.shape)] = 600.0
    return hu.astype(np.float32)


def regions(hu: np.ndarray) -> ChestRegions:
    return chest_regions(hu, GRID)


@pytest.fixture(scope="module")
def made() -> ChestRegions:
    return regions(made_chest())


def test_the_measures_of_a_made_chest_are_those_it_was_made_with(made):
    for lung in (made.lung_right, made.lung_left):
        # The heart bulges 30 mm into each: 30 x 50 x 60 mm less. Closing fills the edges of that dent: 0.3 %.
        assert lung.sum() * 0.125 == pytest.approx(90 * 200 * 150 / 1000.0 - 30 * 50 * 60 / 1000.0, rel=5e-3)
    assert made.cardiothoracic_ratio == pytest.approx(120.0 / 240.0)
    assert made.bone.sum() * 0.125 == pytest.approx(30 * 280 * 25 / 1000.0)
    assert made.body.sum() * 0.125 == pytest.approx(290 * 300 * 200 / 1000.0)


def test_volumes_are_those_that_simpleitk_counts(made):
    wider = regions(made_chest(160.0))
    scores = anatomy_scores(wider, made)
    for name in ("body", "lung_right", "lung_left", "bone", "soft_tissue", "mediastinum"):
        found, expected = (counted_ml(one.masks[name], one.grid) for one in (wider, made))
        assert scores[f"volume_ml_{name}"] == pytest.approx(found)
        assert scores[f"true_volume_ml_{name}"] == pytest.approx(expected)
        assert scores[f"volume_error_{name}"] == pytest.approx(abs(found - expected) / expected)


def counted_ml(mask: np.ndarray, grid: VolumeGrid) -> float:
    image = SimpleITK.GetImageFromArray(mask.astype(np.uint8))
    image.SetSpacing(grid.spacing_mm[::-1])
    shapes = SimpleITK.LabelShapeStatisticsImageFilter()
    shapes.Execute(image)
    volume_mm3: float = shapes.GetPhysicalSize(1)
    return volume_mm3 / 1000.0


def test_the_edges_of_two_silhouettes_are_as_far_apart_as_monai_says(made):
    from monai.metrics import compute_hausdorff_distance, compute_surface_dice

    wider = regions(made_chest(160.0))
    scores = anatomy_scores(wider, made)
    one, other = (torch.from_numpy(each.heart_silhouette)[None, None] for each in (wider, made))
    plane = {"include_background": True, "spacing": list(made.grid.spacing_mm[1:])}
    for mm in (2.0, 4.0):
        theirs = compute_surface_dice(one, other, [mm], **plane)
        assert scores[f"surface_dice_{mm:g}mm_heart_silhouette"] == pytest.approx(float(theirs), abs=1e-6)
    farthest = compute_hausdorff_distance(one, other, percentile=95, **plane)
    assert scores["hd95_mm_heart_silhouette"] == pytest.approx(float(farthest), rel=1e-5)
    # 160 mm instead of 120 mm: the sides lie 20 mm further out.
    assert scores["hd95_mm_heart_silhouette"] == pytest.approx(20.0)
    assert 0.0 < scores["surface_dice_4mm_heart_silhouette"] < 1.0


def test_right_is_where_the_patient_has_it(made):
    """W grows from the patient's right to the left."""
    assert np.nonzero(made.lung_right)[2].max() < 32 < np.nonzero(made.lung_left)[2].min()


def test_lungs_that_touch_are_taken_apart():
    touching = regions(made_chest(lungs_touch=True))
    assert dice(touching.lung_right, np.broadcast_to(np.arange(64) < 32, (64, 64, 64)) & touching.lungs) > 0.99
    assert abs(int(touching.lung_right.sum()) - int(touching.lung_left.sum())) < 0.02 * touching.lungs.sum()


def test_a_missing_lung_is_the_worst_value_and_is_not_left_out(made):
    one = regions(made_chest(left_lung=False))
    assert one.cardiothoracic_ratio == WORST_RATIO
    scores = anatomy_scores(one, made)
    assert scores["dice_lung_left"] == scores["surface_dice_4mm_lung_left"] == 0.0
    assert scores["volume_error_lung_left"] == 1.0
    assert scores["hd95_mm_lung_left"] == pytest.approx(np.sqrt(3.0) * 320.0)
    assert scores["dice_mediastinum"] == scores["surface_dice_4mm_heart_silhouette"] == 0.0
    assert scores["hd95_mm_heart_silhouette"] == pytest.approx(np.sqrt(2.0) * 320.0)
    assert scores["volume_ml_mediastinum"] == 0.0 < scores["true_volume_ml_mediastinum"]


def test_air_has_no_anatomy_and_the_score_of_nothing(made):
    scores = anatomy_scores(regions(np.full((64, 64, 64), -1000.0, dtype=np.float32)), made)
    assert scores["anatomy_score"] == 0.0
    assert scores["cardiothoracic_ratio_error"] == pytest.approx(0.5)


def test_the_score_is_ten_times_the_mean_of_its_parts(made):
    wider = anatomy_scores(regions(made_chest(160.0)), made)
    parts = [value for name, value in wider.items() if name.startswith("anatomy_part_")]
    assert len(parts) == 5
    assert wider["anatomy_score"] == pytest.approx(10.0 * np.mean(parts))
    assert wider["cardiothoracic_ratio_error"] == pytest.approx(40.0 / 240.0)
    assert 0.0 < wider["anatomy_score"] < 10.0
    assert anatomy_scores(made, made)["anatomy_score"] == 10.0


def test_the_lungs_of_a_phantom_are_those_it_was_painted_with():
    thorax = random_thorax(5, VolumeGrid.chest((64, 64, 64), 5.0))
    labels = thorax.labels[0, 0].numpy()
    found = chest_regions(thorax.ct_hu[0, 0].float().numpy(), VolumeGrid.chest((64, 64, 64), 5.0))
    assert dice(found.lung_right | found.lung_left, np.isin(labels, [LABELS["lung_right"], LABELS["lung_left"]])) > PHANTOM_DICE
    assert dice(found.lung_right, labels == LABELS["lung_right"]) > PHANTOM_DICE
    assert dice(found.lung_left, labels == LABELS["lung_left"]) > PHANTOM_DICE
    heart = labels == LABELS["heart"]
    assert (found.mediastinum & heart).sum() > 0.7 * heart.sum()
    assert dice(found.body, labels != LABELS["outside_air"]) > PHANTOM_DICE


def test_the_lungs_of_a_real_ct_agree_with_its_labels():
    ct = patient_only(*read_ct(DATA / "cip-ct-64.nrrd")).ct
    labels = itk.array_from_image(itk.imread(str(DATA / "cip-ct-64-lung-labels.nrrd")))[::-1].transpose(1, 0, 2) > 0
    h_mm, d_mm, w_mm = ct.grid.spacing_mm
    hu = np.ascontiguousarray(ct.hu.transpose(1, 0, 2), dtype=np.float32)
    found = chest_regions(hu, VolumeGrid.chest(hu.shape, (d_mm, h_mm, w_mm)))
    assert dice(found.lungs, labels) > LABEL_DICE


def test_the_blurred_skin_of_a_smooth_volume_is_no_lung(made):
    smooth = regions(gaussian_filter(made_chest(), 2.0))
    assert smooth.lungs.sum() > 0.7 * made.lungs.sum()
    assert not (smooth.lungs & ~binary_dilation(made.lungs)).any()


def test_fine_volumes_are_judged_in_blocks():
    fine = VolumeGrid.chest((64, 60, 62), 1.25, (5.0, 4.0, 3.0))
    hu = made_chest()[:, :60, :62]
    found = chest_regions(hu, fine)
    assert found.grid == fine.resampled((32, 30, 31))
    means = hu.reshape(32, 2, 30, 2, 31, 2).mean(axis=(1, 3, 5))
    assert np.array_equal(found.bone, (means > 200.0) & found.body & ~found.lungs)
    assert found.body_on(fine.shape).sum() == 8 * found.body.sum()


def test_other_axes_are_refused():
    turned = VolumeGrid.from_affine((64, 64, 64), GRID.affine[:, [1, 0, 2, 3]])
    with pytest.raises(ValueError, match="axes PIL"):
        chest_regions(made_chest(), turned)

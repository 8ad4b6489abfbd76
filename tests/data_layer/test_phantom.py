"""The rendered thorax: one person on any grid, anatomy where it belongs, and every parameter doing what it says."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from xct_components.data.phantom import LABELS, Thorax, ThoraxParameters, lung_volume_ml, random_thorax, render_thorax
from xct_components.data.phantom.anatomy import build_anatomy
from xct_components.data.phantom.body_frame import REFERENCE_CAPACITY_ML
from xct_components.data.phantom.parameters import RANGES
from xct_components.geometry import VolumeGrid

COARSE = VolumeGrid.chest((64, 64, 64), 5.0)
FINE = VolumeGrid.chest((128, 128, 128), 2.5)
WIDE = VolumeGrid.chest((80, 80, 80), 6.0)
ADULT = ThoraxParameters(seed=3)
WOMAN = ThoraxParameters(seed=4, sex="female", height_cm=162.0, lung_capacity_ml=4100.0, bmi=29.0, upright=True, arms_up=False)
ILL = replace(
    ADULT, right_effusion_ml=400.0, nodule_count=6, nodule_diameter_mm=22.0, consolidation_fraction=0.15, emphysema_fraction=0.2
)

# The 64^3 phantom against the averaged 128^3 one: edges are ramps on both, so corners and crossing edges differ.
SAME_PERSON_RMS_HU, SAME_PERSON_CORRELATION = 30.0, 0.998
# Counting voxels of 5 mm on a surface of 0.3 m^2 and points in a cloud: a few per cent.
VOLUME_TOLERANCE = 0.06
# Small branching effects of the heart and the diaphragm on the reference volume.
CAPACITY_TOLERANCE = 0.08
# Reordering the voxels changes the order of float32 sums.
REORDERED_HU = 0.1


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """A tile is small: threads that wait for each other cost more than they bring, most of all on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@cache
def rendered(person: ThoraxParameters, grid: VolumeGrid = COARSE) -> Thorax:
    return render_thorax(person, grid)


def centroid_mm(thorax: Thorax, name: str, grid: VolumeGrid = COARSE) -> Tensor:
    voxels = (thorax.labels[0, 0] == LABELS[name]).nonzero()
    assert len(voxels) > 0, f"no {name}"
    return grid.world_from_voxels(voxels).mean(0)


def count(thorax: Thorax, *names: str) -> int:
    return int(sum((thorax.labels == LABELS[name]).sum() for name in names))


def test_the_same_parameters_and_seed_give_the_same_bits():
    first, second = (render_thorax(ILL, COARSE, torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(first.ct_hu, second.ct_hu)
    assert torch.equal(first.labels, second.labels)


def test_random_thorax_is_one_person_per_seed():
    first, again, other = (random_thorax(seed, COARSE).ct_hu for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_noise_changes_the_scan_and_not_the_person():
    noisy = render_thorax(ADULT, COARSE, torch.Generator().manual_seed(2))
    assert torch.equal(noisy.labels, rendered(ADULT).labels)
    noise = noisy.ct_hu - rendered(ADULT).ct_hu
    # 25 HU in 1 mm^3 leave 25 / sqrt(125) = 2.2 HU in 125 mm^3
    assert float(noise[0, 0, :10].std()) == pytest.approx(2.24, rel=0.1)


@pytest.mark.parametrize("person", [ADULT, WOMAN, ILL], ids=["man", "woman", "ill man"])
def test_the_coarse_phantom_is_the_average_of_the_fine_one(person):
    averaged = F.avg_pool3d(rendered(person, FINE).ct_hu, 2)
    coarse = rendered(person).ct_hu
    assert float((averaged - coarse).square().mean().sqrt()) < SAME_PERSON_RMS_HU
    assert float(torch.corrcoef(torch.stack([averaged.flatten(), coarse.flatten()]))[0, 1]) > SAME_PERSON_CORRELATION


def test_slabs_join_without_a_seam(monkeypatch):
    monkeypatch.setattr("xct_components.data.phantom.render.MOST_VOXELS", 20 * 64 * 64)
    slabs = render_thorax(ILL, COARSE)
    whole = rendered(ILL)
    assert float((slabs.ct_hu - whole.ct_hu).abs().amax()) < REORDERED_HU
    assert float((slabs.labels != whole.labels).float().mean()) < 1e-4


@pytest.mark.parametrize(("axes", "flipped"), [((1, 2, 0), ()), ((0, 1, 2), (0, 2)), ((2, 0, 1), (1,))])
def test_a_permuted_or_flipped_grid_shows_the_same_person(axes, flipped):
    affine = COARSE.affine[:, [*axes, 3]]
    for axis in flipped:
        affine[:3, 3] += affine[:3, axis] * 63
        affine[:3, axis] *= -1
    other = render_thorax(ADULT, VolumeGrid.from_affine(COARSE.shape, affine)).ct_hu[0, 0].flip(flipped)
    assert float((other - rendered(ADULT).ct_hu[0, 0].permute(axes)).abs().amax()) < REORDERED_HU


def test_an_oblique_grid_shows_the_same_lungs():
    turn = torch.eye(4, dtype=torch.float64)
    turn[:2, :2] = torch.tensor([[0.8, -0.6], [0.6, 0.8]])
    oblique = WIDE.moved(turn)
    volume = lung_volume_ml(rendered(ADULT, oblique).labels, oblique)
    assert volume == pytest.approx(lung_volume_ml(rendered(ADULT, WIDE).labels, WIDE), rel=0.02)


@pytest.mark.parametrize(
    "person", [ADULT, WOMAN, replace(ADULT, bmi=40.0, kyphosis_deg=70.0)], ids=["man", "woman", "stout and bent"]
)
def test_a_person_is_centred_as_a_prepared_ct_is(person):
    """Right to left and up to down the lungs; front to back the body at their level."""
    thorax = rendered(person)
    lungs = torch.isin(thorax.labels[0, 0], torch.tensor([LABELS["lung_right"], LABELS["lung_left"]])).nonzero()
    levels = slice(int(lungs[:, 1].amin()), int(lungs[:, 1].amax()) + 1)
    body = (thorax.ct_hu[0, 0, :, levels] > -400.0).nonzero()
    middle = (lungs.amin(0) + lungs.amax(0)) / 2
    middle[0] = (body[:, 0].amin() + body[:, 0].amax()) / 2
    assert float(COARSE.world_from_voxels(middle).abs().amax()) <= 2.6  # half a voxel; centred on the lungs: 5.0


@pytest.mark.parametrize("person", [ADULT, WOMAN], ids=["man", "woman"])
def test_organs_lie_on_their_side(person):
    thorax = rendered(person)
    x = {name: float(centroid_mm(thorax, name)[0]) for name in ("lung_right", "lung_left", "heart", "liver", "spleen", "gas")}
    assert x["lung_right"] > 40.0
    assert x["lung_left"] < -40.0
    assert x["liver"] > 20.0
    assert max(x["heart"], x["gas"]) < -5.0
    assert x["spleen"] < -50.0


def test_the_arch_of_the_aorta_passes_to_the_left():
    thorax = rendered(ADULT)
    aorta = COARSE.world_from_voxels((thorax.labels[0, 0] == LABELS["aorta"]).nonzero())
    descending = aorta[(aorta[:, 2] < 20.0) & (aorta[:, 1] < -10.0)]
    ascending = aorta[(aorta[:, 2] < 40.0) & (aorta[:, 1] > 10.0)]
    assert float(descending[:, 0].mean()) < -10.0 < float(ascending[:, 0].mean())


def test_organs_lie_in_order_from_front_to_back_and_top_to_bottom():
    thorax = rendered(ADULT)
    names = ("sternum", "heart", "oesophagus", "vertebra", "spinal_canal")
    y = [float(centroid_mm(thorax, name)[1]) for name in names]
    assert y == sorted(y, reverse=True)
    z = [float(centroid_mm(thorax, name)[2]) for name in ("clavicle", "aorta", "heart", "liver")]
    assert z == sorted(z, reverse=True)


def test_the_right_dome_stands_higher():
    def top_mm(thorax: Thorax, side: slice) -> float:
        below = (thorax.labels[0, 0] == LABELS["diaphragm"])[:, :, side].nonzero()
        return 5.0 * float(below[:, 1].amin())

    thorax = rendered(replace(ADULT, diaphragm_difference_mm=30.0))
    assert top_mm(thorax, slice(12, 26)) < top_mm(thorax, slice(40, 54)) - 10.0


@pytest.mark.parametrize("person", [ADULT, WOMAN, ILL], ids=["man", "woman", "ill man"])
def test_hu_are_those_of_tissue_and_air(person):
    ct_hu = rendered(person).ct_hu
    assert bool(torch.isfinite(ct_hu).all())
    assert -1024.0 <= float(ct_hu.amin()) < -990.0
    assert 300.0 < float(ct_hu.amax()) < 1600.0


# Middle half of the voxels of each label, HU: normal CT numbers, wide enough for voxels of 2.5 mm that touch a neighbour.
USUAL_HU = {
    "outside_air": (-1001.0, -999.0),
    "fat": (-130.0, -60.0),
    "muscle": (20.0, 80.0),
    "lung_right": (-930.0, -780.0),
    "lung_left": (-930.0, -780.0),
    "airway": (-1010.0, -100.0),
    "heart": (20.0, 70.0),
    "aorta": (20.0, 70.0),
    "liver": (40.0, 75.0),
    "spleen": (30.0, 70.0),
    "vertebra": (90.0, 700.0),
    "rib": (100.0, 800.0),
    "gas": (-1010.0, -800.0),
    "spinal_canal": (0.0, 200.0),
}


@pytest.mark.parametrize("name", USUAL_HU)
def test_tissue_has_its_ct_number(name):
    thorax = rendered(ADULT, FINE)
    low, high = torch.quantile(thorax.ct_hu[thorax.labels == LABELS[name]][:1_000_000], torch.tensor([0.25, 0.75])).tolist()
    assert USUAL_HU[name][0] <= low <= high <= USUAL_HU[name][1]


def test_every_structure_is_in_the_label_map():
    present = set(rendered(ILL, FINE).labels.unique().tolist()) | set(rendered(WOMAN, FINE).labels.unique().tolist())
    assert {name for name, number in LABELS.items() if number not in present} <= {"humerus"}  # beside a field of 320 mm
    assert LABELS["humerus"] in rendered(WOMAN, WIDE).labels


@pytest.mark.parametrize("capacity_ml", [3000.0, 5000.0, 7000.0])
def test_the_lungs_have_the_capacity_asked_for(capacity_ml):
    person = replace(ADULT, lung_capacity_ml=capacity_ml)
    assert build_anatomy(person).lung_ml == pytest.approx(capacity_ml, rel=CAPACITY_TOLERANCE)


def test_the_reference_body_has_the_reference_capacity():
    volumes = [build_anatomy(ThoraxParameters(seed=s, lung_capacity_ml=REFERENCE_CAPACITY_ML)).lung_ml for s in range(6)]
    assert sum(volumes) / len(volumes) == pytest.approx(REFERENCE_CAPACITY_ML, rel=0.03)


def test_voxels_and_the_cloud_agree_on_the_volume_of_the_lungs():
    counted = lung_volume_ml(rendered(ADULT, FINE).labels, FINE)
    assert counted == pytest.approx(build_anatomy(ADULT).lung_ml, rel=VOLUME_TOLERANCE)


def test_breathing_in_lowers_the_diaphragm_and_fills_the_lungs():
    volumes, domes = [], []
    for breath in (0.0, 0.5, 1.0):
        anatomy = build_anatomy(replace(ADULT, breath=breath))
        volumes.append(anatomy.lung_ml)
        domes.append(anatomy.chest.cage.dome_mm[0])
    assert volumes == sorted(volumes)
    assert domes == sorted(domes, reverse=True)
    # resting expiration holds about half of a full breath (general knowledge: FRC / TLC = 0.5, less when supine)
    assert 0.40 < volumes[0] / volumes[2] < 0.70


def test_the_cardiothoracic_ratio_is_the_one_asked_for():
    measured = []
    for ratio in (0.38, 0.48, 0.60):
        labels = rendered(replace(ADULT, cardiothoracic_ratio=ratio)).labels[0, 0]
        heart = torch.isin(labels, torch.tensor([LABELS["heart"]])).nonzero()[:, 2]
        lungs = torch.isin(labels, torch.tensor([LABELS["lung_right"], LABELS["lung_left"]])).nonzero()[:, 2]
        measured.append(float((heart.amax() - heart.amin() + 1) / (lungs.amax() - lungs.amin() + 1)))
    assert measured == sorted(measured)
    assert measured == pytest.approx([0.38, 0.48, 0.60], abs=0.05)  # two voxels of 52


@pytest.mark.parametrize("upright", [False, True])
@pytest.mark.parametrize(("name", "side"), [("right_effusion_ml", 1.0), ("left_effusion_ml", -1.0)])
def test_an_effusion_puts_its_volume_on_its_side_where_fluid_sinks(upright, name, side):
    change: dict[str, Any] = {"upright": upright, name: 500.0}
    ill = replace(ADULT, **change)
    thorax = rendered(ill)
    assert count(thorax, "effusion") * 0.125 == pytest.approx(500.0, rel=0.2)
    fluid, lungs = centroid_mm(thorax, "effusion"), centroid_mm(thorax, "lung_right" if side > 0 else "lung_left")
    assert float(fluid[0]) * side > 20.0
    lower = (lungs - fluid)[2 if upright else 1]
    assert float(lower) > 30.0


def test_emphysema_takes_its_share_of_the_lungs():
    well = rendered(ADULT).ct_hu
    share = []
    for fraction in (0.2, 0.4):
        lost = well - rendered(replace(ADULT, emphysema_fraction=fraction)).ct_hu
        # half of the way from -865 HU to -965 HU, away from vessels and edges
        share.append(float((lost > 50.0)[(well < -800.0) & (well > -930.0)].float().mean()))
    assert share == pytest.approx([0.2, 0.4], abs=0.06)


def test_consolidation_and_nodules_displace_air():
    ill, well = rendered(ILL, FINE), rendered(replace(ILL, consolidation_fraction=0.0, nodule_count=0), FINE)
    assert count(ill, "consolidation") * FINE.voxel_volume_mm3 / 1000.0 > 200.0
    assert count(ill, "nodule") > 0
    assert count(well, "consolidation", "nodule") == 0


def test_a_lesion_leaves_the_rest_of_the_person_alone():
    ill, well = rendered(replace(ADULT, nodule_count=3)), rendered(ADULT)
    changed = (ill.ct_hu != well.ct_hu)[0, 0]
    nodules = F.max_pool3d((ill.labels == LABELS["nodule"]).float(), 7, stride=1, padding=3)[0, 0] > 0
    assert 0 < int(changed.sum()) < 2000
    assert float((changed & ~nodules).sum()) <= 0.5 * float(changed.sum())


def test_contrast_medium_brightens_blood_and_not_fat():
    plain, enhanced = rendered(ADULT), rendered(replace(ADULT, blood_enhancement_hu=200.0))
    gain = enhanced.ct_hu - plain.ct_hu
    assert float(gain[plain.labels == LABELS["aorta"]].median()) == pytest.approx(200.0, rel=0.05)
    assert float(gain[plain.labels == LABELS["fat"]].abs().median()) == 0.0


def test_a_higher_body_mass_index_thickens_the_fat_and_not_the_lungs():
    slim, stout = (rendered(replace(ADULT, bmi=bmi), WIDE) for bmi in (20.0, 34.0))
    assert count(stout, "fat") > 1.8 * count(slim, "fat")
    assert lung_volume_ml(stout.labels, WIDE) == pytest.approx(lung_volume_ml(slim.labels, WIDE), rel=0.05)


def test_kyphosis_moves_the_middle_of_the_spine_backwards():
    def sagitta_mm(degrees: float) -> float:
        voxels = WIDE.world_from_voxels(
            (rendered(replace(ADULT, kyphosis_deg=degrees), WIDE).labels[0, 0] == LABELS["disc"]).nonzero()
        )
        middle = voxels[(voxels[:, 2].abs() < 25.0)][:, 1].mean()
        ends = voxels[(voxels[:, 2].abs() > 95.0) & (voxels[:, 2].abs() < 135.0)][:, 1].mean()
        return float(ends - middle)

    # 40 degrees more deepen the arc by 2 * 134 mm * 0.7 / 8 = 23 mm, of which 0.7 lie between these places
    assert sagitta_mm(70.0) - sagitta_mm(30.0) == pytest.approx(17.0, abs=6.0)


@pytest.mark.parametrize("end", [0, 1], ids=["all smallest", "all largest"])
def test_the_ends_of_all_ranges_still_make_a_body(end):
    numbers: dict[str, Any] = {name: limits[end] for name, limits in RANGES.items()}
    ct_hu, labels = render_thorax(ThoraxParameters(**numbers), WIDE)
    assert bool(torch.isfinite(ct_hu).all())
    assert {LABELS[name] for name in ("lung_right", "lung_left", "heart", "vertebra", "liver")} <= set(labels.unique().tolist())


def test_only_women_have_breasts():
    assert count(rendered(WOMAN), "breast") > 0
    assert count(rendered(ADULT), "breast") == 0


@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 40, 3)])
def test_any_grid_can_be_rendered_also_beside_the_body(shape):
    beside = VolumeGrid.chest(shape, 4.0, (700.0, 0.0, 0.0))
    thorax = render_thorax(ILL, beside)
    assert thorax.ct_hu.shape == (1, 1, *shape)
    assert float(thorax.ct_hu.amax()) == -1000.0

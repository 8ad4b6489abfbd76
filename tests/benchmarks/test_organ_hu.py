"""Organs told apart without masks are those of the labels, where labels exist."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.organ_hu import LEVELS, TISSUES, distance_hu, organ_quantiles, organ_table
from benchmarks.phantom_measures import SPACING_MM, VOXELS
from xct_components.data.phantom import ThoraxParameters, render_thorax
from xct_components.data.phantom.labels import LABELS
from xct_components.geometry import VolumeGrid

# The threshold loses voxels at the lung's edge, which are its densest: the median moves by less than this, HU.
LUNG_TOLERANCE_HU = 15.0
EVERYWHERE = torch.ones((VOXELS,) * 3, dtype=torch.bool)


@pytest.fixture(scope="module")
def phantom():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    chest = render_thorax(ThoraxParameters(seed=5, breath=0.9), VolumeGrid.chest((VOXELS,) * 3, SPACING_MM))
    torch.set_num_threads(threads)
    return chest.ct_hu[0, 0], chest.labels[0, 0]


def test_the_lungs_of_a_phantom_have_the_histogram_of_its_labels(phantom):
    hu, labels = phantom
    lung = (labels == LABELS["lung_left"]) | (labels == LABELS["lung_right"])
    truth = np.quantile(hu[lung].numpy(), LEVELS)
    assert distance_hu(organ_quantiles(hu, EVERYWHERE)["lung"], truth) < LUNG_TOLERANCE_HU


def test_every_tissue_lies_within_its_rule_and_rises(phantom):
    found = organ_quantiles(phantom[0], EVERYWHERE)
    assert set(found) == {"lung", *TISSUES}
    for name, (low, high) in TISSUES.items():
        assert low < found[name][0] <= found[name][-1] < high
        assert (np.diff(found[name]) >= 0.0).all()


def test_the_distance_is_the_shift_of_a_shifted_histogram():
    quantiles = np.sort(np.random.default_rng(3).normal(size=LEVELS.size))
    assert distance_hu(quantiles, quantiles) == 0.0
    assert distance_hu(quantiles, quantiles + 7.0) == pytest.approx(7.0)


def test_the_table_has_a_row_for_every_organ_that_both_sides_show(phantom):
    found = organ_quantiles(phantom[0], EVERYWHERE)
    boneless = {name: quantiles for name, quantiles in found.items() if name != "bone"}
    rows = organ_table([found], [found, boneless, found]).splitlines()
    assert [row.split("|")[1].strip() for row in rows[2:]] == ["lung", *TISSUES]
    rows = organ_table([found], [found, boneless]).splitlines()
    assert [row.split("|")[1].strip() for row in rows[2:]] == ["lung", "fat", "soft tissue"]

"""The measures that compare phantoms with CTs are right where the truth is known: on a phantom."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from benchmarks.phantom_measures import SPACING_MM, VOXELS, measures
from benchmarks.phantom_sheet import write_sheet
from xct_components.data.phantom import ThoraxParameters, render_thorax
from xct_components.data.phantom.anatomy import build_anatomy
from xct_components.geometry import VolumeGrid

PERSON = ThoraxParameters(seed=5, breath=0.9)
GRID = VolumeGrid.chest((VOXELS,) * 3, SPACING_MM)
EVERYWHERE = torch.ones(GRID.shape, dtype=torch.bool)
# The threshold loses edges and vessels that reach the mediastinum: 1 to 2 % of the lungs in three people.
VOLUME_TOLERANCE = 0.04
# Two voxels in the width of a chest are 0.02; three people were read within 0.015.
RATIO_TOLERANCE = 0.03


@pytest.fixture(scope="module")
def chests():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield {ratio: render_thorax(replace(PERSON, cardiothoracic_ratio=ratio), GRID).ct_hu[0, 0] for ratio in (0.42, 0.56)}
    torch.set_num_threads(threads)


def test_the_lungs_found_by_threshold_are_those_of_the_anatomy(chests):
    measured = measures(chests[0.42], EVERYWHERE)
    truth = build_anatomy(replace(PERSON, cardiothoracic_ratio=0.42))
    assert measured["lung volume, ml"] == pytest.approx(truth.lung_ml, rel=VOLUME_TOLERANCE)
    assert measured["lung HU, median"] == pytest.approx(PERSON.lung_hu, abs=30.0)


def test_the_measured_cardiothoracic_ratio_follows_the_true_one(chests):
    ratios = {truth: measures(hu, EVERYWHERE)["cardiothoracic ratio"] for truth, hu in chests.items()}
    assert ratios == {truth: pytest.approx(truth, abs=RATIO_TOLERANCE) for truth in chests}
    assert ratios[0.56] - ratios[0.42] > 0.08


def test_a_contact_sheet_is_written(tmp_path):
    hu = render_thorax(PERSON, VolumeGrid.chest((32, 32, 32), 10.0)).ct_hu[0, 0]
    write_sheet([("one", hu), ("two", hu)], tmp_path / "sheet.png", 10.0)
    assert (tmp_path / "sheet.png").read_bytes()[:4] == b"\x89PNG"

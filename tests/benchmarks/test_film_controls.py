"""The pictures that must not be mistaken for what they are not, and how the decisions on them are counted."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.film_controls import BEHIND_MM, FILM_PIXELS, FIRST_SEED, WINDOWS, coronal_slices, phantom_films
from benchmarks.films import control_table, spread_of_patients

CT = Path(__file__).parents[1] / "data" / "cip-ct-64.nrrd"
# Quantiles of 256 equal steps are exact to float32.
EXACT = 1e-5


def test_a_phantoms_film_is_bright_in_the_middle_and_dark_beside_the_body():
    [(seed, grey)] = phantom_films(1)
    assert (seed, grey.shape, grey.dtype) == (FIRST_SEED, (FILM_PIXELS, FILM_PIXELS), np.uint16)
    middle = FILM_PIXELS // 2
    assert grey[middle, middle - 8 : middle + 8].mean() > 2 * grey[middle, :4].mean()


def test_slices_are_upright_with_the_lungs_above_the_liver_in_every_window(tmp_path):
    shutil.copy(CT, tmp_path)
    slices = list(coronal_slices([tmp_path]))
    assert len(slices) == len(WINDOWS) * len(BEHIND_MM)
    for name, window, grey in slices:
        assert (name, grey.dtype) == ("cip-ct-64", np.uint8)
        assert window in WINDOWS
        rows, cols = grey.shape
        right = grey[:, int(0.2 * cols) : int(0.35 * cols)]
        lung, liver = right[int(0.3 * rows) : int(0.5 * rows)], right[int(0.8 * rows) : int(0.9 * rows)]
        assert lung.mean() < liver.mean()


def test_the_table_counts_decisions_by_kind():
    rows = [{"kind": "phantom", "decision": "accepted"}] * 2 + [{"kind": "CT slice, lung", "decision": "refused"}]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in control_table(rows).splitlines()[2:]]
    assert cells == [["phantom", "2", "0", "0", "0"], ["CT slice, lung", "0", "0", "0", "1"]]


def test_the_spread_of_patients_is_how_far_each_lies_from_the_others():
    film = torch.rand(32, 32, generator=torch.Generator().manual_seed(1))
    everywhere = torch.ones(32, 32, dtype=torch.bool)
    cases: Any = [SimpleNamespace(training_film=film + shift, scanned=everywhere) for shift in (0.0, 2.0)]
    assert spread_of_patients(cases) == pytest.approx([2.0, 2.0], abs=EXACT)

"""Columns cover a volume, and their weights make it up again to the last bit."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xct_components.inferers.columns import column_windows


@given(st.integers(1, 30), st.integers(1, 30), st.integers(2, 9), st.data())
def test_the_weights_sum_to_exactly_one_and_never_count_an_inner_edge(rows, cols, side, data):
    multiple = data.draw(st.sampled_from([1, 4, 8]))
    overlap = data.draw(st.integers(1, (side - 1) * multiple))
    shape = (4, rows * multiple, cols * multiple)
    how = {"alignment": 2 * multiple, "reach": data.draw(st.integers(0, 3 * multiple))}
    windows = column_windows(shape, side * multiple, overlap, multiple=multiple, **how)
    total = torch.zeros(shape[1:])
    for window in windows:
        assert float(window.weight.min()) >= 0.0
        assert all(edge % multiple == 0 for cut in (window.rows, window.cols) for edge in (cut.start, cut.stop))
        total[window.rows, window.cols] += window.weight
    assert torch.equal(total, torch.ones(shape[1:]))


def test_the_edge_voxels_of_an_inner_edge_count_nothing_and_those_of_the_volume_fully():
    left, right = column_windows((4, 64, 96), 64, 32, multiple=8)
    assert torch.equal(left.weight[:, :40], torch.ones(64, 40))
    assert torch.equal(left.weight[:, -8:], torch.zeros(64, 8))
    assert torch.equal(right.weight[:, :8], torch.zeros(64, 8))


def test_within_its_reach_of_an_inner_edge_a_column_counts_nothing():
    for overlap, reach, nothing in ((32, 8, 8), (32, 12, 12), (32, 16, 16), (32, 40, 16)):
        left, right = column_windows((4, 64, 96), 64, overlap, multiple=8, reach=reach)
        assert not left.weight[:, -nothing:].any()
        assert left.weight[:, -nothing - 1].all()
        assert not right.weight[:, :nothing].any()


def test_columns_keep_to_the_alignment_when_the_overlap_leaves_room():
    starts = {window.cols.start for window in column_windows((4, 128, 512), 128, 48, multiple=8, alignment=16)}
    assert all(start % 16 == 0 for start in starts)
    assert max(starts) + 128 >= 512


@pytest.mark.parametrize(
    ("shape", "column", "overlap", "words"),
    [
        ((4, 64, 64), 30, 8, "multiple of 8"),
        ((4, 64, 64), 32, 32, "overlap"),
        ((4, 64, 64), 32, 0, "overlap"),
        ((4, 60, 64), 32, 8, "H and W"),
    ],
)
def test_columns_that_the_network_cannot_take_are_refused(shape, column, overlap, words):
    with pytest.raises(ValueError, match=words):
        column_windows(shape, column, overlap, multiple=8)

"""The columns benchmark on a small network with random weights."""

from __future__ import annotations

import pytest
import torch

from benchmarks.columns import HEADER, cut, seams, shared_rays, write_picture
from tests.inferers.tiny_stages import tiny_stage
from xct_components.inferers.columns import column_windows

STAGE = tiny_stage(32, window=(8, 2, 2))


def test_wide_overlaps_hide_what_columns_side_by_side_show_and_a_picture_is_drawn(tmp_path):
    butted, overlapping, whole = (
        seams([STAGE], 32, column, [overlap], 0)[0] for column, overlap in ((16, 0), (24, 16), (32, 8))
    )
    figures = [dict(zip(HEADER, one.figures, strict=True)) for one in (butted, overlapping, whole)]
    assert [row["columns"] for row in figures] == [4, 4, 1]
    assert figures[0]["max shared [HU]"] is None
    for name in ("max [HU]", "step [HU]"):
        assert figures[0][name] > 2 * figures[1][name] > figures[2][name] == 0.0
    assert figures[1]["max shared [HU]"] <= figures[1]["max [HU]"] == float(overlapping.difference_hu.abs().max())
    write_picture([butted, overlapping], tmp_path / "seams.png")
    assert (tmp_path / "seams.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("column", "overlap"), [(16, 0), (24, 8)])
def test_columns_of_the_benchmark_cover_every_ray_once_and_share_some_where_they_overlap(column, overlap):
    windows = cut((32, 32, 40), column, overlap, STAGE.network)
    total = torch.zeros(32, 40)
    for window in windows:
        total[window.rows, window.cols] += window.weight
    assert torch.equal(total, torch.ones(32, 40))
    shared = shared_rays(windows, (32, 32, 40))
    assert bool(shared.any()) == bool(overlap)
    if overlap:
        assert not shared[:8, :8].any()  # only the first column reaches there
        assert len(windows) == len(column_windows((32, 32, 40), column, overlap, multiple=4, alignment=8))

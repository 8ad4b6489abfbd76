"""The training benchmark measures a tiny stage and adds up."""

from __future__ import annotations

import json
import sys

import pytest

from benchmarks import training
from tests.bundles.tiny_bundles import TINY_COLUMN, copied_bundles


def test_a_stage_with_parents_and_columns_is_measured(tmp_path, monkeypatch, capsys):
    bundles, report = copied_bundles(tmp_path / "bundles"), tmp_path / "report.json"
    monkeypatch.setitem(training.COLUMN, 3, TINY_COLUMN)
    options = ["--stages", "3", "--steps", "1", "--threads", "1", "--bundles", str(bundles), "--json", str(report)]
    monkeypatch.setattr(sys, "argv", ["training", *options])
    training.main()
    rows = json.loads(report.read_text())["rows"]
    assert [row["kept"] for row in rows] == [False, True]
    for row in rows:
        assert "note" not in row, row["note"]
        parts = sum(row[f"{part}_s"] for part in ("data", "prepare", "forward", "backward", "update"))
        assert row["samples_per_s"] == pytest.approx(training.BATCH[3] * training.COLUMNS[3] / parts)
        assert row["waiting_percent"] == pytest.approx(100.0 * row["data_s"] / parts)
        assert row["preparing_percent"] == pytest.approx(100.0 * (row["data_s"] + row["prepare_s"]) / parts)
        assert row["tflop"] > 0.0
    table = capsys.readouterr().out
    assert "| stage 3, 256³, 4 columns of 64 |" in table
    assert "| stage 3, 256³, 4 columns of 64, starts kept |" in table
    assert "all columns of 512 x 604 x 512" in table

"""The training datasets: prepared CTs and phantoms alike, chance that depends on nothing but seed, epoch and case."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from xct_components.data.cases.cases import (
    TrainingCases,
    case_dataset,
    load_case,
    phantom_items,
    prepared_items,
    render_batch,
)
from xct_components.data.cases.random_draws import case_generator
from xct_components.data.prepare.prepared_case import PreparedVolume
from xct_components.data.prepare.prepared_files import write_case
from xct_components.failures import UnreadableInput, UsageFailure
from xct_components.geometry import VolumeGrid

GRID = VolumeGrid.chest((16, 16, 16), 20.0)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three small cases on disk, as `xct prepare` writes them."""
    folder = tmp_path_factory.mktemp("prepared")
    cases = []
    for number, side in enumerate(("train", "train", "val")):
        values = np.random.default_rng(number).integers(-1000, 400, (16, 16, 16)).astype(np.int16)
        record = write_case(folder, {"case": f"case-{number}"}, {"64": PreparedVolume(values, GRID)}, ".nii.gz")
        cases.append({**record, "split": side})
    sides = {side: [case["case"] for case in cases if case["split"] == side] for side in ("train", "val", "test")}
    (folder / "manifest.json").write_text(json.dumps({"sides": sides, "cases": cases}))
    return folder


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return torch.equal(a["ct_hu"], b["ct_hu"]) and {**a, "ct_hu": 0} == {**b, "ct_hu": 0}


def test_each_side_of_the_split_lists_its_own_cases(prepared: Path) -> None:
    assert [item["case"] for item in prepared_items(prepared, "train", 64)] == ["case-0", "case-1"]
    assert [item["case"] for item in prepared_items(prepared, "val", 64)] == ["case-2"]
    assert prepared_items(prepared, "test", 64) == []


def test_a_case_is_loaded_as_it_was_prepared(prepared: Path) -> None:
    loaded = load_case(prepared_items(prepared, "train", 64)[1])
    expected = np.random.default_rng(1).integers(-1000, 400, (16, 16, 16)).astype(np.int16)
    assert loaded["ct_hu"].dtype == torch.int16
    assert np.array_equal(loaded["ct_hu"][0, 0].numpy(), expected)
    assert VolumeGrid.from_json(loaded["grid"]) == GRID


@pytest.mark.parametrize("cache", ["none", "memory", "disk"])
def test_every_cache_gives_the_same_volumes(prepared: Path, tmp_path: Path, cache: str) -> None:
    items = prepared_items(prepared, "train", 64) + phantom_items(1, 16)
    volumes = case_dataset(items, cache, tmp_path)  # type: ignore[arg-type]
    for _ in range(2):  # the second time from the cache
        assert all(same(volumes[i], load_case(item)) for i, item in enumerate(items))


@pytest.mark.parametrize("cache", ["memory", "disk"])
def test_a_cached_case_is_not_read_again(prepared: Path, tmp_path: Path, cache: str) -> None:
    copy = shutil.copytree(prepared, tmp_path / "prepared")
    volumes = case_dataset(prepared_items(copy, "train", 64), cache, tmp_path / "cache")  # type: ignore[arg-type]
    before = [volumes[i] for i in (0, 1)]
    shutil.rmtree(copy)
    assert all(same(volumes[i], before[i]) for i in (0, 1))


def test_a_case_that_was_prepared_anew_is_read_anew(prepared: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(prepared, tmp_path / "prepared")
    items = prepared_items(copy, "train", 64)
    before = case_dataset(items, "disk", tmp_path / "cache")[0]
    other = np.full((16, 16, 16), 40, np.int16)
    record = write_case(copy, {"case": "case-0"}, {"64": PreparedVolume(other, GRID)}, ".nii.gz")
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["cases"][0] = {**record, "split": "train"}
    (copy / "manifest.json").write_text(json.dumps(manifest))
    again = prepared_items(copy, "train", 64)
    after = case_dataset(again, "disk", tmp_path / "cache")[0]
    assert not torch.equal(before["ct_hu"], after["ct_hu"])
    assert after["ct_hu"].unique().tolist() == [40]
    assert TrainingCases(case_dataset(items)).fingerprint() != TrainingCases(case_dataset(again)).fingerprint()


def test_the_fingerprint_of_cases_does_not_know_where_they_lie(prepared: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(prepared, tmp_path / "elsewhere")
    here, there = (TrainingCases(case_dataset(prepared_items(folder, "train", 64))) for folder in (prepared, copy))
    assert here.fingerprint() == there.fingerprint()
    other_side = TrainingCases(case_dataset(prepared_items(prepared, "val", 64)))
    assert other_side.fingerprint() != here.fingerprint()


def test_fewer_draws_than_none_are_refused(prepared: Path) -> None:
    with pytest.raises(ValueError, match=r"draws must be at least 0, got -1"):
        TrainingCases(case_dataset(prepared_items(prepared, "train", 64)), draws=-1)


def test_a_case_is_the_same_in_any_order_and_by_any_worker(prepared: Path) -> None:
    cases = TrainingCases(case_dataset(prepared_items(prepared, "train", 64)), seed=5)
    straight, reverse = [cases[i] for i in (0, 1)], [cases[i] for i in (1, 0)][::-1]
    by_workers = [case for batch in DataLoader(cases, batch_size=1, num_workers=2, collate_fn=list) for case in batch]
    assert all(same(a, b) and same(a, c) for a, b, c in zip(straight, reverse, by_workers, strict=True))


def test_epochs_seeds_and_cases_draw_differently(prepared: Path) -> None:
    cases = TrainingCases(case_dataset(prepared_items(prepared, "train", 64)), seed=5)
    drawn = []
    for epoch in (0, 1):
        cases.set_epoch(epoch)
        drawn += [json.dumps(cases[i]["augmentation"]) for i in (0, 1)]
    other = TrainingCases(case_dataset(prepared_items(prepared, "train", 64)), seed=6)
    assert len({*drawn, json.dumps(other[0]["augmentation"])}) == 5
    cases.set_epoch(0)
    assert json.dumps(cases[0]["augmentation"]) == drawn[0]


def test_the_chance_of_neighbouring_cases_is_unrelated() -> None:
    first = torch.stack([torch.rand(4, generator=case_generator(0, e, i)) for e in range(20) for i in range(50)])
    assert len({tuple(row.tolist()) for row in first}) == 1000
    # Uniform numbers of 1000 cases: means within four standard errors, neighbours uncorrelated within four.
    assert float((first.mean(0) - 0.5).abs().amax()) < 4 * (1 / 12) ** 0.5 / 1000**0.5
    assert abs(float(torch.corrcoef(torch.stack((first[:-1, 0], first[1:, 0])))[0, 1])) < 4 / 1000**0.5


def test_a_batch_is_what_was_chosen_and_replays_from_json(prepared: Path) -> None:
    items = prepared_items(prepared, "train", 64) + phantom_items(1, 16, first_seed=3)
    cases = TrainingCases(case_dataset(items), seed=1)
    chosen = [cases[i] for i in range(3)]
    batch = render_batch(chosen, rows=12, cols=10, views=("PA", "LL"))
    assert batch.ct_hu.shape == (3, 1, 16, 16, 16)
    assert batch.film.shape == batch.line_integrals.shape == (3, 2, 1, 12, 10)
    assert len(batch.grids) == len(batch.beams) == 3
    stored = json.loads(json.dumps([{k: v for k, v in case.items() if k != "ct_hu"} for case in chosen]))
    replayed = render_batch(
        [{**s, "ct_hu": c["ct_hu"]} for s, c in zip(stored, chosen, strict=True)], rows=12, cols=10, views=("PA", "LL")
    )
    assert torch.equal(batch.film, replayed.film)
    assert torch.equal(batch.ct_hu, replayed.ct_hu)
    one = render_batch(chosen[1:2], rows=12, cols=10, views=("PA", "LL"))
    assert torch.equal(one.film[0], batch.film[1])  # a case does not depend on its neighbours


def test_without_chance_a_case_is_the_prepared_ct_in_the_cascades_exposure(prepared: Path) -> None:
    cases = TrainingCases(case_dataset(prepared_items(prepared, "val", 64)), augment=False, randomize_exposure=False)
    batch = render_batch([cases[0]], rows=16, cols=16)
    torch.testing.assert_close(batch.ct_hu, cases[0]["ct_hu"].float(), rtol=0.0, atol=1e-3)
    assert torch.equal(batch.film, batch.line_integrals)
    assert batch.beams[0][0].source_to_detector_mm == pytest.approx(1800.0)


def test_bad_input_is_refused_with_the_way_out(prepared: Path, tmp_path: Path) -> None:
    with pytest.raises(UnreadableInput, match=r"holds no readable manifest\.json; run `xct prepare` first"):
        prepared_items(tmp_path, "train", 64)
    with pytest.raises(UsageFailure, match="side must be one of train, val, test, got 'dev'"):
        prepared_items(prepared, "dev", 64)
    with pytest.raises(UsageFailure, match="case-0 was not prepared at size 128; it has 64"):
        prepared_items(prepared, "train", 128)
    with pytest.raises(ValueError, match="items must hold at least one case"):
        case_dataset([])
    with pytest.raises(ValueError, match='cache_dir must be given with cache="disk"'):
        case_dataset(phantom_items(1, 16), "disk")
    item = prepared_items(prepared, "train", 64)[0]
    with pytest.raises(UnreadableInput, match="case-0 cannot be read; run `xct prepare` again"):
        load_case({**item, "file": str(tmp_path / "gone.nii.gz")})

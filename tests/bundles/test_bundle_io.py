"""The components that the bundles' JSON names, one by one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.inferers.tiny_stages import tiny_stage
from xct_components.bundle_io.film_items import film_items, stem_of
from xct_components.bundle_io.film_tensor import film_tensor, films_of
from xct_components.bundle_io.known_settings import require_known_settings, unknown_settings
from xct_components.bundle_io.parent_stages import parent_folder, parent_stages, stage_of
from xct_components.bundle_io.stage_weights import StageWeights
from xct_components.data.file_hash import file_sha256
from xct_components.failures import UnreadableInput, UsageFailure, WeightsFailure
from xct_components.geometry import VolumeGrid, chest_beam_covering
from xct_components.inferers.cascade_film import CascadeFilm
from xct_components.networks.deviation_factors import DeviationFactors


def touched(folder, *names):
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"x")
    return folder


def test_a_folder_gives_its_films_in_order_and_nothing_else(tmp_path):
    folder = touched(tmp_path / "films", "b.PNG", "a.nii.gz", ".hidden.png", "notes.txt", "a.json")
    assert [item["image"] for item in film_items(folder)] == [str(folder / "a.nii.gz"), str(folder / "b.PNG")]


def test_a_single_file_is_taken_whatever_its_name(tmp_path):
    folder = touched(tmp_path, "IM0001")
    assert film_items(folder / "IM0001") == [{"image": str(folder / "IM0001")}]


@pytest.mark.parametrize("processes", [1, 2, 3, 5])
def test_processes_share_the_films_of_a_folder(processes, tmp_path, monkeypatch):
    names = [f"{number}.png" for number in range(4)]
    for name in names:
        (tmp_path / name).touch()
    shares = []
    for rank in range(processes):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", str(processes))
        shares.append([Path(item["image"]).name for item in film_items(tmp_path)])
    assert sorted(name for share in shares for name in share) == names
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize(("rank", "processes"), [("2", "2"), ("-1", "2"), ("first", "2")])
def test_a_place_that_cannot_be_is_refused(rank, processes, tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", processes)
    with pytest.raises(UsageFailure, match="WORLD_SIZE"):
        film_items(tmp_path)


def test_every_film_finds_the_volume_that_the_stage_before_saved_of_it(tmp_path):
    films = touched(tmp_path / "films", "a.png", "b.nii.gz")
    coarse = touched(tmp_path / "coarse", "a_ct.nii.gz", "b.nii", "a_std.nii.gz")
    found = [item["coarse"] for item in film_items(films, coarse)]
    assert found == [str(coarse / "a_ct.nii.gz"), str(coarse / "b.nii")]


@pytest.mark.parametrize(
    ("films", "coarse", "failure", "expected"),
    [
        ("nowhere", None, UnreadableInput, "there is no"),
        ("empty", None, UnreadableInput, "holds no film"),
        ("films", "nowhere", UnreadableInput, "coarse must be"),
        ("films", "films/a.png", UsageFailure, "must be a folder as the input is one"),
        ("films", "empty", UsageFailure, "has none of a_ct.nii.gz"),
    ],
)
def test_what_is_not_there_is_named(films, coarse, failure, expected, tmp_path):
    touched(tmp_path / "films", "a.png")
    touched(tmp_path / "empty")
    with pytest.raises(failure, match=expected):
        film_items(tmp_path / films, coarse and tmp_path / coarse)


@pytest.mark.parametrize(
    ("name", "stem"), [("a.b.nii.gz", "a.b"), ("film.DCM", "film"), ("IM.0001", "IM.0001"), (".png", ".png")]
)
def test_a_stem_is_a_name_without_the_ending_of_a_film(name, stem):
    assert stem_of(f"/somewhere/{name}") == stem


def test_a_film_survives_the_journey_through_a_batch():
    field = VolumeGrid.chest((16, 16, 16), 20.0, (5.0, -7.0, 300.0))
    beams = tuple(chest_beam_covering(field, view, 12, 10) for view in ("AP", "LL"))
    film = CascadeFilm(torch.rand(1, 2, 1, 12, 10), beams, field.center_mm, True, {"note": ["é", 1.5, None]})
    tensor = film_tensor(film, "a.png")
    (back,) = films_of(tensor, field)
    assert torch.equal(back.line_integrals, film.line_integrals)
    assert (back.beams, back.center_mm, back.exact, back.record) == (film.beams, film.center_mm, film.exact, film.record)
    from monai.data.utils import decollate_batch, list_data_collate

    batch = list_data_collate([{"image": tensor}, {"image": tensor}])
    assert [one.beams for one in films_of(batch["image"], field)] == [beams, beams]
    assert films_of(decollate_batch(batch)[1]["image"], field)[0].record == film.record


def test_a_film_without_metadata_is_an_estimate_in_the_cascades_own_geometry():
    field = VolumeGrid.chest((16, 16, 16), 20.0)
    (film,) = films_of(torch.rand(1, 1, 8, 8), field)
    assert film.beams == (chest_beam_covering(field, "PA", 8, 8),)
    assert not film.exact
    with pytest.raises(ValueError, match="2 views"):
        films_of(torch.rand(1, 2, 8, 8), field)


@pytest.mark.parametrize(("own", "parent"), [("stage3", "stage1"), ("xct_stage3_v2", "xct_stage1_v2"), ("anything", "stage1")])
def test_a_parent_is_the_neighbour_with_the_other_number(own, parent, tmp_path, monkeypatch):
    monkeypatch.delenv("XCT_STAGE1_BUNDLE", raising=False)
    assert parent_folder(tmp_path / own, 1) == str(tmp_path.resolve() / parent)
    (tmp_path / own).mkdir()
    monkeypatch.chdir(tmp_path / own)
    assert parent_folder(".", 1) == str(tmp_path.resolve() / parent)


def test_the_environment_may_name_a_parent(tmp_path, monkeypatch):
    monkeypatch.setenv("XCT_STAGE2_BUNDLE", "/data/stage2")
    assert parent_folder(tmp_path / "stage3", 2) == "/data/stage2"


def test_parents_are_neither_looked_for_nor_loaded_when_the_coarse_volume_is_given(tmp_path):
    weights = StageWeights()
    assert parent_stages([tmp_path / "nowhere"], weights, coarse="volume.nii.gz") == []
    assert weights.records == []


def test_a_missing_parent_is_named_with_the_ways_out(tmp_path):
    with pytest.raises(WeightsFailure, match=r"no .*inference\.json.*XCT_STAGE<n>_BUNDLE.*--coarse"):
        stage_of(tmp_path / "stage1")


def test_weights_load_strictly_and_are_remembered(tmp_path):
    stage, path = tiny_stage(16, seed=3), tmp_path / "stage1" / "models" / "model.pt"
    path.parent.mkdir(parents=True)
    torch.save({name: tensor.half() if tensor.ndim > 1 else tensor for name, tensor in stage.state_dict().items()}, path)
    path.with_suffix(".json").write_text(json.dumps({"sha256": file_sha256(path)}))
    weights = StageWeights()
    loaded = weights.load(tiny_stage(16, seed=4), path)
    for name, tensor in loaded.state_dict().items():
        expected = stage.state_dict()[name]
        assert torch.equal(tensor, expected.half().float() if expected.ndim > 1 else expected)
    assert weights.records == [{"bundle": "stage1", "file": "model.pt", "sha256": file_sha256(path)}]


FACTORS = [{"steps": 4, "views": 1, "calibrated": True, "sized": False, "factor": 1.8, "patients": 10}]


def written_weights(folder: Path, **described: Any) -> Path:
    torch.save(tiny_stage(16, seed=3).state_dict(), folder / "model.pt")
    if described:
        own = {"sha256": file_sha256(folder / "model.pt")} if described.pop("named", True) else {}
        (folder / "model.json").write_text(json.dumps(own | described))
    return folder / "model.pt"


def test_weights_bring_the_factors_of_their_deviation_along(tmp_path):
    stage = StageWeights().load(tiny_stage(16), written_weights(tmp_path, std_factors=FACTORS))
    assert stage.deviation_factors.to_json() == FACTORS


@pytest.mark.parametrize("described", [{}, {"epoch": 1}, {"named": False, "std_factors": FACTORS}])
def test_weights_that_were_not_measured_have_none_whatever_was_loaded_before(described, tmp_path):
    stage = tiny_stage(16)
    stage.deviation_factors = DeviationFactors.from_json(FACTORS)
    StageWeights().load(stage, written_weights(tmp_path, **described))
    assert stage.deviation_factors == DeviationFactors()


def test_factors_that_are_none_are_refused_with_the_way_out(tmp_path):
    with pytest.raises(WeightsFailure, match=r"model\.json: .*must be.*xct calibrate-deviation"):
        StageWeights().load(tiny_stage(16), written_weights(tmp_path, std_factors={"4": 1.8}))


class Code:
    """Something that a weights file must never bring along."""


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "no weights"),
        (b"not a checkpoint", "holds no plain tensors"),
        ({"weight": torch.zeros(2, 3), "bias": torch.zeros(3)}, r"weight is \(3, 2\) here and \(2, 3\) in the file"),
        ({"weight": torch.zeros(3, 2)}, r"bias is \(3,\) here and missing in the file"),
        ({"weight": torch.zeros(3, 2), "bias": torch.zeros(3), "more": torch.zeros(1)}, "more is missing here"),
        ({"weight": Code()}, "holds no plain tensors"),
        ([1, 2], "holds a list"),
    ],
)
def test_other_weights_are_refused_with_what_is_wrong(content, expected, tmp_path):
    path = tmp_path / "model.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    weights = StageWeights()
    with pytest.raises(WeightsFailure, match=expected):
        weights.load(nn.Linear(2, 3), path)
    assert weights.records == []


def test_weights_that_are_not_those_of_their_json_are_refused(tmp_path):
    torch.save(nn.Linear(2, 3).state_dict(), tmp_path / "model.pt")
    (tmp_path / "model.json").write_text(json.dumps({"sha256": "0" * 64}))
    with pytest.raises(WeightsFailure, match=r"not the file that model\.json describes"):
        StageWeights().load(nn.Linear(2, 3), tmp_path / "model.pt")


KNOWN = {"steps": 4, "network_def": {"_target_": "Net", "width": 1}, "train": {"batch_size": 2, "loader": {"_target_": "L"}}}


@pytest.mark.parametrize(
    ("changed", "unknown"),
    [
        ({"steps": 8}, []),
        ({"step": 8}, ["step"]),
        ({"train": {"batch_size": 2, "batch_sise": 4}}, ["train::batch_sise"]),
        ({"train": {"loader": {"_target_": "L", "anything": 1}}}, []),
        ({"network_def": {"_target_": "Net", "heigth": 1}}, []),
        ({"my_transform": {"_target_": "Mine"}}, []),
        ({"_meta_": {"version": "1"}, "experiment_name": "x"}, []),
    ],
)
def test_a_setting_that_the_document_has_not_is_unknown(changed, unknown):
    assert list(unknown_settings({**KNOWN, **changed}, KNOWN)) == unknown


def test_the_guard_says_so_when_it_is_called_outside_a_bundle(tmp_path):
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "inference.json").write_text("{}")
    with pytest.raises(ValueError, match="from a bundle's JSON"):
        require_known_settings(tmp_path, "inference.json")

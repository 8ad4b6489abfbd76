"""The linter finds every fault that it is there for."""

from __future__ import annotations

import copy
import json

import pytest

from tests.bundles import linter

SOUND = {
    "imports": ["$import os"],
    "bundle_root": ".",
    "folder": "$os.path.join(@bundle_root, 'films')",
    "films": {"_target_": "xct_components.bundle_io.film_items.film_items", "films": "@folder"},
    "dataset": {"_target_": "Dataset", "data": "@films", "transform": None},
    "loader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1},
    "section": {"handlers": [{"_target_": "StatsHandler", "iteration_log": False}]},
    "run": ["$list(@loader)", "$@section::handlers", "$[film for film in @films]"],
}
# What is planted where, and what the linter must say.
FAULTS = {
    "a target that is not there": ("films", {"_target_": "xct_components.bundle_io.films.film_items"}, "no xct_components"),
    "a short name that MONAI has not": ("films", {"_target_": "Datset", "data": "@folder"}, "no Datset to import"),
    "an argument that is not taken": ("dataset::trasform", None, "Dataset takes no trasform"),
    "an argument behind **kwargs": ("loader::batch_sise", 1, "DataLoader takes no batch_sise"),
    "an argument that is missing": ("dataset", {"_target_": "Dataset"}, "Dataset needs data"),
    "a fault inside a list": ("section::handlers::0::iteration_lgo", True, "StatsHandler takes no iteration_lgo"),
    "a reference to nothing": ("dataset::data", "@film", "@film does not exist"),
    "a reference to nothing in an expression": ("run", ["$list(@loader)", "$len(@section::handler)"], "@section::handler does"),
    "a lambda": ("run", ["$(lambda: @loader)()"], "a lambda"),
    "an expression that is too long": ("run", ["$[@loader" + " " * 60 + "]"], "an expression of 70 characters"),
    "an expression that is none": ("run", ["$list(@loader"], "no expression"),
    "a name that was not imported": ("run", ["$math.sqrt(len(@loader))"], "math is not imported"),
    "a macro of another file": ("films", "%configs/train.json::films", "is looked for in the current directory"),
    "a setting that nothing reads": ("stpes", 4, "stpes: nothing reads this setting"),
}


def written(tmp_path, config, name="base.json"):
    path = tmp_path / name
    path.write_text(json.dumps(config))
    return path


def test_a_sound_document_passes(tmp_path):
    assert linter.lint(written(tmp_path, SOUND)) == []


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(fault, tmp_path):
    place, value, expected = FAULTS[fault]
    config = copy.deepcopy(SOUND)
    *path, last = linter.parts(place)
    linter.descend(config, path)[last] = value
    assert any(expected in found for found in linter.lint(written(tmp_path, config)))


@pytest.mark.parametrize(
    "changes",
    [
        {"loader::batch_size": 2},
        {"films": {"_target_": "xct_components.bundle_io.film_items.film_items", "films": "@bundle_root"}},
        {"+section::handlers": [{"_target_": "StatsHandler"}]},
        {"section::handlers::0::_disabled_": True},
    ],
)
def test_an_overlay_of_known_settings_passes(changes, tmp_path):
    assert linter.lint_overlay(written(tmp_path, changes, "overlay.json"), written(tmp_path, SOUND)) == []


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"loader::batch_sise": 2}, "loader::batch_sise: no such setting in base.json"),
        ({"+section::handler": [{"_target_": "StatsHandler"}]}, "+section::handler: no such setting"),
        ({"section::handlers::1::_disabled_": True}, "no such setting"),
        ({"dataset::data": "@flims"}, "@flims does not exist"),
        ({"+section::handlers": [{"_target_": "StatsHandler", "iteration": 1}]}, "StatsHandler takes no iteration"),
    ],
)
def test_an_overlay_that_changes_nothing_known_is_found(changes, expected, tmp_path):
    (found,) = linter.lint_overlay(written(tmp_path, changes, "overlay.json"), written(tmp_path, SOUND))
    assert expected in found

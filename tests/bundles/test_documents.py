"""The files of the three shipped bundles say what MONAI and the model zoo expect, and agree with each other."""

from __future__ import annotations

import configparser
import json
import logging.config
from pathlib import Path
from typing import Any

import pytest
from monai.bundle import ConfigParser
from monai.bundle.utils import DEFAULT_METADATA

from tests.bundles import linter
from tests.bundles.tiny_bundles import BUNDLES, STAGES
from xct_components import __version__

WHOLE = ("inference.json", "train.json")
OVERLAYS = [("full.json", "inference.json")]
OVERLAYS += [(overlay, "train.json") for overlay in ("full.json", "evaluate.json", "multi_gpu_train.json", "pretrain.json")]
OVERLAYS += [("mlflow.json", "train.json")]
VOXELS = {1: 64, 2: 128, 3: 256}
#: Parameters in millions: the released networks have at most so many, the full ones are those of the design to this share.
MOST_SMALL, FULL, FULL_SHARE = 12.0, {1: 80.0, 2: 36.0, 3: 16.0}, 0.05


def configs(stage: int) -> Path:
    return BUNDLES / f"stage{stage}" / "configs"


def document(stage: int, name: str) -> dict[str, Any]:
    return json.loads((configs(stage) / name).read_text(encoding="utf-8"))


def million_parameters(network_def: dict[str, Any]) -> float:
    network = ConfigParser({"network_def": network_def}).get_parsed_content("network_def")
    return sum(parameter.numel() for parameter in network.parameters()) / 1e6


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("name", WHOLE)
def test_a_document_is_free_of_faults(stage, name):
    assert linter.lint(configs(stage) / name) == []


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize(("overlay", "base"), OVERLAYS)
def test_an_overlay_is_free_of_faults(stage, overlay, base):
    assert linter.lint_overlay(configs(stage) / overlay, configs(stage) / base) == []


@pytest.mark.parametrize("overlay", ["joint_finetune.json", "joint_train.json"])
def test_a_joint_training_is_free_of_faults(overlay):
    assert linter.lint_overlay(configs(3) / overlay, configs(3) / "train.json") == []


@pytest.mark.parametrize("stage", STAGES)
def test_training_and_inference_build_the_same_network(stage):
    assert document(stage, "train.json")["network_def"] == document(stage, "inference.json")["network_def"]


@pytest.mark.parametrize("stage", STAGES)
def test_the_metadata_describe_the_network(stage):
    metadata, network = document(stage, "metadata.json"), document(stage, "inference.json")["network_def"]
    image, pred = metadata["network_data_format"]["inputs"]["image"], metadata["network_data_format"]["outputs"]["pred"]
    assert network["volume_shape"] == pred["spatial_shape"] == [VOXELS[stage]] * 3
    assert image["spatial_shape"] == [VOXELS[stage]] * 2
    assert network.get("needs_coarse", False) == (stage > 1)
    assert (image["format"], pred["format"], pred["value_range"]) == ("magnitude", "hounsfield", [-1024, 1500])


@pytest.mark.parametrize("stage", STAGES)
def test_the_metadata_are_complete_and_current(stage):
    metadata = document(stage, "metadata.json")
    assert set(DEFAULT_METADATA) - set(metadata) == set()
    assert metadata["version"] == __version__
    assert metadata["version"] in metadata["changelog"]
    assert isinstance(metadata["supported_apps"], dict)


@pytest.mark.parametrize("stage", STAGES)
def test_the_metadata_name_the_versions_that_are_tested(stage):
    metadata = document(stage, "metadata.json")
    text = (BUNDLES.parent / "constraints.txt").read_text(encoding="utf-8")
    tested = dict(line.split(" ")[0].split("==") for line in text.splitlines() if "==" in line and not line.startswith("#"))
    named = {"monai": metadata["monai_version"], "torch": metadata["pytorch_version"], "numpy": metadata["numpy_version"]}
    named |= metadata["required_packages_version"]
    assert named == {name: tested.get(name) for name in named}


@pytest.mark.parametrize("stage", STAGES)
def test_the_small_network_is_small_and_the_full_one_as_large_as_designed(stage):
    assert million_parameters(document(stage, "inference.json")["network_def"]) <= MOST_SMALL
    full = million_parameters(document(stage, "full.json")["network_def"])
    assert full == pytest.approx(FULL[stage], rel=FULL_SHARE)


@pytest.mark.parametrize("stage", STAGES)
def test_the_logging_configuration_loads_and_names_nothing_but_the_standard_library(stage):
    path = configs(stage) / "logging.conf"
    parser = configparser.RawConfigParser()
    parser.read(path, encoding="utf-8")
    classes = {parser.get(section, "class") for section in parser.sections() if parser.has_option(section, "class")}
    assert classes == {"StreamHandler"}
    root = logging.getLogger()
    before = root.level, root.handlers[:]
    try:
        logging.config.fileConfig(path, disable_existing_loggers=False)
        assert root.level == logging.INFO
    finally:
        root.setLevel(before[0])
        root.handlers[:] = before[1]


@pytest.mark.parametrize("stage", STAGES)
def test_a_bundle_holds_what_the_model_zoo_wants(stage):
    bundle = BUNDLES / f"stage{stage}"
    assert (bundle / "LICENSE").read_bytes() == (BUNDLES.parent / "LICENSE").read_bytes()
    card = (bundle / "docs" / "README.md").read_text(encoding="utf-8")
    for heading in ("Intended use", "Input and output", "Run it", "Training", "Results", "Data and licences"):
        assert f"\n## {heading}\n" in card
    assert "Not a medical device" in card

"""The released stages keep to what was promised: parameters, and megabytes on disk."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigParser

from xct_components.networks.cascade_stage import CascadeStage
from xct_components.training.released_weights import release_state

BUNDLES = Path(__file__).parents[2] / "bundles"
MOST_PARAMETERS = 12_000_000
MOST_BYTES = 25_000_000


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_small_stage_is_small(number: int) -> None:
    configs = BUNDLES / f"stage{number}" / "configs"
    documents = [json.loads((configs / name).read_text())["network_def"] for name in ("train.json", "inference.json")]
    assert documents[0] == documents[1]
    stage = ConfigParser({"network_def": documents[0]}).get_parsed_content("network_def")
    assert isinstance(stage, CascadeStage)
    assert sum(parameter.numel() for parameter in stage.parameters()) <= MOST_PARAMETERS
    file = io.BytesIO()
    torch.save(release_state(stage), file)
    assert file.tell() <= MOST_BYTES

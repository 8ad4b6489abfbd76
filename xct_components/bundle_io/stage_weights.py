"""Weights files of a run: loaded strictly, checked against their own record, remembered by their SHA-256."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from xct_components.failures import WeightsFailure, first_line, is_out_of_memory
from xct_components.networks.cascade_stage import CascadeStage
from xct_components.networks.deviation_factors import STD_FACTORS, DeviationFactors

Network = TypeVar("Network", bound=nn.Module)

#: In the JSON beside a file of several stages: what was known of each, by its name.
PARTS = "joined_from"


class StageWeights:
    """Loads weights, and knows afterwards what was loaded.

    ``records``: {"bundle", "file", "sha256"} of every file so far, in order; names only, no paths.
    """

    def __init__(self) -> None:
        self.records: list[dict[str, str]] = []

    def load(
        self, network: Network, file: str | Path, device: str | torch.device = "cpu", *, part: str | None = None
    ) -> Network:
        """Put the tensors of a file into the network.

        Args:
            network: changed and returned, on ``device``.
            file: a dictionary from names to tensors, as ``torch.save`` writes it; a JSON of the same name beside it may hold
                its "sha256", and then the "std_factors": the ``deviation_factors`` of a ``CascadeStage``.
            device: of the result.
            part: the stage of a file of several, as a joint training writes it: "stage1"; None for a file of one. What is known
                of it then stands in the JSON under ``PARTS`` and its name.

        Raises:
            WeightsFailure: if there is no such file, it is damaged or not the file its JSON describes, its tensors are not
                exactly the network's, or its JSON's factors are none.
            MemoryError, RuntimeError: of Python or torch, where memory is short; ``is_out_of_memory`` knows them.
        """
        path = Path(file)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise WeightsFailure(
                f"no weights: {path} cannot be read ({error.strerror}); train the stage, or copy them"
            ) from error
        sha256 = hashlib.sha256(data).hexdigest()
        described = _described(path)
        if described.get("sha256") not in (None, sha256):
            raise WeightsFailure(f"{path} is not the file that {path.stem}.json describes: copy both again, or remove the JSON")
        state = _state(path, data)
        if part is not None and isinstance(state, dict):
            state = {name.removeprefix(f"{part}."): one for name, one in state.items() if name.startswith(f"{part}.")}
        _fill(network, state, path)
        if isinstance(network, CascadeStage):
            own = described if part is None else _described_part(described, part)
            network.deviation_factors = _deviation_factors(path, own)
        self.records.append({"bundle": path.absolute().parent.parent.name, "file": path.name, "sha256": sha256})
        return network.to(device)


def with_weights(network: Network, file: str | Path, device: str | torch.device = "cpu") -> Network:
    """``StageWeights.load`` where nobody asks later what was loaded."""
    return StageWeights().load(network, file, device)


def begun_from(network: Network, file: str | Path | None, device: str | torch.device = "cpu") -> Network:
    """The network as a training begins: with the weights of a file to train further, or as it was made if there is none."""
    return network.to(device) if file is None else with_weights(network, file, device)


def _state(path: Path, data: bytes) -> Any:
    """What a file holds; tensors by their names, if it is one of weights."""
    try:
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        if is_out_of_memory(error):  # which says nothing of the file
            raise
        raise WeightsFailure(f"{path} holds no plain tensors, or is damaged: {first_line(error)}") from error


def _fill(network: nn.Module, state: Any, path: Path) -> None:
    """Put the tensors of a file into the network, all and no others."""
    try:
        network.load_state_dict(state, strict=True)
    except (RuntimeError, AttributeError, TypeError) as error:
        if is_out_of_memory(error):
            raise
        difference = _difference(network, state)
        raise WeightsFailure(f"{path} belongs to another network ({difference}); check network_def") from error


def _described(path: Path) -> dict[str, Any]:
    """The JSON beside a weights file; empty if there is none."""
    try:
        document = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def _described_part(described: dict[str, Any], part: str) -> dict[str, Any]:
    """What the JSON beside a file of several stages says of one; nothing where it does not say which file it describes."""
    parts = described.get(PARTS) if "sha256" in described else None
    one = parts.get(part) if isinstance(parts, dict) else None
    return one if isinstance(one, dict) else {}


def _deviation_factors(path: Path, described: dict[str, Any]) -> DeviationFactors:
    """What was measured with these very weights: none where the JSON does not say which weights it describes."""
    try:
        return DeviationFactors.from_json(described.get(STD_FACTORS, ()) if "sha256" in described else ())
    except ValueError as error:
        raise WeightsFailure(f"{path.stem}.json: {first_line(error)}; run `xct calibrate-deviation`") from error


def _difference(network: nn.Module, state: object) -> str:
    """The first tensor that does not fit, in a few words."""
    if not isinstance(state, dict):
        return f"it holds a {type(state).__name__}, not named tensors"
    own = network.state_dict()
    for name in [*own, *state]:
        here, there = (tuple(tensors[name].shape) if name in tensors else None for tensors in (own, state))
        if here != there:
            return f"{name} is {here or 'missing'} here and {there or 'missing'} in the file"
    return "same names and shapes, other content"

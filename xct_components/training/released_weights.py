"""The weights file that leaves training: a stage's tensors in half precision, with the metrics they reached beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from xct_components.data.atomic_files import written_together
from xct_components.data.file_hash import file_sha256
from xct_components.data.readable_json import readable_json


def release_state(stage: nn.Module) -> dict[str, Tensor]:
    """The stage's tensors for the file: float16 but for vectors and scalars, which stay float32.

    The weights lose at most 0.05 % each; half the file is worth it.
    """
    return {
        name: (tensor.half() if tensor.is_floating_point() and tensor.ndim > 1 else tensor).detach().cpu().contiguous()
        for name, tensor in stage.state_dict().items()
    }


def write_weights(stage: nn.Module, target: Path, metrics: dict[str, Any]) -> None:
    """Write ``target`` (model.pt) and its metrics (model.json) at once, whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with written_together(target, target.with_suffix(".json")) as (weights_draft, metrics_draft):
        with weights_draft.open("wb") as stream:  # given a path, torch writes its name into the file: other bytes, other hash
            torch.save(release_state(stage), stream)
        metrics_draft.write_text(readable_json({"sha256": file_sha256(weights_draft), **metrics}), encoding="utf-8")


def load_weights(stage: nn.Module, source: str | Path) -> str:
    """Load a weights file strictly into ``stage``.

    Returns:
        The file's SHA-256.

    Raises:
        OSError: if there is no such file.
        RuntimeError: if the tensors are not exactly the stage's.
    """
    stage.load_state_dict(torch.load(source, map_location="cpu", weights_only=True), strict=True)
    return file_sha256(Path(source))
